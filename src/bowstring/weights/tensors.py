"""Tensors of torch to and from a weights file, by value and in their own type; modules as arrays."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from .format.parquet import Tensor, WeightsFile
from .quant.rounded import restored, rounded

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


def round_module(module: nn.Module) -> None:
    """Rounds every array of a module, vectors aside; `named_tensors` then stores them in so few bits."""
    with torch.no_grad():
        for parameter in module.state_dict().values():
            if parameter.ndim > 1:
                array = parameter.float().numpy()
                parameter.copy_(torch.from_numpy(restored(rounded(array), array.shape)))


def arrays_of(module: nn.Module) -> dict[str, np.ndarray]:
    """All that a module is made of, FP32."""
    return {name: one.detach().float().cpu().numpy() for name, one in module.state_dict().items()}
