"""The picture autoencoder's weights: `vae/encoder.parquet`, and the rest in `vae/decoder.parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ..weights.folder import load_weights
from ..weights.format.parquet import WeightsFile, WeightsFiles, write
from ..weights.layout import DECODER, ENCODER, find
from ..weights.quant.rounded import few_bit_tensors
from ..weights.tensors import arrays_of
from .autoencoder import ImageAutoencoder, ImageDecoder

Part = TypeVar("Part", bound=ImageDecoder)


def save_autoencoder(folder: Path, autoencoder: ImageAutoencoder) -> None:
    """Writes both halves into a model folder; matrices and convolutions are stored in 8 bits."""
    halves: dict[str, dict[str, np.ndarray]] = {ENCODER: {}, DECODER: {}}
    for name, array in arrays_of(autoencoder).items():
        halves[ENCODER if name.startswith("encoder.") else DECODER][name] = array
    for file, arrays in halves.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write(folder / file, few_bit_tensors(arrays), {})


def load_decoder(folder: Path) -> ImageDecoder:
    """What draws pictures, without what reads them; see `load_autoencoder`. A file of an older version holds
    both.
    """
    if find(folder, DECODER) == find(folder, ENCODER):
        return load_autoencoder(folder)
    return _filled(ImageDecoder, folder, DECODER)


def load_autoencoder(folder: Path) -> ImageAutoencoder:
    """The autoencoder in a model folder, in evaluation mode.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the files do not fit it.
    """
    return _filled(ImageAutoencoder, folder, DECODER, ENCODER)


def _filled(kind: type[Part], folder: Path, *names: str) -> Part:
    paths = dict.fromkeys(find(folder, name) for name in names)
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: this model's pictures cannot be drawn or read without it"
            )
    with torch.device("meta"):
        part = kind()
    load_weights(part, WeightsFiles([WeightsFile(path) for path in paths]))
    part = part.eval().requires_grad_(requires_grad=False)
    return part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
