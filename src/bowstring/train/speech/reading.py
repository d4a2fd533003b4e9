"""What a teacher read aloud, and as an utterance to learn from.

This module knows nothing of teachers: trainings from bundles read what they read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...speech.alignment import ALPHABET
from ...speech.analysis import analyse, filled
from ...speech.source_filter import FRAMES, HOP, RATE, Frames
from .flow import MAX_TOKENS, TrainingUtterance

TEACHER_HOP = 300  # samples of a frame of its spectra and pitch
MIN_PITCH = 40.0  # Hz, below which it means that nothing is voiced


@dataclass(frozen=True)
class Reading:
    """symbols: `p` phonemes. seconds: `(p + 2,)`, silence at both ends. signal: `(s,)`. pitch: `(s / 300,)`
    Hz, 0 where nothing is voiced.
    """

    symbols: str
    seconds: np.ndarray
    signal: np.ndarray
    pitch: np.ndarray

    @property
    def is_short(self) -> bool:
        """Whether it is not too long to be learned from."""
        return len(self.signal) <= MAX_TOKENS * FRAMES * HOP

    def taken_apart(self) -> Frames:
        """Frames of 8 ms, with the pitch that the teacher meant."""
        voiced = self.pitch > MIN_PITCH
        at = (np.arange(len(self.signal) // HOP) + 0.5) * HOP / TEACHER_HOP - 0.5
        pitch = np.interp(at, np.arange(len(voiced)), filled(self.pitch, voiced))
        nearest = np.clip(at.round().astype(int), 0, len(voiced) - 1)
        return analyse(self.signal.astype(np.float32), pitch, voiced[nearest].astype(np.float32))


def alphabet_durations(symbols: str, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Our ids and their durations in frames of 8 ms; what we do not write goes to the sound before it.

    Args:
        symbols: `(p,)`. seconds: `(p + 2,)`, silence at both ends.
    """
    ids, durations = [0], [seconds[0]]
    for symbol, length in zip(symbols, seconds[1:-1], strict=True):
        if symbol in ALPHABET:
            ids.append(ALPHABET.index(symbol) + 1)
            durations.append(length)
        else:
            durations[-1] += length
    ids.append(0)
    durations.append(seconds[-1])
    return np.array(ids), np.array(durations) * RATE / HOP


def as_utterance(reading: Reading) -> TrainingUtterance:
    """A reading with our phonemes, its times fitted to the frames."""
    ids, durations = alphabet_durations(reading.symbols, reading.seconds)
    frames = reading.taken_apart()
    return TrainingUtterance(ids, durations * len(frames) / durations.sum(), frames)
