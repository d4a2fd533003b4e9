"""Weights to safetensors and back, tensor for tensor, without a change of any byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .format.parquet import Tensor, WeightsFile, write


def to_safetensors(source: Path, target: Path) -> int:
    """Writes the tensors of a weights file to a safetensors file and returns how many there are.

    Raises:
        WeightsError: the source is damaged.
    """
    file = WeightsFile(source)
    partial = target.with_name(target.name + ".partial")
    save_file({name: np.ascontiguousarray(file[name]) for name in file}, partial)
    partial.replace(target)
    return len(file)


def from_safetensors(source: Path, target: Path) -> int:
    """Writes the tensors of a safetensors file to a weights file and returns how many there are.

    Raises:
        ValueError: a dtype that the profile does not have, or no safetensors file.
    """
    try:
        with safe_open(source, "numpy") as file:
            names = list(file.keys())
            write(target, ((name, Tensor.of(file.get_tensor(name))) for name in names), {})
    except (SafetensorError, OSError, TypeError) as error:
        raise ValueError(f"{source} cannot be converted: {error}") from None
    return len(names)
