"""Tensors of torch to and from a weights file, by value and in their own type."""

from __future__ import annotations

import numpy as np
import torch

from .format.parquet import Tensor, WeightsFile

BRAIN = torch.bfloat16  # which numpy does not have


def as_torch(file: WeightsFile, name: str) -> torch.Tensor:
    """A tensor of its own memory, in the type that the file has."""
    entry = file.entries[name]
    if entry.dtype == "BF16":
        raw = np.frombuffer(file.raw(name), "<i2").copy()
        return torch.from_numpy(raw).view(BRAIN).reshape(entry.shape)
    return torch.from_numpy(file[name].copy())


def from_torch(tensor: torch.Tensor) -> Tensor:
    """What is written for a tensor.

    Raises:
        TypeError: a type that the profile does not have.
    """
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == BRAIN:
        return Tensor("BF16", tuple(tensor.shape), Tensor.of(tensor.view(torch.int16).numpy()).data)
    return Tensor.of(tensor.numpy())
