"""Where a network computes and in which numbers: CPU or accelerator, packed or plain."""

from __future__ import annotations

import torch
from torch import nn

from ..nn.network import UnifiedScoreNetwork
from .quant.packed import matrices, unpacked

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def chosen_device(name: str | torch.device = "auto") -> torch.device:
    """The device of this name; "auto" is the first CUDA device, or the CPU where there is none.

    >>> chosen_device("cpu")
    device(type='cpu')

    Raises:
        ValueError: no device has this name, or torch sees none of this kind here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ValueError(f"device is {name!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:0'") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ValueError(f"device is {str(device)!r}, but torch sees {count} CUDA devices here; try 'cpu'")
    return device


def chosen_dtype(name: str | torch.dtype) -> torch.dtype:
    """
    Raises:
        ValueError: no network computes in these numbers.
    """
    dtype = DTYPES.get(name) if isinstance(name, str) else name
    if dtype not in DTYPES.values():
        raise ValueError(f"dtype is {name!r}; expected one of {[*DTYPES]}")
    assert dtype is not None
    return dtype


def placed(
    network: UnifiedScoreNetwork, device: torch.device, dtype: torch.dtype | None = None
) -> UnifiedScoreNetwork:
    """The network on a device. Without a dtype it stays as it is, but packed matrices, whose kernels are the
    CPU's, become brain floats elsewhere. What heads keep in buffers stays FP32.
    """
    if matrices(network) and (device.type != "cpu" or dtype is not None):
        network = unpacked(network).requires_grad_(requires_grad=False)
        dtype = dtype or torch.bfloat16
    network = network.to(device)
    if dtype is not None:
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(parameter.detach().to(dtype), parameter.requires_grad))
    return network
