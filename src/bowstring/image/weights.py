"""The picture codec's weights, a file of their own beside the network's."""

from __future__ import annotations

from pathlib import Path

import torch

from ..weights.folder import load_weights, named_tensors
from ..weights.format.parquet import WeightsFile, write
from .autoencoder import ImageAutoencoder


def save_autoencoder(path: Path, codec: ImageAutoencoder) -> None:
    """Writes the codec; matrices and convolutions are stored as FP16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, named_tensors(codec, "float16"), {})


def load_autoencoder(path: Path) -> ImageAutoencoder:
    """The codec in a file, in evaluation mode.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file does not fit this codec.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this model's pictures cannot be drawn without it")
    with torch.device("meta"):
        codec = ImageAutoencoder()
    load_weights(codec, WeightsFile(path))
    return codec.eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
