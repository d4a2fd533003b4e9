"""Doubt of speech; see `doubt`. New combinations are here sentences of held-out works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..adapt.calibrate import said
from ..engine import ArrowEngine
from ..speech.doubt import SpokenDoubt
from ..speech.utterance import SpeechSampling
from ..train.data.corpora import Document
from ..train.data.sentences import sentences
from .doubt import OTHER_HALF, beyond, severities
from .hardness import graded
from .results import announce

CALIBRATED, OTHERS = 600, 400  # sentences that a model was calibrated with, and others


def speech_doubts(engine: ArrowEngine, texts: Sequence[str]) -> list[float]:
    """Uncertainty of every sentence, without its sound.

    Raises:
        ValueError: the model was not calibrated.
    """
    pipeline, made = engine.speech_pipeline, []
    how = SpeechSampling(engine.metadata.scheduler("audio").num_inference_steps)
    for one in texts:
        doubt = SpokenDoubt(pipeline.calibrator, how.steps)
        for part, trace in said(pipeline, [one], how):
            doubt.add(trace, part)
        if doubt.uncertainty is None:
            raise ValueError("speech of this model was not calibrated; `bowstring calibrate` does it")
        made.append(doubt.uncertainty)
    return made


def speech_numbers(engine: ArrowEngine, documents: Sequence[Document], *, quick: bool) -> dict[str, Any]:
    """Correlation, means by severity and false triggers of speech, in the steps of the metadata. Every
    sentence ends in a full stop, so that pauses tell nothing.
    """
    learned = [one for one in documents if one.split == "train"]
    held = [one for one in documents if one.kind == "text" and one.held_out(engine.metadata.split_rule)]
    known, new = sentences(learned, CALIBRATED + OTHERS)[CALIBRATED:], sentences(held, 200, OTHER_HALF)
    doubts = {}
    for severity, some in graded(known, new, 8 if quick else 60).items():
        announce(f"doubt of speech, {severity}")
        doubts[severity] = speech_doubts(engine, [f"{one.rstrip('.!? ')}." for one in some])
    announce("false triggers of speech")
    others = known[: 24 if quick else OTHERS]
    return severities(doubts) | {"false_triggers": beyond(speech_doubts(engine, others))}
