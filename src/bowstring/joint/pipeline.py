"""JointPipeline: a text becomes speech, a face and a picture; the result knows when everything happens.

Sound is `(s,)` at 24 kHz, the face `(f, 52)` at 62.5 frames a second, pictures `(512, 512, 3)` bytes.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.cancel import Cancel, stoppable
from ..core.conditioning import NOTHING, Conditioning
from ..core.loop import State
from ..core.process import Schedule
from ..core.trace import FlowTrace
from ..face.animate import shut
from ..face.codec import on_clock
from ..face.shapes import SHAPES, viseme_of
from ..image.pipeline import ImageFrame, ImagePipeline, expected
from ..speech.alignment import SECONDS, Span
from ..speech.baseline import ResidualCoder
from ..speech.doubt import SpokenDoubt
from ..speech.pipeline import SpeechFrame, SpeechPipeline
from ..speech.stream import SoundStream
from ..speech.utterance import Utterance
from ..text.pipeline import TextFrame
from ..text.result import TextResult
from .result import JointResult
from .sampling import JointInputs, JointSampling, sample_joint
from .writing import GivenText, WrittenText

DEFAULT = JointSampling()


@dataclass
class Made:
    """What has been made of a text so far; `frames` of 8 ms are over."""

    frames: int = 0
    steps: int = 0
    forwards: int = 0
    audio: list[np.ndarray] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    unspoken: list[str] = field(default_factory=list)
    words: list[Span] = field(default_factory=list)
    phonemes: list[Span] = field(default_factory=list)
    picture: Tensor | None = None
    image: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=lambda: {"trunk": 0.0, "sound": 0.0, "picture": 0.0})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds what a block takes to the seconds of its stage."""
        clock = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - clock


def visemes_of(phonemes: Sequence[Span]) -> list[Span]:
    """Visemes of phonemes; equal neighbours are one, stress marks belong to what follows."""
    heard = [span for span in phonemes if span.text not in ("ˈ", "ˌ")]
    runs = [(name, [*some]) for name, some in groupby(heard, lambda span: viseme_of(span.text))]
    return [Span(name, some[0].start, some[-1].end) for name, some in runs]


