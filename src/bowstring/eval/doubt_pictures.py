"""Doubt of pictures; see `doubt`. Unknown words are here the names of things that were never drawn, of other
groups than were learned. Errors are asked of learned pairs, held-out pairs and corrupted captions, as many of
each; the picture should still show what the caption was before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..adapt.calibrate import sampled
from ..engine import ArrowEngine
from ..engine.calibration import held_in_captions
from ..image.doubt import of_picture
from ..image.sampling import STYLES, ImageSampling
from ..train.data.gallery import Picture, plan
from ..train.data.pictures import load_icons, pair_learned, pair_unseen
from ..weights.metadata import Metadata
from .doubt import OTHER_HALF, Row, auroc, beyond, over_groups, severities
from .hardness import corrupted, graded
from .judges.names import NameJudge, look
from .quality import small
from .results import Measured, announce

SCORES = ("image", "image_random")
Captions = Sequence[tuple[str, str]]


class Asked:
    """Pictures that are asked for: learned ones, held-out pairs, and things that were never drawn."""

    def __init__(self, data: Path, model: Metadata) -> None:
        _, concepts = load_icons(data)
        every, rule = plan(concepts, 0, 0, model.picture_groups), model.split_rule
        self.learned = [one for one in every if pair_learned(one.concept, one.style, rule)]
        self.unseen = [one for one in every if pair_unseen(one.concept, one.style, rule)]
        groups = {one.group for one in concepts} - model.picture_groups
        self.other = plan(concepts, 0, 0, groups)
        self.held_in = held_in_captions(data, model, 400, OTHER_HALF)

    def graded(self, count: int, rng: random.Random) -> dict[str, list[tuple[str, str]]]:
        """(caption, style)s of every severity."""
        new = [one.captions[0] for one in self.unseen]
        found = graded([caption for caption, _ in self.held_in], new, count)
        made = {name: [(one, rng.choice(STYLES)) for one in some] for name, some in found.items()}
        own = {
            "pairs": rng.sample(self.unseen, min(count, len(self.unseen))),
            "words": rng.sample(self.other, count),
        }
        return made | {name: [(one.captions[0], one.style) for one in some] for name, some in own.items()}


def picture_doubts(engine: ArrowEngine, captions: Captions, how: ImageSampling) -> list[float]:
    """Uncertainty of a picture of every (caption, style)."""
    return [doubt for doubt, _ in painted(engine, captions, how)]


def painted(engine: ArrowEngine, captions: Captions, how: ImageSampling) -> list[tuple[float, torch.Tensor]]:
    """Uncertainty and tokens of every picture.

    Raises:
        ValueError: the model was not calibrated.
    """
    made = []
    for trace, tokens in sampled(engine.network, engine.tokenizer, captions, how):
        for row, one in enumerate(tokens):
            doubt = of_picture(trace, row, engine.calibrator)
            if doubt is None:
                raise ValueError("pictures of this model were not calibrated; `bowstring calibrate` does it")
            made.append((doubt, one))
    return made


def picture_errors(
    engine: ArrowEngine, data: Path, asked: Asked, how: ImageSampling, count: int, rng: random.Random
) -> dict[str, Measured]:
    """Doubt against the judge: is what was asked for the likeliest of 100 names?"""
    judge = NameJudge.load(data, engine.metadata.picture_groups)
    known, new = (
        [one for one in some if one.concept in judge.names] for some in (asked.learned, asked.unseen)
    )
    chosen = [*rng.sample(known, 2 * count), *rng.sample(new, min(count, len(new)))]
    captions = [caption_of(one, rng, spoiled=i < count) for i, one in enumerate(chosen)]
    made = painted(engine, captions, how)
    seen = look(small(engine.image_pipeline.autoencoder, torch.stack([tokens for _, tokens in made])))
    best = judge.ranks(seen, [one.concept for one in chosen])
    rows: list[Row] = [
        (doubt, rng.random(), float(rank > 0)) for (doubt, _), rank in zip(made, best.tolist(), strict=True)
    ]
    areas = {name: over_groups(auroc, [[row] for row in rows], i) for i, name in enumerate(SCORES)}
    return areas | {"image_wrong": Measured.mean([row[-1] for row in rows])}


def caption_of(one: Picture, rng: random.Random, *, spoiled: bool) -> tuple[str, str]:
    caption = one.captions[0]
    return (corrupted(caption, rng) if spoiled else caption), one.style


def picture_numbers(engine: ArrowEngine, data: Path, *, quick: bool) -> dict[str, Any]:
    """Correlation, means by severity, areas and false triggers of pictures, in the steps of the metadata."""
    count, rng = 8 if quick else 48, random.Random(5)
    asked = Asked(data, engine.metadata)
    how = ImageSampling(engine.metadata.scheduler("image").num_inference_steps)
    doubts = {}
    for severity, captions in asked.graded(count, rng).items():
        announce(f"doubt of pictures, {severity}")
        doubts[severity] = picture_doubts(engine, captions, how)
    announce("doubt of pictures against the judge")
    errors = picture_errors(engine, data, asked, how, count, rng)
    announce("false triggers of pictures")
    others = asked.held_in[: 24 if quick else 400]
    return severities(doubts) | {
        "auroc": errors,
        "false_triggers": beyond(picture_doubts(engine, others, how)),
    }
