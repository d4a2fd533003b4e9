"""Draws from logits: the kernel beside its readable twin."""

from __future__ import annotations

import numpy as np

from .. import _native


def draw(logits: np.ndarray, u: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """One token per row of `(rows, v)` logits, by inverting the cumulative distribution at `u (rows,)`.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.
    """
    if logits.ndim != 2 or u.shape != (len(logits),) or not logits.size or not temperature > 0:
        raise ValueError(
            f"logits are {logits.shape}, u is {u.shape}, temperature is {temperature}; expected (r, v), "
            "(r,), > 0"
        )
    logits, u = np.ascontiguousarray(logits, np.float32), np.ascontiguousarray(u, np.float32)
    if (library := _native.library()) is None:
        weights = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
        reached = weights.cumsum(1) > u[:, None] * weights.sum(1, keepdims=True)
        last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, 1)
        return np.where(reached.any(1), reached.argmax(1), last)
    tokens = np.empty(len(u), np.int64)
    arrays = (_native.address(u), temperature, _native.address(tokens))
    _native.checked(library.bowstring_draw(_native.address(logits), *logits.shape, *arrays))
    return tokens
