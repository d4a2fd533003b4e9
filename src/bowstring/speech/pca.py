"""Blocks of numbers as a few channels on their principal components.

Shapes: n blocks of m numbers, c channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class PCA:
    """mean: `(m,)`. basis: `(c, m)`, orthonormal rows. scale: `(c,)`, what a channel is divided by."""

    mean: np.ndarray
    basis: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, blocks: np.ndarray, channels: int) -> Self:
        """Fitted to `(n, m)`. Channels are scaled by the root of their spread, so that what varies most
        still weighs most.
        """
        flat = blocks.astype(np.float64)
        mean = flat.mean(0)
        values, vectors = np.linalg.eigh(np.cov((flat - mean).T))
        spread = np.sqrt(np.maximum(values[::-1][:channels], 1e-9))
        scale = np.sqrt(spread) * np.sqrt(spread.mean())
        parts = (mean, vectors[:, ::-1][:, :channels].T, scale)
        return cls(*(part.astype(np.float32) for part in parts))

    def transform(self, blocks: np.ndarray) -> np.ndarray:
        """`(n, m) -> (n, c)`."""
        return (blocks - self.mean) @ self.basis.T / self.scale

    def inverse_transform(self, channels: np.ndarray) -> np.ndarray:
        """`(n, c) -> (n, m)`, the nearest that the basis can say."""
        return (channels * self.scale) @ self.basis + self.mean
