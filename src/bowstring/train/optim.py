"""Muon for processors with and without brain floats; torch's own works in bfloat16 only, which a processor
that lacks it emulates a hundred times slower than FP32.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the size of a step
after Liu et al. 2025, arXiv 2502.16982, so that AdamW's rates can be kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
MOMENTUM = 0.95


@lru_cache(maxsize=1)
def fast_dtype() -> torch.dtype:
    """bfloat16 where this machine multiplies matrices of it faster than FP32 ones, else float32; measured."""

    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(192, 192, dtype=dtype)
        times = []
        for _ in range(4):
            clock = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - clock)
        return min(times)

    return torch.bfloat16 if seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32


def matrix_dtype(device: torch.device) -> torch.dtype:
    """The numbers in which matrices are multiplied fastest there; measured on the CPU."""
    if device.type == "cuda":
        return torch.bfloat16
    return fast_dtype() if device.type == "cpu" else torch.float32


def mixed(device: torch.device) -> AbstractContextManager[object]:
    """The context of a forward pass in training: brain floats where they are the faster ones."""
    if matrix_dtype(device) is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def orthogonal(matrix: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Near to the matrix, but with singular values of about 1 (0.7 to 1.2): Newton and Schulz's iteration.

    The Gram matrix is made anew from x each time. Carrying it along is cheaper, but what rounding leaves
    below zero in it grows twelvefold an iteration and bursts where the matrix is of low rank.
    """
    x = matrix.to(dtype)
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / torch.linalg.vector_norm(x).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal before they are applied. All parameters are matrices."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                momentum = self.state[p]["momentum_buffer"]
                momentum.lerp_(p.grad, 1 - MOMENTUM)
                update = orthogonal(p.grad.lerp(momentum, MOMENTUM), matrix_dtype(p.device))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.to(p.dtype), alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def optimisers(
    network: nn.Module, rate: float, modulation: float = 1.0
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the trunk's matrices, AdamW for everything else; where the time modulation shall learn at
    another rate, it is a group whose "share" says how much of the rate it is.
    """
    matrices = [
        p
        for n, p in network.trunk.layers.named_parameters()  # type: ignore[union-attr]
        if p.ndim == 2 and not n.endswith("offset")
    ]
    taken = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in taken]
    muon = Muon(matrices, lr=rate, weight_decay=0.05)
    groups: list[dict[str, Any]] = [{"params": rest}]
    if modulation != 1:
        own = [*network.trunk.modulation.parameters()]  # type: ignore[union-attr]
        others = [p for p in rest if all(p is not one for one in own)]
        groups = [{"params": others}, {"params": own, "share": modulation}]
    return muon, torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
