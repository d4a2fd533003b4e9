"""The picture codec travels with the gallery that it learns from, and so do fields."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...fields.model import FieldModel
from ...image.autoencoder import ImageAutoencoder
from ..fields import run_fields
from ..image.autoencoder import run_autoencoder
from ..schedule import Run
from .arrays import Arrays, Packed, Travelling, load_packed, pack_rows, pack_weights, prefixed, under

SIDE = 512  # pixels


def pack_pictures(pictures: Iterable[np.ndarray]) -> Arrays:
    """Pictures `(512, 512, 3)`, each compressed for itself: a drawing has few colours."""
    return pack_rows([np.frombuffer(zlib.compress(one.tobytes(), 6), np.uint8) for one in pictures])


class CompressedPictures:
    """Pictures that are unpacked when they are asked for, by number or numbers."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.flat, self.ends = arrays["flat"], np.concatenate([[0], arrays["counts"].cumsum()])

    def __getitem__(self, index: Any, /) -> np.ndarray:
        if np.ndim(index):
            return np.stack([self[one] for one in index])
        packed = self.flat[self.ends[index] : self.ends[index + 1]]
        return np.frombuffer(zlib.decompress(packed.tobytes()), np.uint8).reshape(SIDE, SIDE, 3)


def pack_autoencoder(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..image.run import gallery_in

    pixels, held_out = gallery_in(data, runs)
    return prefixed("pictures", pack_pictures(pixels)) | {"held_out": held_out}, {}


def autoencoder_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    pictures = CompressedPictures(under("pictures", arrays))
    return prefixed("network", pack_weights(run_autoencoder(pictures, arrays["held_out"], run))), {}


def join_autoencoder(arrays: Arrays, settings: Mapping[str, Any], out: Path) -> None:
    from ...image.weights import save_autoencoder

    codec = ImageAutoencoder()
    load_packed(codec, under("network", arrays))
    save_autoencoder(out, codec)


def pack_fields(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..fields import build_fields

    made = {name: value.numpy() for name, value in build_fields(data.parent / "fields").items()}
    return prefixed("data", made), {}


def fields_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    made = {name: torch.from_numpy(array) for name, array in under("data", arrays).items()}
    return prefixed("network", pack_weights(run_fields(made, run).cpu())), {}


def join_fields(arrays: Arrays, settings: Mapping[str, Any], out: Path) -> None:
    from ...fields.weights import save_fields

    model = FieldModel()
    load_packed(model, under("network", arrays))
    save_fields(out, model)


AUTOENCODER_RECIPE = Travelling(pack_autoencoder, autoencoder_from, join_autoencoder)
FIELDS_RECIPE = Travelling(pack_fields, fields_from, join_fields)
