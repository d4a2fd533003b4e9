"""The speaker encoder: frames of any recording to numbers that tell voices apart, whatever they say.

Shapes: b recordings, f frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.config import SPEAKER, NetworkConfig
from ..weights.arrays import save_arrays
from ..weights.format.parquet import WeightsFile
from ..weights.layout import SPEAKER as SPEAKER_FILE
from ..weights.layout import find
from ..weights.tensors import arrays_of
from .source_filter import BANDS, NOISE_BANDS, Frames
from .voice import voice_of

HEARD = BANDS + NOISE_BANDS + 2  # numbers of a frame
STRIDES = (2, 2, 1)  # of the convolutions
LONGEST = 1250  # frames that are listened to, 10 s


class SpeakerEncoder(nn.Module):
    """Convolutions over frames, four of which become one, then mean and spread over all of them, weighted by
    how much each says (Okabe et al. 2018, arXiv 1803.10963).
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv1d(HEARD if i == 0 else width, width, 5, stride=stride, padding=2)
            for i, stride in enumerate(STRIDES)
        )
        self.weight = nn.Conv1d(width, 1, 1)
        self.out = nn.Linear(2 * width, SPEAKER)

    def forward(self, heard: Tensor, valid: Tensor) -> Tensor:
        """`(b, f, 55)`, `(b, f)` -> `(b, 64)` of mean square 1."""
        x = (heard * valid[..., None]).transpose(1, 2)
        for layer, stride in zip(self.layers, STRIDES, strict=True):
            valid = valid[:, ::stride]
            x = F.silu(layer(x)).transpose(1, 2)
            x = (F.rms_norm(x, x.shape[2:]) * valid[..., None]).transpose(1, 2)
        counts = valid[:, None]
        share = self.weight(x).masked_fill(~counts, -torch.inf).softmax(-1)
        mean = (share * x).sum(-1)
        spread = (share * (x - mean[..., None]).square()).sum(-1).clamp(min=1e-6).sqrt()
        return F.rms_norm(self.out(torch.cat([mean, spread], 1)), (SPEAKER,))


def heard_in(frames: Frames) -> np.ndarray:
    """What the encoder is given of at most ten seconds, `(f, 55)`: the shape of the envelope, its level
    against the recording's own, noise, pitch, and what is voiced.
    """
    frames = frames[:LONGEST]
    level = frames.envelope.mean(1, keepdims=True)
    parts = [
        (frames.envelope - level) / 2,
        np.log(np.clip(frames.noise, 0.03, 1)) + 1,
        np.stack([(np.log(frames.pitch) - 5) * 3 * frames.voiced, frames.voiced], 1),
    ]
    parts[0] = parts[0] + 0.5 * np.clip((level - np.median(level)) / 4, -1, 1)
    return np.concatenate(parts, 1).astype(np.float32)


def load_speaker(path: Path) -> SpeakerEncoder | None:
    """The encoder in a file; None where there is none, as beside a model that listens to statistics alone.

    Raises:
        ValueError: the file holds something else.
    """
    from ..weights.folder import load_weights  # trainings go on from bundles without it

    if not path.exists():
        return None
    file = WeightsFile(path)
    file.verify()
    with torch.device("meta"):
        encoder = SpeakerEncoder()
    load_weights(encoder, file)
    return encoder.eval().requires_grad_(requires_grad=False)


def speaker_beside(folder: Path, config: NetworkConfig) -> SpeakerEncoder | None:
    """The encoder of a model whose network listens to one; None of one that listens to statistics alone.

    Raises:
        FileNotFoundError: the network listens to an encoder that is not there.
    """
    path = find(folder, SPEAKER_FILE)
    if config.speaker and not path.exists():
        raise FileNotFoundError(f"{path} is missing: this model cannot match voices without it")
    return load_speaker(path) if config.speaker else None


def save_speaker(path: Path, encoder: SpeakerEncoder) -> None:
    """Matrices in 8 bits."""
    save_arrays(path, arrays_of(encoder))


@torch.no_grad()
def numbers_of_voice(frames: Frames, encoder: SpeakerEncoder | None) -> np.ndarray:
    """The statistics of a voice and what an encoder says of it, `(167,)`; without an encoder `(103,)`.

    Raises:
        ValueError: too little of the sound is voiced.
    """
    statistics = voice_of(frames)
    if encoder is None:
        return statistics
    heard = torch.from_numpy(heard_in(frames))[None]
    told = encoder(heard, torch.ones(heard.shape[:2], dtype=torch.bool))[0]
    return np.concatenate([statistics, told.numpy()])
