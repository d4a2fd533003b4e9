"""A training of deltas between two steps, in a file, so that one that was stopped goes on to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import checkpoint

EVERY = 20.0  # seconds between two writings


class Kept(nn.Module):
    """What is learned, the best so far with its loss, and the count of steps that was settled on."""

    numbers: Tensor

    def __init__(self, folder: Path | None, parameters: Sequence[Tensor], best_loss: float) -> None:
        super().__init__()
        self.folder, self.written = folder, time.monotonic()
        self.learned = nn.ParameterList([nn.Parameter(one.detach().clone()) for one in parameters])
        self.best = nn.ParameterList([nn.Parameter(one.detach().clone()) for one in parameters])
        self.requires_grad_(requires_grad=False)
        self.register_buffer("numbers", torch.tensor([best_loss, math.nan], dtype=torch.float64))

    @property
    def best_loss(self) -> float:
        return float(self.numbers[0])

    @torch.no_grad()
    def better(self, parameters: Sequence[Tensor], loss: float) -> None:
        """These numbers are the best so far."""
        put(self.best, parameters)
        self.numbers[0] = loss

    def restore(
        self, parameters: Sequence[Tensor], optimiser: torch.optim.Optimizer
    ) -> tuple[int, int | None]:
        """Takes up what the folder has; steps that were made, and steps in all where they are settled."""
        step = 0 if self.folder is None else checkpoint.restore(self.folder, self, (optimiser,))
        if step:
            put(parameters, self.learned)
        total = float(self.numbers[1])
        return step, None if math.isnan(total) else int(total)

    def save(
        self,
        parameters: Sequence[Tensor],
        optimiser: torch.optim.Optimizer,
        step: int,
        total: int | None,
        *,
        now: bool,
    ) -> None:
        """Writes the folder, at most every few seconds unless it has to be now."""
        if self.folder is None or not (now or time.monotonic() - self.written >= EVERY):
            return
        put(self.learned, parameters)
        self.numbers[1] = math.nan if total is None else total
        checkpoint.save(self.folder, self, (optimiser,), step)
        self.written = time.monotonic()


@torch.no_grad()
def put(places: Sequence[Tensor] | nn.ParameterList, values: Sequence[Tensor] | nn.ParameterList) -> None:
    """Numbers into tensors that are there."""
    for place, value in zip(places, values, strict=True):
        place.copy_(value)
