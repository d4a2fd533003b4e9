"""Fits what tells how unsure a model is, on held-in prompts: some teach what their readings look like, others
where the signals lie. What is tried on the result (`eval/doubt.py`) is neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..core.calibration import READING, Calibrator, Gauge, Subspace, fit
from ..core.loop import last
from ..core.trace import FlowTrace, changes, in_places, in_time, signals
from ..image.doubt import SOURCE as IMAGE
from ..image.sampling import ImageSampling, caption_tokens, sample_images
from ..nn.network import UnifiedScoreNetwork
from ..speech.doubt import changes as spoken_changes
from ..speech.doubt import gauge, gauge_of_parts
from ..speech.doubt import source_of as spoken_source
from ..speech.pipeline import SpeechPipeline
from ..speech.sampling import sample_speech
from ..speech.utterance import SpeechSampling, Utterance
from ..text.doubt import COUNTED, TOKENWISE, Trace, source_of, steps_of
from ..text.pipeline import TextPipeline
from ..text.result import TextResult
from ..text.sampling import Sampling
from ..text.tokenizer import TextTokenizer

MODES = ("ar", "diffusion")
LENGTH = max(COUNTED)  # tokens of a text that calibrates
BATCH = 32


class Writer(Protocol):
    """An imported model, as far as it is needed here."""

    mode: str

    def generate(self, prompt: str, mode: str | None = None, **options: Any) -> TextResult: ...


@dataclass(frozen=True)
class Asked:
    """Held-in prompts of a kind: those whose readings are learned, and those that calibrate."""

    read: Sequence[str]
    fitted: Sequence[str]

    @classmethod
    def halves(cls, prompts: Sequence[str]) -> Asked:
        """
        Raises:
            ValueError: fewer than eight.
        """
        if len(prompts) < 8:
            raise ValueError(f"{len(prompts)} prompts calibrate nothing; expected 8 at least, better 400")
        return cls(prompts[::2], prompts[1::2])


def of_texts(traces: Sequence[Trace], source: str, known: Calibrator) -> dict[str, Gauge]:
    """The gauges of texts and of their tokens from held-in ones."""
    rows, kind = dict[int, list[dict[str, float]]](), source.split()[0]
    for trace in traces:
        for step in steps_of(len(trace.surprisal)) if len(trace.surprisal) else ():
            rows.setdefault(step, []).append(trace.signals(step) | known.news(kind, trace.reading))
    tokens = [
        {name: float(value) for name, value in zip(TOKENWISE, values, strict=True) if np.isfinite(value)}
        for trace in traces
        for values in zip(*(getattr(trace, name) for name in TOKENWISE), strict=True)
    ]
    return {source: fit(rows), f"{source} token": fit({0: tokens})}


def text_traces(pipeline: TextPipeline, prompts: Sequence[str], kind: str, how: Sampling) -> list[Trace]:
    """What texts of these prompts said about themselves while they were written."""
    made: list[Trace] = []
    for i in range(0, len(prompts), BATCH):
        own = replace(how, seed=how.seed + i)
        made += [one.trace for one in pipeline.together(prompts[i : i + BATCH], kind, own)]
    return made


def calibrate_text(pipeline: TextPipeline, asked: Mapping[str, Asked], seed: int = 0) -> Calibrator:
    """Of every kind, in both modes."""
    gauges: dict[str, Gauge] = {}
    readings: dict[str, Subspace] = {}
    for kind, prompts in asked.items():
        seen = [one.reading for one in text_traces(pipeline, prompts.read, kind, Sampling("ar", 1))]
        readings[kind] = Subspace.fit(np.stack([one for one in seen if one is not None]))
        for mode in MODES:
            traces = text_traces(pipeline, prompts.fitted, kind, Sampling(mode, LENGTH, seed=seed))
            gauges |= of_texts(traces, source_of(kind, mode), Calibrator({}, readings))
    return Calibrator(gauges, readings)


def calibrate_imported(model: Writer, prompts: Sequence[str], tokens: int = 32, seed: int = 0) -> Calibrator:
    """Of an imported model, from how it goes on from texts."""
    traces = [
        model.generate(prompt, max_tokens=tokens, seed=seed + i).trace for i, prompt in enumerate(prompts)
    ]
    return Calibrator(of_texts(traces, source_of("text", model.mode), Calibrator()))


def calibrate_images(
    network: UnifiedScoreNetwork,
    tokenizer: TextTokenizer,
    captions: Sequence[tuple[str, str]],
    steps: int,
    seed: int = 0,
) -> Calibrator:
    """Of pictures of held-in (caption, style)s, sampled in so many steps."""
    how = ImageSampling(steps, seed=seed)
    traces = [trace for trace, _ in sampled(network, tokenizer, captions, how)]
    half = len(traces) // 2
    known = Calibrator(
        in_time(traces, IMAGE), {IMAGE: Subspace.fit(np.concatenate([one.reading for one in traces[:half]]))}
    )
    pictures = [(one, i) for one in traces[half:] for i in range(len(one.reading))]
    rows = [signals(one, i, known, IMAGE) for one, i in pictures]
    unguided = [{READING: row[READING]} for row in rows]
    gauges = {
        IMAGE: fit({0: rows}),
        f"{IMAGE} unguided": fit({0: unguided}),
        f"{IMAGE} places": in_places(changes(one, i, known, IMAGE) for one, i in pictures),
    }
    return Calibrator({**known.gauges, **gauges}, known.readings)


def calibrate_speech(pipeline: SpeechPipeline, texts: Sequence[str], steps: int) -> Calibrator:
    """Of held-in texts, said by the model's own voice in so many steps: half of them say where changes lie at
    each time, the others where parts and words lie.

    Raises:
        ValueError: fewer than eight parts of them, or a single step, in which nothing changes.
    """
    if steps < 2:
        raise ValueError(f"speech in {steps} step says nothing about itself; expected 2 at least")
    made = [*said(pipeline, texts, SpeechSampling(steps))]
    if len(made) < 8:
        raise ValueError(f"{len(made)} parts of speech calibrate nothing; expected 8 at least, better 400")
    source, half = spoken_source(steps), len(made) // 2
    known = Calibrator(in_time([trace for _, trace in made[:half]], source))
    found = [spoken_changes(trace, part, known, source) for part, trace in made[half:]]
    parts = [moved for moved, _ in filter(None, found) if len(moved)]
    words = [word for _, some in filter(None, found) for word in some]
    return Calibrator({**known.gauges, source: gauge_of_parts(parts), f"{source} words": gauge(words)})


def said(
    pipeline: SpeechPipeline, texts: Sequence[str], how: SpeechSampling
) -> Iterator[tuple[Utterance, FlowTrace]]:
    """Parts of texts in the model's own voice, and what they said about themselves."""
    voice = torch.from_numpy(pipeline.voice)[None]
    for text in texts:
        for part in pipeline.planned(pipeline.g2p.sentence(text).words, voice, how):
            trace = FlowTrace()
            last(sample_speech(pipeline.network, part, voice, how, 0, pipeline.schedule, trace))
            yield part, trace


def sampled(
    network: UnifiedScoreNetwork,
    tokenizer: TextTokenizer,
    captions: Sequence[tuple[str, str]],
    how: ImageSampling,
) -> Iterator[tuple[FlowTrace, Tensor]]:
    """Batches of pictures of (caption, style)s: what they said about themselves, and their tokens."""
    for i in range(0, len(captions), BATCH):
        known = [caption_tokens(tokenizer, *one) for one in captions[i : i + BATCH]]
        trace = FlowTrace()
        state = last(sample_images(network, known, how, first=i, trace=trace))
        assert isinstance(state.x, Tensor)
        yield trace, state.x


def merged(*parts: Calibrator) -> Calibrator:
    """All gauges and readings; of one name the last counts."""
    gauges = {name: one for part in parts for name, one in part.gauges.items()}
    return Calibrator(gauges, {name: one for part in parts for name, one in part.readings.items()})
