"""Frames to sound: source and filter, and the postfilter of a model that has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..core.threads import one_thread
from ..weights.format.parquet import WeightsFile
from .postfilter import Postfilter
from .source_filter import Frames, shaped
from .stream import SoundStream, asked, limited


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
