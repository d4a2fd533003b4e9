"""What a model needs beside its network to be heard and seen: codecs of speech and face, its own voice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .format.parquet import WeightsFile, write
from .quant.rounded import GROUPED_PARTS, few_bit_tensors, in_few_bits, read_array


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes vectors as FP32, matrices in 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, few_bit_tensors(arrays), {})


def load_arrays(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    without: str,
    others: Sequence[Mapping[str, tuple[int, ...]]] = (),
) -> dict[str, np.ndarray]:
    """Arrays of exactly these shapes, or of some that are otherwise in one of `others`.

    Raises:
        FileNotFoundError: there is no file; `without` says what cannot be done then.
        ValueError: the file holds other arrays than these.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this model {without} without it")
    file = WeightsFile(path)
    few = in_few_bits(file)
    parts = {f"{name}.{part}" for name in few for part in GROUPED_PARTS}
    found = {name: file.entries[name].shape for name in file if name not in parts}
    found |= {name: shapes.get(name, ()) for name in few}
    shapes = next((both for one in others if found == (both := {**shapes, **one})), shapes)
    if found != shapes:
        raise ValueError(f"{path} holds {found}; expected {shapes}")
    return {name: read_array(file, name, shape) for name, shape in shapes.items()}
