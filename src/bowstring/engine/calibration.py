"""Calibrates a whole model from the corpora that it learned from."""

from __future__ import annotations

import random
from pathlib import Path

from ..adapt.calibrate import (
    Asked,
    calibrate_images,
    calibrate_imported,
    calibrate_speech,
    calibrate_text,
    merged,
)
from ..core.calibration import Calibrator
from ..core.options import whole
from ..llm.pipeline import LanguageModel
from ..train.data.corpora import Document, corpora_in
from ..train.data.gallery import plan
from ..train.data.pictures import load_icons, pair_learned
from ..train.data.sentences import sentences
from ..weights.metadata import Metadata
from . import ArrowEngine

KINDS = ("text", "code")
MOST_IMPORTED = 100  # prompts of an imported model, which writes one after the other
WORDS = 24  # of a text that an imported model goes on from


def calibrate_model(folder: Path, data: Path, count: int, seed: int = 0) -> Calibrator:
    """Of every modality that was learned from prompts.

    Raises:
        FileNotFoundError: `data` holds no corpora.
    """
    count = whole(count, "count", 16)
    learned = [one for one in corpora_in(data) if one.split == "train"]
    engine = ArrowEngine.load(folder)
    if isinstance(engine, LanguageModel):
        return calibrate_imported(engine, beginnings(learned, min(count, MOST_IMPORTED), seed))
    asked = {kind: Asked.halves(held_in_prompts(learned, kind, count, seed)) for kind in KINDS}
    found = [calibrate_text(engine.text_pipeline, asked, seed)]
    steps = {name: engine.metadata.scheduler(name).num_inference_steps for name in engine.modalities}
    if "image" in steps:
        captions = held_in_captions(data, engine.metadata, count, seed)
        found.append(calibrate_images(engine.network, engine.tokenizer, captions, steps["image"], seed))
    if steps.get("audio", 1) > 1:
        read = sentences(learned, count)
        found.append(calibrate_speech(engine.speech_pipeline, read, steps["audio"]))
    return merged(*found)


def held_in_prompts(learned: list[Document], kind: str, count: int, seed: int) -> list[str]:
    """One prompt of each of some documents that were learned from, of every source alike."""
    rng = random.Random(f"{kind}-{seed}")
    own = [one for one in learned if one.kind == kind]
    return [rng.choice(one.prompts) for one in rng.sample(own, min(count, len(own)))]


def beginnings(learned: list[Document], count: int, seed: int) -> list[str]:
    """First words of texts that people wrote."""
    rng = random.Random(f"beginnings-{seed}")
    own = [one for one in learned if one.source == "tale"] or learned
    return [" ".join(one.body.split()[:WORDS]) for one in rng.sample(own, min(count, len(own)))]


def held_in_captions(data: Path, model: Metadata, count: int, seed: int) -> list[tuple[str, str]]:
    """Captions and styles of pictures that a model learned from."""
    rng, (_, concepts) = random.Random(f"captions-{seed}"), load_icons(data)
    icons = plan(concepts, 0, 0, model.picture_groups)
    own = [one for one in icons if pair_learned(one.concept, one.style, model.split_rule)]
    return [(rng.choice(one.captions), one.style) for one in rng.choices(own, k=count)]
