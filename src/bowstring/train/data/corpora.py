"""Builds the corpora: documents with the prompts that ask for them, split before anything else is done.

A corpus is a gzip'd JSON-lines file of `Document` rows. `splits` decides what is kept from training: novels,
tales and modules as whole works, stories and snippets by their templates and, apart from those, by words
that fill them. Nothing is downloaded unless packages are asked for.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import math
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import zipfile
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ...core.files import replacing
from .grammar import story
from .parametric import any_snippet
from .splits import RULE, bucket, first_split, overlap, split_of, word_grams, work_of

STORIES = 44_000  # drawn; about half of them are learned from
SNIPPETS = 24_000
NOVEL_KEPT = 8  # per cent of what has a template or filler that is kept from training: enough to measure
PIECE_CHARACTERS = 800  # characters of a tale in one document
LONGEST_FUNCTION = 850  # characters of a function
LEAKED = 0.2  # share of its runs of eight words from which a text is too like a held-out one to be learned
TALES = Path("../shared/data/stories.jsonl.gz")  # unless another file is named
PACKAGES = (
    "networkx==3.6.1",
    "sympy==1.14.0",
    "more-itertools==10.8.0",
    "boltons==25.0.0",
    "toolz==1.1.0",
    "sortedcontainers==2.4.0",
)


@dataclass(frozen=True)
class Document:
    """One thing to learn: what asks for it, what it is, and where it came from.

    work: what is never divided between splits; a text of a grammar is a work of its own. title: the tale or
    chapter. novelty, of a grammar's text: what no training text has of it, "template", "filler" or only the
    "combination".
    """

    kind: str  # text | code
    split: str  # train | valid | test
    source: str  # story | tale | snippet | function
    prompts: tuple[str, ...]
    body: str
    complete: bool  # False when it is a piece that goes on
    check: str = ""  # an expression that is true for a right function
    work: str = ""
    title: str = ""
    novelty: str = ""

    def held_out(self, rule: int = RULE) -> bool:
        """Whether a model that was trained under this rule of splitting has not learned from it.

        What counts for a model of the first rule was kept by both: a chapter whose book was learned from is
        no test, and a training that goes on under this rule spoils nothing. Its stories and snippets still
        share their templates with training.
        """
        return self.split == "test" and (rule == RULE or first_split(self.title or self.body) == "test")


def tales_file(named: str | None) -> Path | None:
    """The file of tales that is there: the one that is named, else the one in the usual place, else None."""
    if named:
        return Path(named)
    return TALES if TALES.exists() else None


def deduplicated(documents: Iterable[Document]) -> Iterator[Document]:
    """Drops a body seen before, also across splits, comparing letters and digits only."""
    seen: set[bytes] = set()
    for document in documents:
        key = hashlib.sha256(re.sub(r"[\W_]+", "", document.body.lower()).encode()).digest()[:12]
        if key not in seen:
            seen.add(key)
            yield document


def without_leaks(documents: Sequence[Document], sources: Container[str]) -> Iterator[Document]:
    """Drops from training what is nearly a held-out text of the same sources: a tale told in two books, a
    function copied between modules.
    """
    held_out = [d.body for d in documents if d.source in sources and d.split != "train"]
    kept = {gram for body in held_out for gram in word_grams(body)}
    for document in documents:
        learned = document.source in sources and document.split == "train"
        if not learned or overlap(document.body, kept) < LEAKED:
            yield document


def split_of_novelty(novelty: str, text: str) -> str | None:
    """The split of a grammar's text; None where it is not used."""
    if novelty == "combination":
        return split_of(text)
    return "test" if novelty != "both" and bucket(text) < NOVEL_KEPT else None


def story_documents(count: int = STORIES, seed: int = 0) -> Iterator[Document]:
    for i in range(count):
        one = story(random.Random(f"story-{seed}-{i}"))
        if split := split_of_novelty(one.novelty, one.text):
            names = {"work": one.text, "novelty": one.novelty}
            yield Document("text", split, "story", one.prompts, one.text, complete=True, **names)


def snippet_documents(count: int = SNIPPETS, seed: int = 0) -> Iterator[Document]:
    for i in range(count):
        one = any_snippet(random.Random(f"snippet-{seed}-{i}"))
        if split := split_of_novelty(one.novelty, one.source):
            prompts = one.prompt, *one.others
            names = {"work": one.source, "novelty": one.novelty, "check": one.check}
            yield Document("code", split, "snippet", prompts, one.source, complete=True, **names)


def pieces(text: str, size: int = PIECE_CHARACTERS) -> list[str]:
    """Cuts a long text between sentences into pieces of at most about `size` characters."""
    out = [""]
    for sentence in re.findall(r".+?(?:[.!?][\"'\u201d\u2019)]*\s+|\n|$)", text, flags=re.S):
        if len(out[-1]) + len(sentence) > size and out[-1]:
            out.append("")
        out[-1] += sentence
    return [piece.strip() for piece in out if piece.strip()]


def long_words(text: str) -> list[str]:
    return re.findall(r"(?<![\w'])[a-z]{4,}(?![\w'])", text)


def topics(piece: str, rarity: dict[str, float], count: int = 3) -> list[str]:
    """The words that tell this piece from others, the most telling first (tf-idf)."""
    weight = {word: n * rarity.get(word, 0.0) for word, n in Counter(long_words(piece)).items()}
    return sorted(sorted(weight), key=lambda word: -weight[word])[:count]