class JointPipeline:
    """Speaks with a face, and paints meanwhile."""

    def __init__(
        self,
        speech: SpeechPipeline,
        image: ImagePipeline | None,
        face: ResidualCoder[np.ndarray] | None,
        schedules: Mapping[str, Schedule] | None = None,
    ) -> None:
        """Without `image` there are no pictures, without `face` no faces; every stream's noise falls by its
        own schedule.
        """
        self.speech, self.image, self.face = speech, image, face
        self.schedules = {} if schedules is None else dict(schedules)

    @torch.no_grad()
    def stream(
        self,
        text: str | WrittenText,
        caption: Sequence[int] | None = None,
        voice: np.ndarray | None = None,
        sampling: JointSampling = DEFAULT,
        asked: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
        cancel: Cancel | None = None,
        memories: Conditioning = NOTHING,
    ) -> Iterator[TextFrame | TextResult | ImageFrame | SpeechFrame | JointResult]:
        """Yields the picture as it is expected to become, after each step, and each part of the sound; of a
        text that is written meanwhile its tokens, too; then the whole. `asked` is kept with the result's
        settings, `notes` with the result; memories that were read guide the picture.

        Raises:
            ValueError: nothing to say. Cancelled: it was asked to stop.
        """
        own = torch.from_numpy(self.speech.voice if voice is None else voice)[None]
        source = GivenText(text) if isinstance(text, str) else text
        doubt = SpokenDoubt.of(self.speech.calibrator, sampling.speech)
        made, sound = Made(), SoundStream(self.speech.vocoder, sampling.seed)
        parts: list[Utterance] = []
        number = 0
        while parts := parts or (yield from self._told(source, own, sampling, made, cancel, number)):
            utterance, parts = parts[0], parts[1:]
            shown = caption if number == 0 else None
            inputs = JointInputs(utterance, own, self.face is not None, shown, memories=memories)
            trace = FlowTrace()
            state = yield from self._sampled(inputs, sampling, number, made, cancel, source, trace)
            with made.timed("sound"):
                self._keep(state, inputs, made)
                doubt.add(trace, utterance)
                frames = self.speech.frames(streams(state)["audio"][0], utterance, own)
                made.audio.append(sound.push(frames, last=not parts and source.over))
            number += 1
            yield SpeechFrame(made.audio[-1], made.steps, number / (number + len(parts) + (not source.over)))
        with made.timed("picture"):
            if made.picture is not None and self.image is not None:
                made.image = self.image.picture(made.picture)
        face = np.concatenate(made.faces) if made.faces else np.zeros((0, len(SHAPES)), np.float32)
        if sampling.closing:
            shut(face, made.phonemes)
        times = (tuple(made.words), tuple(made.phonemes), tuple(visemes_of(made.phonemes)))
        settings = {"text": source.said, **asdict(sampling), **dict(asked or {})}
        settings["voice"] = "own" if voice is None else "matched"
        seen = (source.said, np.concatenate(made.audio), face, made.image, *times)
        cost = (made.steps, made.forwards, made.seconds)
        known = {"text": source.uncertainty, "audio": doubt.uncertainty}
        yield JointResult(
            *seen,
            *cost,
            settings,
            notes,
            tuple(made.unspoken),
            uncertainty={name: one for name, one in known.items() if one is not None},
            uncertainties=tuple(doubt.uncertainties),
        )

    def _told(
        self,
        source: GivenText | WrittenText,
        voice: Tensor,
        sampling: JointSampling,
        made: Made,
        cancel: Cancel | None,
        number: int,
    ) -> Generator[TextFrame | TextResult, None, list[Utterance]]:
        """What can be said next, from part `number` on, none at the end; where too little is written, the
        text gets passes alone.
        """
        alone = stoppable(source.alone(), cancel)
        while not (piece := source.piece()):
            with made.timed("trunk"):
                if next(alone, None) is None:
                    return []
                made.forwards += 1
            yield from source.frames()
        sentence = self.speech.g2p.sentence(piece)
        made.unspoken += sentence.unspoken
        return self.speech.planned(sentence.words, voice, sampling.speech, number)

    def _sampled(
        self,
        inputs: JointInputs,
        sampling: JointSampling,
        number: int,
        made: Made,
        cancel: Cancel | None,
        source: GivenText | WrittenText,
        trace: FlowTrace,
    ) -> Generator[TextFrame | TextResult | ImageFrame, None, State]:
        """The last state of an utterance and of what is made with it; yields its picture, and the text that
        was written in the same passes.
        """
        how = (sampling.steps, sampling.cfg_scale, sampling.seed, number)
        joint = sample_joint(self.speech.network, inputs, *how, self.schedules, source.rows, trace)
        states = stoppable(joint, cancel)
        with made.timed("trunk"):
            state = next(states)  # captions are read
        while True:
            with made.timed("trunk"):
                before, passes = state, self.speech.network.forwards
                after = next(states, None)
                made.forwards += self.speech.network.forwards - passes
            if after is None:
                return state
            state = after
            yield from source.frames()
            if inputs.caption is not None:
                yield expected(before, state, 1 - state.t.item())

    def _keep(self, state: State, inputs: JointInputs, made: Made) -> None:
        """Takes face, picture and times of an utterance."""
        utterance, x = inputs.utterance, streams(state)
        end = made.frames + utterance.frames
        if self.face is not None:
            known = (utterance.phonemes, utterance.durations, inputs.voice[0].numpy())
            face = self.face.decode(x["avatar"][0].cpu().numpy(), *known)
            made.faces.append(on_clock(face, made.frames, end))
        words, phonemes = utterance.spans(made.frames * SECONDS)
        made.words += words
        made.phonemes += phonemes
        made.frames, made.steps = end, made.steps + int(state.nfe[0])
        made.picture = x["image"][0] if "image" in x else made.picture


def streams(state: State) -> Mapping[str, Tensor]:
    """The tokens of each modality."""
    assert isinstance(state.x, Mapping)
    return state.x
