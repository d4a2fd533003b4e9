"""The judge of pictures of one thing: which name do they bear?

It had no part in training. Shapes: b pictures `(b, 3, h, w)` in -1..1, n names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from .features import appearance
from .training import read_judge


@dataclass(frozen=True)
class NameJudge:
    """Scores of names for pictures, by cosine."""

    names: tuple[str, ...]
    tower: Tensor
    shift: Tensor
    table: Tensor

    @classmethod
    def load(cls, path: Path) -> NameJudge:
        parts = read_judge(path)
        with safe_open(path, "pt") as file:
            names = tuple(file.metadata()["names"].split("\n"))
        return cls(names, parts["tower"], parts["shift"], parts["names"])

    def scores(self, seen: Tensor) -> Tensor:
        """Appearances `(b, 2752)` -> `(b, n)`."""
        return F.normalize((seen - self.shift) @ self.tower.T, dim=-1) @ self.table.T

    def ranks(self, seen: Tensor, names: Sequence[str], among: int = 100, seed: int = 0) -> Tensor:
        """How many of `among` - 1 other names, drawn at random, score above the one asked for, `(b,)`."""
        scores, out = self.scores(seen), []
        for i, name in enumerate(names):
            own, rng = self.names.index(name), random.Random(f"{seed}-{i}")
            others = rng.sample([j for j in range(len(self.names)) if j != own], among - 1)
            out.append((scores[i, others] > scores[i, own]).sum())
        return torch.stack(out)


def look(pixels: Tensor, width: int = 32) -> Tensor:
    """Appearances in batches, `(b, 2752)`."""
    return torch.cat([appearance(part) for part in pixels.split(width)])
