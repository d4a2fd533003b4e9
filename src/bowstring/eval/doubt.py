"""Does doubt know what is hard, and what is wrong? `bench evolve` asks this of texts and of pictures.

Spearman's correlation is of doubt with the severity of the prompt (`hardness`). The area under the ROC curve
is of doubt against actual error: held-out texts being read, whether the likeliest next token is another one
than was written; of a picture (`doubt_pictures`), whether its name is not the judge's best of 100. Beside it
stand the areas of raw numbers and of a random one. False triggers are held-in prompts, others than those that
calibrated, whose doubt is beyond the trigger.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..adapt.calibrate import BATCH
from ..adapt.uncertainty import UncertaintyEstimator
from ..core.calibration import TRIGGER, Calibrator
from ..decode.generate import entropy
from ..engine import ArrowEngine
from ..engine.calibration import held_in_prompts
from ..text.doubt import Trace, of_tokens, source_of
from ..text.sampling import Sampling
from ..train.data.corpora import Document
from ..train.text.packing import prompt_tokens
from .hardness import SEVERITIES, graded
from .results import Measured, announce, jackknife

OTHER_HALF = 1  # seed of held-in prompts that calibrated nothing
TOKENS = 32  # of a text whose doubt is asked
READ = 96  # tokens of a held-out text that are read
SCORES = ("text", "text_surprisal", "text_entropy", "text_random")
Row = tuple[float, ...]


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = count.cumsum()
    return (ends - (count - 1) / 2)[place]


def spearman(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """
    >>> round(spearman([1, 2, 3, 4], [10, 20, 20, 40]), 3)
    0.949
    """
    return float(np.corrcoef(ranks(np.asarray(a)), ranks(np.asarray(b)))[0, 1])


def auroc(scores: Sequence[float] | np.ndarray, wrong: Sequence[bool] | np.ndarray) -> float:
    """How often a wrong one has the higher score than a right one; ties count half.

    >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.75
    """
    bad = np.asarray(wrong, bool)
    n, m = int(bad.sum()), int((~bad).sum())
    if not n or not m:
        return float("nan")
    return float((ranks(np.asarray(scores))[bad].sum() - n * (n + 1) / 2) / (n * m))


def over_groups(
    statistic: Callable[[np.ndarray, np.ndarray], float], groups: Sequence[Sequence[Row]], column: int = 0
) -> Measured:
    """A statistic of a column and the last one; its error from leaving out whole groups of rows."""

    def whole(some: Sequence[Sequence[Row]]) -> float:
        rows = np.array([row for group in some for row in group])
        return statistic(rows[:, column], rows[:, -1])

    return jackknife(whole, groups)


def text_doubts(engine: ArrowEngine, prompts: Sequence[str], kind: str, mode: str) -> list[float]:
    """Uncertainty of a short text of every prompt.

    Raises:
        ValueError: the model was not calibrated.
    """
    made: list[float] = []
    for i in range(0, len(prompts), BATCH):
        some = engine.text_pipeline.together(prompts[i : i + BATCH], kind, Sampling(mode, TOKENS, seed=7 + i))
        made += [UncertaintyEstimator().estimate(one) for one in some if one.tokens]
    return made


def beyond(doubts: Sequence[float]) -> Measured:
    """Share of doubts beyond the trigger."""
    return Measured.mean([float(one > TRIGGER) for one in doubts])


def severities(doubts: dict[str, list[float]]) -> dict[str, Any]:
    """Correlation of doubt with severity, and the mean doubt of each."""
    groups = [[(one, float(SEVERITIES.index(name)))] for name, some in doubts.items() for one in some]
    means = {name: Measured.mean(some) for name, some in doubts.items()}
    return {"spearman": over_groups(spearman, groups), "means": means}


def text_severities(engine: ArrowEngine, documents: Sequence[Document], count: int) -> dict[str, Any]:
    """Texts by diffusion of prompts that grow harder."""
    learned = [one for one in documents if one.split == "train"]
    known = held_in_prompts(learned, "text", 2000, OTHER_HALF)
    held = [one for one in documents if one.kind == "text" and one.held_out(engine.metadata.split_rule)]
    doubts = {}
    for severity, prompts in graded(known, [one.prompts[0] for one in held], count).items():
        announce(f"doubt of texts, {severity}")
        doubts[severity] = text_doubts(engine, prompts, "text", "diffusion")
    return severities(doubts)


def text_false_triggers(
    engine: ArrowEngine, documents: Sequence[Document], count: int
) -> dict[str, Measured]:
    """By kind and mode, of held-in prompts that calibrated nothing."""
    learned, found = [one for one in documents if one.split == "train"], {}
    for kind in ("text", "code"):
        prompts = held_in_prompts(learned, kind, count, OTHER_HALF)
        for mode in ("ar", "diffusion"):
            announce(f"false triggers of {kind}, {mode}")
            found[source_of(kind, mode)] = beyond(text_doubts(engine, prompts, kind, mode))
    return found


def text_errors(engine: ArrowEngine, documents: Sequence[Document], count: int) -> dict[str, Measured]:
    """Is the likeliest next token of held-out texts, `count` of every source, the one that was written?"""
    decoder, rng = engine.text_pipeline.decoder, random.Random(3)
    if decoder is None:
        return {"text": Measured(None, n=0)}
    held = [one for one in documents if one.kind == "text" and one.held_out(engine.metadata.split_rule)]
    groups = []
    for source in sorted({one.source for one in held}):
        own = [one for one in held if one.source == source]
        for one in rng.sample(own, min(count, len(own))):
            head = prompt_tokens(engine.tokenizer, one.kind, one.prompts[0])
            body = engine.tokenizer.encode(one.body)[:READ]
            hidden = decoder.forward(np.array([*head, *body[:-1]]), decoder.cache())
            groups.append(read_tokens(engine.calibrator, decoder.logits(hidden[len(head) - 1 :]), body, rng))
    areas = {name: over_groups(auroc, groups, i) for i, name in enumerate(SCORES)}
    return areas | {"text_wrong": Measured.mean([row[-1] for group in groups for row in group])}


def read_tokens(
    calibrator: Calibrator, logits: np.ndarray, body: Sequence[int], rng: random.Random
) -> list[Row]:
    """Of every token the `SCORES` of the likeliest one, and whether another one stands there."""
    best, shifted = logits.argmax(1), logits - logits.max(1, keepdims=True)
    surprisal = np.log(np.exp(shifted).sum(1))
    entropies = np.array([entropy(row) for row in logits])
    trace = Trace(surprisal, entropies, np.full(len(best), np.nan))
    doubts, wrong = of_tokens(trace, calibrator, source_of("text", "ar")), best != np.asarray(body)
    return [
        (d, s, e, rng.random(), float(w))
        for d, s, e, w in zip(doubts, surprisal.tolist(), entropies.tolist(), wrong, strict=True)
    ]


def text_numbers(engine: ArrowEngine, documents: Sequence[Document], *, quick: bool) -> dict[str, Any]:
    """Correlation, means by severity, areas and false triggers of texts."""
    found = text_severities(engine, documents, 16 if quick else 100)
    announce("doubt of texts against error")
    errors = text_errors(engine, documents, 4 if quick else 40)
    return found | {
        "auroc": errors,
        "false_triggers": text_false_triggers(engine, documents, 24 if quick else 400),
    }
