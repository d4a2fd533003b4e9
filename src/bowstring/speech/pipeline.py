"""SpeechPipeline: text in, sound out, with the times of words and phonemes; the codec stands at the far end.

Sound is `(s,)` samples in -1..1 at 24 kHz.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..nn.network import UnifiedScoreNetwork
from .alignment import SECONDS, Span
from .analysis import analyse
from .baseline import ResidualCoder
from .files import save_wav
from .g2p import G2P, Word
from .recording import as_recording
from .sampling import (
    LONGEST,
    SpeechSampling,
    Utterance,
    clauses,
    concatenate,
    predict_durations,
    sample_speech,
)
from .source_filter import RATE, Frames, noise_gated
from .vocoder import Vocoder
from .voice import voice_of


@dataclass(frozen=True)
class SpeechResult:
    """Sound and how it was made.

    words, phonemes: when each is heard. seconds: of each part of the text. unspoken: what of the text cannot
    be said, as it is written there.
    """

    audio: np.ndarray
    words: tuple[Span, ...]
    phonemes: tuple[Span, ...]
    nfe: int
    seconds: tuple[float, ...]
    settings: dict[str, Any]
    rate: int = RATE
    notes: tuple[str, ...] = ()
    unspoken: tuple[str, ...] = ()

    def save(self, path: Path | str) -> None:
        """Writes a WAV file of 16 bits that carries text, seed and settings."""
        save_wav(path, self.audio, self.rate, self.settings)

    def __rich__(self) -> str:
        length = len(self.audio) / self.rate
        return f"{length:.2f} s of speech, {self.nfe} evaluations, {sum(self.seconds):.2f} s"


@dataclass(frozen=True)
class SpeechFrame:
    """A part of a text that is ready to be heard."""

    audio: np.ndarray
    nfe: int
    share: float


def voice_in(recording: Any) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The voice in a recording, if there is one, and notes on what may spoil it. See `as_recording`."""
    if recording is None:
        return None, ()
    found = as_recording(recording)
    return voice_of(analyse(found.signal)), found.notes


class SpeechPipeline:
    """Speaks with a network that has an audio head."""

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        g2p: G2P,
        coder: ResidualCoder[Frames],
        voice: np.ndarray,
        vocoder: Vocoder,
    ) -> None:
        """`voice` is the one that speaks when none is given."""
        self.network, self.g2p, self.coder = network, g2p, coder
        self.voice, self.vocoder = voice, vocoder

    def frames(self, tokens: Tensor, utterance: Utterance, voice: Tensor) -> Frames:
        """What the tokens `(l, 96)` of an utterance sound like; voice is `(1, 103)`."""
        known = (utterance.phonemes, utterance.durations, voice[0].numpy())
        frames = noise_gated(self.coder.decode(tokens.cpu().numpy(), *known))
        return frames[: round(utterance.durations.sum())]

    def planned(self, words: Sequence[Word], voice: Tensor, speed: float) -> list[Utterance]:
        """Parts of a text with their durations, none longer than is spoken at once."""
        out = []
        for part in clauses(words):
            utterance = predict_durations(self.network, part, voice, speed)
            while utterance.tokens > LONGEST and len(part) > 1:
                half = len(part) // 2
                out.append(predict_durations(self.network, part[:half], voice, speed))
                part = part[half:]
                utterance = predict_durations(self.network, part, voice, speed)
            out.append(utterance)
        return out

    @torch.no_grad()
    def stream(
        self, text: str, voice: np.ndarray | None = None, notes: tuple[str, ...] = (), **how: Any
    ) -> Iterator[SpeechFrame | SpeechResult]:
        """Yields each part as it can be heard, then the result, with the notes. See `ArrowEngine.say`."""
        known = {field.name for field in fields(SpeechSampling)}
        if unknown := set(how) - known:
            raise TypeError(f"unknown options {sorted(unknown)}; known are {sorted(known)} and voice")
        speaking = SpeechSampling(**how)
        own = torch.from_numpy(self.voice if voice is None else voice)[None]
        sentence = self.g2p.sentence(text)
        parts = self.planned(sentence.words, own, speaking.speed)
        frames: list[Frames] = []
        words: list[Span] = []
        phonemes: list[Span] = []
        seconds: list[float] = []
        begin, nfe = 0.0, 0
        for number, part in enumerate(parts):
            clock = time.perf_counter()
            *_, state = sample_speech(self.network, part, own, speaking, number)
            made = self.frames(state.x[0], part, own)  # type: ignore[index]
            for target, spans in zip((words, phonemes), part.spans(begin), strict=True):
                target += spans
            frames.append(made)
            begin += len(made) * SECONDS
            nfe += int(state.nfe[0])
            seconds.append(time.perf_counter() - clock)
            yield SpeechFrame(self.vocoder.sound(made, speaking.seed), nfe, (number + 1) / len(parts))
        clock = time.perf_counter()
        audio = self.vocoder.sound(concatenate(frames), speaking.seed)
        seconds.append(time.perf_counter() - clock)
        settings = {"text": text, "voice": "own" if voice is None else "matched", **asdict(speaking)}
        yield SpeechResult(
            audio,
            tuple(words),
            tuple(phonemes),
            nfe,
            tuple(seconds),
            settings,
            notes=notes,
            unspoken=sentence.unspoken,
        )
