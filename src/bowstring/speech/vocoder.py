"""Frames to sound: source and filter, and the postfilter of a model that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..weights.folder import load_weights
from ..weights.format.parquet import WeightsFile
from .postfilter import Postfilter
from .source_filter import Frames, synthesise

LOUDEST = 0.9
KNEE = 0.95  # beyond it the whole is made quieter


def limited(signal: np.ndarray) -> np.ndarray:
    """The signal, quieter if it would be cut."""
    peak = float(np.abs(signal).max(initial=0.0))
    return signal if peak <= KNEE else (signal * (LOUDEST / peak)).astype(np.float32)


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
        if not path.exists():
            return cls()
        postfilter = Postfilter()
        load_weights(postfilter, WeightsFile(path))
        return cls(postfilter.eval().requires_grad_(requires_grad=False))

    @torch.no_grad()
    def sound(self, frames: Frames, seed: int = 0) -> np.ndarray:
        """The waveform `(192 f,)` within -1..1; its noise depends on the seed alone."""
        signal = synthesise(frames, seed)
        if self.postfilter is not None and len(frames):
            here = self.postfilter.window.device
            said = torch.from_numpy(asked(frames))[None].to(here)
            signal = self.postfilter(torch.from_numpy(signal)[None].to(here), said)[0].cpu().numpy()
        return limited(signal)
