"""What a model needs beside its network to be heard and seen: codecs of speech and face, its own voice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .format.parquet import Tensor, WeightsFile, write


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes vectors as FP32, matrices as FP16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halved = {
        name: array.astype("float16" if array.ndim > 1 else "float32") for name, array in arrays.items()
    }
    write(path, ((name, Tensor.of(array)) for name, array in halved.items()), {})


def load_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]], without: str) -> dict[str, np.ndarray]:
    """Arrays of exactly these shapes.

    Raises:
        FileNotFoundError: there is no file; `without` says what cannot be done then.
        ValueError: the file holds other arrays than these.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this model {without} without it")
    file = WeightsFile(path)
    found = {name: file.entries[name].shape for name in file}
    if found != shapes:
        raise ValueError(f"{path} holds {found}; expected {shapes}")
    return {name: np.array(file[name], np.float32) for name in shapes}
