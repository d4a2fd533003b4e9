"""SpeechPipeline: text in, sound out, with the times of words and phonemes; the codec stands at the far end.

Sound is `(s,)` samples in -1..1 at 24 kHz.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.calibration import Calibrator
from ..core.cancel import Cancel, stoppable
from ..core.loop import last
from ..core.process import Schedule, linear
from ..core.trace import FlowTrace
from ..nn.network import UnifiedScoreNetwork
from .alignment import SECONDS, Span
from .analysis import analyse
from .baseline import ResidualCoder
from .doubt import SpokenDoubt
from .g2p import G2P, Word
from .recording import as_recording
from .result import SpeechResult
from .sampling import predict_durations, sample_speech
from .source_filter import Frames, noise_gated
from .speaker import SpeakerEncoder, numbers_of_voice
from .stream import SoundStream
from .utterance import SpeechSampling, Utterance, planned
from .vocoder import Vocoder

DEFAULT = SpeechSampling()


@dataclass(frozen=True)
class SpeechFrame:
    """Sound that can be heard already; the next frame's follows without a seam. share: of the text."""

    audio: np.ndarray
    nfe: int
    share: float


def voice_in(recording: Any, speaker: SpeakerEncoder | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The voice in a recording, if there is one, and notes on what may spoil it. See `as_recording`."""
    if recording is None:
        return None, ()
    found = as_recording(recording)
    return numbers_of_voice(analyse(found.signal), speaker), found.notes


class SpeechPipeline:
    """Speaks with a network that has an audio head."""

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        g2p: G2P,
        coder: ResidualCoder[Frames],
        voice: np.ndarray,
        vocoder: Vocoder,
        schedule: Schedule = linear,
        calibrator: Calibrator | None = None,
        speaker: SpeakerEncoder | None = None,
    ) -> None:
        """`voice` is the one that speaks when none is given; noise falls by the schedule; the calibrator
        tells how unsure speech is, the speaker encoder what a recording's voice is like.
        """
        self.speaker = speaker
        self.calibrator = Calibrator() if calibrator is None else calibrator
        self.network, self.g2p, self.coder = network, g2p, coder
        self.voice, self.vocoder, self.schedule = voice, vocoder, schedule

    def frames(self, tokens: Tensor, utterance: Utterance, voice: Tensor) -> Frames:
        """What the tokens `(l, 96)` of an utterance sound like; voice is `(1, 103)` or `(1, 167)`."""
        known = (utterance.phonemes, utterance.durations, voice[0].numpy())
        return noise_gated(self.coder.decode(tokens.cpu().numpy(), *known))[: utterance.frames]

    def planned(
        self, words: Sequence[Word], voice: Tensor, how: SpeechSampling, first: int = 0
    ) -> list[Utterance]:
        """Parts of a text with their durations, none longer than is spoken at once, numbered from `first`."""
        timed = partial(predict_durations, self.network, voice=voice, how=how)
        return planned(words, lambda part, number: timed(part, number=first + number))

    @torch.no_grad()
    def stream(
        self,
        text: str,
        voice: np.ndarray | None = None,
        sampling: SpeechSampling = DEFAULT,
        notes: tuple[str, ...] = (),
        cancel: Cancel | None = None,
    ) -> Iterator[SpeechFrame | SpeechResult]:
        """Yields each part as it can be heard, then the result, which is all of them, with the notes.

        Raises:
            ValueError: nothing to say. Cancelled: it was asked to stop.
        """
        own = torch.from_numpy(self.voice if voice is None else voice)[None]
        sentence, sound = self.g2p.sentence(text), SoundStream(self.vocoder, sampling.seed)
        parts = self.planned(sentence.words, own, sampling)
        heard: list[np.ndarray] = []
        words: list[Span] = []
        phonemes: list[Span] = []
        seconds: list[float] = []
        doubt = SpokenDoubt.of(self.calibrator, sampling)
        begin = nfe = 0
        for number, part in enumerate(parts):
            clock, trace = time.perf_counter(), FlowTrace()
            states = sample_speech(self.network, part, own, sampling, number, self.schedule, trace)
            state = last(stoppable(states, cancel))
            spans = part.spans(begin * SECONDS)
            for target, some in zip((words, phonemes), spans, strict=True):
                target += some
            doubt.add(trace, part)
            made = self.frames(state.x[0], part, own)  # type: ignore[index]
            heard.append(sound.push(made, last=number + 1 == len(parts)))
            begin += part.frames
            nfe += int(state.nfe[0])
            seconds.append(time.perf_counter() - clock)
            yield SpeechFrame(heard[-1], nfe, (number + 1) / len(parts))
        settings = {"text": text, "voice": "own" if voice is None else "matched", **asdict(sampling)}
        whole = (np.concatenate(heard), tuple(words), tuple(phonemes), nfe, tuple(seconds))
        yield SpeechResult(
            *whole,
            settings,
            notes=notes,
            unspoken=sentence.unspoken,
            uncertainty=doubt.uncertainty,
            uncertainties=tuple(doubt.uncertainties),
        )
