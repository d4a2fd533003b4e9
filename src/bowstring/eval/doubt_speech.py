"""Doubt of speech; see `doubt`. New combinations are here sentences of held-out works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..adapt.calibrate import said
from ..engine import ArrowEngine
from ..engine.calibration import some_sentences
from ..speech.doubt import of_part, of_parts
from ..speech.utterance import SpeechSampling
from ..train.data.corpora import Document
from .doubt import OTHER_HALF, beyond, severities
from .hardness import graded
from .results import announce


def speech_doubts(engine: ArrowEngine, sentences: Sequence[str]) -> list[float]:
    """Uncertainty of every sentence, without its sound.

    Raises:
        ValueError: the model was not calibrated.
    """
    pipeline, made = engine.speech_pipeline, []
    how = SpeechSampling(engine.metadata.scheduler("audio").num_inference_steps)
    for sentence in sentences:
        parts = [*said(pipeline, [sentence], how)]
        doubts = [of_part(trace, pipeline.calibrator) for _, trace in parts]
        whole = of_parts(doubts, [part.tokens for part, _ in parts])
        if whole is None:
            raise ValueError("speech of this model was not calibrated; `bowstring calibrate` does it")
        made.append(whole)
    return made


def speech_numbers(engine: ArrowEngine, documents: Sequence[Document], *, quick: bool) -> dict[str, Any]:
    """Correlation, means by severity and false triggers of speech, in the steps of the metadata."""
    learned = [one for one in documents if one.split == "train"]
    held = [one for one in documents if one.kind == "text" and one.held_out(engine.metadata.split_rule)]
    known, new = some_sentences(learned, 400, OTHER_HALF), some_sentences(held, 200, OTHER_HALF)
    doubts = {}
    for severity, sentences in graded(known, new, 8 if quick else 60).items():
        announce(f"doubt of speech, {severity}")
        doubts[severity] = speech_doubts(engine, sentences)
    announce("false triggers of speech")
    others = known[: 24 if quick else 400]
    return severities(doubts) | {"false_triggers": beyond(speech_doubts(engine, others))}
