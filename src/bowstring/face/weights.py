"""The file beside the network that moves a face: its codec and its conditional mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..nn.config import BASELINE_FEATURES
from ..weights.arrays import load_arrays, save_arrays
from .codec import AVATAR_CHANNELS, SHAPE_COUNT, TOKEN_FRAMES, FaceCodec

FACE = {
    "mean": (TOKEN_FRAMES * SHAPE_COUNT,),
    "basis": (AVATAR_CHANNELS, TOKEN_FRAMES * SHAPE_COUNT),
    "scale": (AVATAR_CHANNELS,),
    "expected": (BASELINE_FEATURES, AVATAR_CHANNELS),
}


def save_face(path: Path, codec: FaceCodec, expected: np.ndarray) -> None:
    """Writes the codec and the table of what is expected."""
    arrays = {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}
    save_arrays(path, arrays | {"expected": expected})


def load_face(path: Path) -> tuple[FaceCodec, np.ndarray]:
    """Codec and table; see `load_arrays`."""
    a = load_arrays(path, FACE, "has no face that can be seen")
    return FaceCodec(a["mean"], a["basis"], a["scale"]), a["expected"]