def tale_documents(path: Path) -> Iterator[Document]:
    """Pieces of the tales in a JSON-lines file with `title` and `text`.

    Raises:
        ValueError: a row without them.
    """
    works = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            if not {"title", "text"} <= row.keys():
                raise ValueError(
                    f"{path}, line {number}: expected the keys 'title' and 'text', found {sorted(row)}"
                )
            works.append((row["title"], row["text"], str(row.get("source", ""))))
    seen_in: Counter[str] = Counter()
    for title, text, source in works:
        if work_of(title, source)[1] == "train":
            seen_in.update(set(long_words(text)))
    rarity = {word: math.log(len(works) / n) for word, n in seen_in.items() if n >= 3}
    for title, text, source in works:
        form = (
            "a tale about" if "(book" in source else "a story about"
        )  # chapters of old books | picture books
        cut = pieces(text)
        for i, piece in enumerate(cut):
            found = topics(piece, rarity)
            if len(found) < 3:
                continue
            a, b, c = found
            prompts = [
                f"{form} {a}",
                f"{form} {a} and {b}",
                f"{form} {a}, {b} and {c}",
                f"{form} {b} and {a}",
            ]
            prompts.append("a tale that begins: " + " ".join(piece.split()[:6]))
            if i == 0:
                prompts += [title.lower(), title.lower()]
            work, split = work_of(title, source)
            last = i == len(cut) - 1
            yield Document(
                "text", split, "tale", tuple(prompts), piece, complete=last, work=work, title=title
            )


def functions(source: str) -> Iterator[tuple[str, str]]:
    """Every short function of a module as (its docstring's first line, its source without the docstring)."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or node.decorator_list:
            continue
        doc = ast.get_docstring(node)
        if not doc or len(node.body) < 2:
            continue
        kept = (
            lines[node.lineno - 1 : node.body[0].lineno - 1]
            + lines[node.body[1].lineno - 1 : node.end_lineno]
        )
        body = textwrap.dedent("\n".join(kept)) + "\n"
        first = " ".join(doc.strip().split("\n\n")[0].split()).rstrip(".")
        if not (60 <= len(body) <= LONGEST_FUNCTION and 10 <= len(first) <= 120 and body.isascii()):
            continue
        try:
            ast.parse(body)
        except SyntaxError:
            continue
        yield first[0].lower() + first[1:], body


def modules(packages: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(name, source) of the running Python's standard library, then of packages fetched as wheels."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if not {"site-packages", "test", "tests", "idle_test", "lib2to3", "encodings"} & set(parts):
            yield "/".join(parts), path.read_text("utf-8", "replace")
    for requirement in packages:
        with tempfile.TemporaryDirectory() as folder:
            fetch = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary=:all:",
                "-d",
                folder,
                requirement,
            ]
            subprocess.run(fetch, check=True)
            for wheel in sorted(Path(folder).glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    for name in sorted(archive.namelist()):
                        if name.endswith(".py") and "/tests/" not in name:
                            yield f"{requirement}/{name}", archive.read(name).decode("utf-8", "replace")


def function_documents(packages: Iterable[str]) -> Iterator[Document]:
    for name, source in modules(packages):
        for prompt, body in functions(source):
            yield Document(
                "code", split_of(name), "function", (prompt,), body, complete=True, work=name, title=name
            )


def build_corpus(
    kind: str, out: Path, source: Path | None = None, packages: Iterable[str] = ()
) -> dict[str, int]:
    """Writes `out/<kind>.jsonl.gz` and returns how many documents each source and split has.

    Args:
        source: the file of tales; without it the text corpus is the grammar alone.
        packages: requirements whose wheels are downloaded for their functions.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "text":
        rows = [*(tale_documents(source) if source else ()), *story_documents()]
    elif kind == "code":
        rows = [*function_documents(packages), *snippet_documents()]
    else:
        raise ValueError(f"unknown corpus {kind!r}; expected 'text' or 'code'")
    out.mkdir(parents=True, exist_ok=True)
    kept = [*without_leaks([*deduplicated(rows)], ("tale", "function"))]
    save_corpus(out / f"{kind}.jsonl.gz", kept)
    return dict(sorted(Counter(f"{one.source}/{one.split}" for one in kept).items()))


def save_corpus(path: Path, documents: Iterable[Document]) -> None:
    """Writes a corpus whole or not at all; equal documents give equal bytes."""
    with (
        replacing(path) as partial,
        partial.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
    ):
        for document in documents:
            packed.write((json.dumps(asdict(document), ensure_ascii=False) + "\n").encode())


def load_corpus(path: Path) -> list[Document]:
    """Reads a corpus that `build_corpus` wrote.

    Raises:
        ValueError: it was written before works were noted, so that nothing says what may be tested on.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    if rows and "work" not in rows[0]:
        raise ValueError(
            f"{path} was split by an earlier rule; delete it and build it again with `bowstring data`"
        )
    return [Document(**{**row, "prompts": tuple(row["prompts"])}) for row in rows]


def corpora_in(folder: Path) -> list[Document]:
    """All documents of the corpora that lie in `folder`.

    Raises:
        FileNotFoundError: there are none.
    """
    paths = [path for kind in ("text", "code") if (path := folder / f"{kind}.jsonl.gz").exists()]
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no corpus; build one with `bowstring data text` and `bowstring data code`"
        )
    return [document for path in paths for document in load_corpus(path)]


def corpus_documents(folder: Path, split: str) -> list[Document]:
    """Documents of one split from the corpora that lie in `folder`; raises as `corpora_in` does."""
    return [document for document in corpora_in(folder) if document.split == split]
