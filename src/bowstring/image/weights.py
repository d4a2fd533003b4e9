"""The picture autoencoder's weights: `vae/encoder.parquet`, and the rest in `vae/decoder.parquet`."""

from __future__ import annotations

from pathlib import Path

import torch

from ..weights.folder import load_weights, named_tensors
from ..weights.format.parquet import Tensor, WeightsFile, WeightsFiles, write
from ..weights.layout import DECODER, ENCODER, find
from .autoencoder import ImageAutoencoder


def save_autoencoder(folder: Path, autoencoder: ImageAutoencoder) -> None:
    """Writes both halves into a model folder; matrices and convolutions are stored as FP16."""
    halves: dict[str, list[tuple[str, Tensor]]] = {ENCODER: [], DECODER: []}
    for name, tensor in named_tensors(autoencoder, "float16"):
        halves[ENCODER if name.startswith("encoder.") else DECODER].append((name, tensor))
    for file, tensors in halves.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write(folder / file, tensors, {})


def load_autoencoder(folder: Path) -> ImageAutoencoder:
    """The autoencoder in a model folder, in evaluation mode.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the files do not fit it.
    """
    paths = dict.fromkeys(find(folder, name) for name in (ENCODER, DECODER))
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing: this model's pictures cannot be drawn without it")
    with torch.device("meta"):
        autoencoder = ImageAutoencoder()
    load_weights(autoencoder, WeightsFiles([WeightsFile(path) for path in paths]))
    autoencoder = autoencoder.eval().requires_grad_(requires_grad=False)
    return autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
