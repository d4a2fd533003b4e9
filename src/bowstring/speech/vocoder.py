"""Frames to sound: source and filter, and the postfilter of a model that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..core.threads import one_thread
from ..weights.format.parquet import WeightsFile
from .postfilter import Postfilter
from .source_filter import HOP, Frames, concatenate, noise_of, pulse_train, shaped

KNEE = 0.95  # beyond it samples are bent towards 1
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


class Vocoder:
    """Makes frames heard. Without a postfilter, source and filter alone."""

    def __init__(self, postfilter: Postfilter | None = None) -> None:
        self.postfilter = postfilter

    @classmethod
    def load(cls, path: Path) -> Vocoder:
        """With the postfilter in a file, if the file is there.

        Raises:
            ValueError: the file does not fit it.
        """
        from ..weights.folder import load_weights  # trainings go on from bundles without it

        if not path.exists():
            return cls()
        postfilter = Postfilter()
        load_weights(postfilter, WeightsFile(path))
        return cls(postfilter.eval().requires_grad_(requires_grad=False))

    def sound(self, frames: Frames, seed: int = 0) -> np.ndarray:
        """The waveform `(192 f,)` within -1..1; its noise depends on the seed alone."""
        return SoundStream(self, seed).push(frames, last=True)

    @torch.no_grad()
    @one_thread()
    def heard(self, frames: Frames, train: np.ndarray, white: np.ndarray) -> np.ndarray:
        """Frames as a pulse train and noise make them heard, `(192 f,)`."""
        signal = shaped(frames, train, white)
        if self.postfilter is not None and len(frames):
            here = self.postfilter.window.device
            said = torch.from_numpy(asked(frames))[None].to(here)
            signal = self.postfilter(torch.from_numpy(signal)[None].to(here), said)[0].cpu().numpy()
        return limited(signal)


class SoundStream:
    """Sound of frames that come in parts, as if they had come at once: every part but the last keeps its end
    back until what follows is there, so nothing is made twice and no seam is heard.
    """

    def __init__(self, vocoder: Vocoder, seed: int = 0) -> None:
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
