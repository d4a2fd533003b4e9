"""Text and code: token ids in, logits out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import NetworkConfig


class TextHead(nn.Module):
    """Tied, factorised embedding: v x r, then r x d in and d x r out; `modality` is added to every token."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.linear: Callable[[Tensor, Tensor, Tensor], Tensor] = F.linear
        self.table = nn.Parameter(torch.randn(config.vocab, config.rank))
        self.up = nn.Linear(config.rank, config.width, bias=False)
        self.down = nn.Linear(config.width, config.rank, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab))
        self.modality = nn.Parameter(0.02 * torch.randn(config.width))
        nn.init.normal_(self.table, std=0.05)
        nn.init.orthogonal_(self.up.weight)
        nn.init.normal_(self.down.weight, std=config.width**-0.5)

    def embed(self, tokens: Tensor) -> Tensor:
        """`(b, l)` int64 -> `(b, l, d)`."""
        return self.up(F.embedding(tokens, self.table)) + self.modality

    def forward(self, hidden: Tensor) -> Tensor:
        """`(..., d)` -> logits `(..., v)`."""
        return self.linear(self.down(hidden), self.table, self.bias)
