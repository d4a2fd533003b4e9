"""Sound of frames that come in parts, whoever makes them heard; nothing here knows of torch."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from .source_filter import HOP, Frames, concatenate, noise_of, pulse_train

KNEE = 0.95  # beyond it samples are bent towards 1
WINDOW = 512  # samples that a postfilter sees at once
BINS, LEAD = WINDOW // 2 + 1, (WINDOW - HOP) // 2  # of it, and samples of it before a frame
ASKED = 55  # numbers that ask for a frame
WIDTH, DEPTH = 160, 6  # of its network
MOST_GAIN = 4.0  # natural logarithm of the most that a bin is raised or lowered
CONTEXT = 24  # frames on either side that sound depends on: 18 by the postfilter's convolutions, 6 by windows


def limited(signal: np.ndarray) -> np.ndarray:
    """The signal within -1..1: what is louder than KNEE is bent, sample by sample, and the rest stays."""
    over = np.maximum(np.abs(signal) - KNEE, 0)
    bent = KNEE + (1 - KNEE) * np.tanh(over / (1 - KNEE))
    return np.where(over > 0, np.sign(signal) * bent, signal).astype(np.float32)


def asked(frames: Frames) -> np.ndarray:
    """What a postfilter reads of frames, numbers of about one size, `(f, 55)`."""
    noise = np.log(np.clip(frames.noise, 0.01, 1))
    parts = [np.log(frames.pitch)[:, None] - 5, frames.voiced[:, None], (frames.envelope + 8) / 4, noise]
    return np.concatenate(parts, 1).astype(np.float32)


class Heard(Protocol):
    """Whoever makes frames heard, given a pulse train and noise `(192 f,)`."""

    def heard(self, frames: Frames, train: np.ndarray, white: np.ndarray) -> np.ndarray: ...


class SoundStream:
    """Sound of frames that come in parts, as if they had come at once: every part but the last keeps its end
    back until what follows is there, so nothing is made twice and no seam is heard.
    """

    def __init__(self, vocoder: Heard, seed: int = 0) -> None:
        self.vocoder, self.noise, self.phase = vocoder, noise_of(seed), 0.0
        self.frames: Frames | None = None  # those from number `first` on
        self.train, self.white = (np.zeros(0, np.float32) for _ in range(2))  # of the same frames
        self.first = self.done = 0  # frames

    def push(self, frames: Frames, *, last: bool = False) -> np.ndarray:
        """The sound that is settled by these frames, up to `CONTEXT` frames before their end, or to it."""
        self.frames = frames if self.frames is None else concatenate([self.frames, frames])
        self._excite(last=last)
        total = self.first + len(self.frames)
        ready = total if last else max(self.done, total - CONTEXT)
        if ready == self.done:
            return np.zeros(0, np.float32)
        room = np.zeros(len(self.frames) * HOP - len(self.train), np.float32)
        excitation = (np.concatenate([part, room]) for part in (self.train, self.white))
        sound = self.vocoder.heard(self.frames, *excitation)
        sound = sound[(self.done - self.first) * HOP : (ready - self.first) * HOP]
        self.done = ready
        self._forget(max(0, ready - CONTEXT) - self.first)
        return sound

    def _excite(self, *, last: bool) -> None:
        """Pulses and noise as far as they are settled: half a frame is between two pitches."""
        assert self.frames is not None
        stop = max(len(self.frames) * HOP - (0 if last else HOP // 2), len(self.train))
        samples = np.arange(len(self.train), stop)
        more, self.phase = pulse_train(self.frames.pitch, self.frames.voiced, samples, self.phase)
        self.train = np.concatenate([self.train, more])
        white = self.noise.standard_normal(len(samples), dtype=np.float32)
        self.white = np.concatenate([self.white, white])

    def _forget(self, count: int) -> None:
        """Lets go of frames that nothing to come depends on."""
        assert self.frames is not None
        self.frames = self.frames[count:]
        self.train, self.white = self.train[count * HOP :], self.white[count * HOP :]
        self.first += count
