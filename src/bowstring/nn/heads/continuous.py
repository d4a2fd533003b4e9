"""The small ends of the network: what turns tokens of one modality into trunk tokens and back.

A new modality is a new head; the trunk does not change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def plane(places: int, width: int) -> Tensor:
    """Waves along both axes of a square of tokens, `(places, width)`: half a wave a side to one every two
    tokens; their mean is nothing, and they are small beside a token's own embedding.

    Raises:
        ValueError: the places are no square.
    """
    side = math.isqrt(places)
    if side**2 != places:
        raise ValueError(f"{places} places are no square; expected 16, 64, ...")
    count = width // 4
    rates = math.pi / side * side ** (torch.arange(count) / count)
    rows, columns = (torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side))
    angles = [axis[:, None] * rates for axis in (rows, columns)]
    waves = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], 1)
    return 0.1 * (waves - waves.mean(0))


class ContinuousHead(nn.Module):
    """Noisy vectors in, their velocity eps - x_0 out, `(b, l, c) -> (b, l, d) -> (b, l, c)`.

    Around the network lies the best linear estimate of independent channels with variances `std` squared;
    the network sees inputs of unit size and adds what is beyond, starting at nothing. Preconditioning as in
    Karras et al. 2022, arXiv 2206.00364, section 5, written for straight lines x_t = (1 - t) x_0 + t eps.
    `places` adds a learned vector to each token of a square plane, waves along both axes at first; `modality`
    is added to every token and tells the trunk what it is.
    """

    std: Tensor

    def __init__(self, channels: int, width: int, places: int = 0) -> None:
        super().__init__()
        self.up = nn.Linear(channels, width)
        self.down = nn.Linear(width, channels)
        self.modality = nn.Parameter(0.02 * torch.randn(width))
        self.place = nn.Parameter(plane(places, width)) if places else None
        self.register_buffer("std", torch.ones(channels))
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def size(self, t: Tensor) -> Tensor:
        """Standard deviation of each channel at t `(b|1, l|1)`, `(b|1, l|1, c)`."""
        t = t.unsqueeze(-1)
        return ((1 - t).square() * self.std.square() + t.square()).sqrt()

    def embed(self, x: Tensor, t: Tensor) -> Tensor:
        tokens = self.up((x / self.size(t)).to(self.up.weight.dtype))
        return (tokens if self.place is None else tokens + self.place) + self.modality

    def forward(self, hidden: Tensor, x: Tensor, t: Tensor) -> Tensor:
        size, variance = self.size(t), self.std.square()
        linear = (t.unsqueeze(-1) * (1 + variance) - variance) / size.square()
        return linear * x + self.std / size * self.down(hidden)
