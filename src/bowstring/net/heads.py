"""The small ends of the network: what turns tokens of one modality into trunk tokens and back.

A new modality is a new head; the trunk does not change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import NetworkConfig


class TextHead(nn.Module):
    """Tied, factorised embedding: v x r, then r x d in and d x r out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(config.vocab, config.rank))
        self.up = nn.Linear(config.rank, config.width, bias=False)
        self.down = nn.Linear(config.width, config.rank, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab))
        nn.init.normal_(self.table, std=0.05)
        nn.init.orthogonal_(self.up.weight)
        nn.init.normal_(self.down.weight, std=config.width**-0.5)

    def embed(self, tokens: Tensor) -> Tensor:
        """`(b, l)` int64 -> `(b, l, d)`."""
        return self.up(F.embedding(tokens, self.table))

    def forward(self, hidden: Tensor) -> Tensor:
        """`(..., d)` -> logits `(..., v)`."""
        return F.linear(self.down(hidden), self.table, self.bias)


class RealsHead(nn.Module):
    """Real vectors in, predicted clean vectors' velocity out, `(b, l, c) <-> (b, l, d)`; starts at zero."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(channels, width)
        self.down = nn.Linear(width, channels)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def embed(self, x: Tensor) -> Tensor:
        return self.up(x)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(hidden)
