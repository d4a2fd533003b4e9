"""Draws from logits: the kernel beside its readable twin."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _native
from ..core.options import real


def draw_tokens(logits: Any, u: Any, temperature: float = 1.0) -> np.ndarray:
    """One token per row of `(rows, v)` logits, by inverting the cumulative distribution at `u (rows,)`.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not positive, or a row that no token can be
            drawn from.
    """
    temperature = real(temperature, "temperature", above=0)
    logits, u = np.ascontiguousarray(logits, np.float32), np.ascontiguousarray(u, np.float32)
    if logits.ndim != 2 or u.shape != (len(logits),) or not logits.size:
        raise ValueError(f"logits are {logits.shape}, u is {u.shape}; expected (rows, v) and (rows,)")
    if not np.isfinite(logits.max(1)).all() or not ((u >= 0) & (u <= 1)).all():
        raise ValueError("a row of logits holds NaN, or +inf, or nothing above -inf; or u is not in [0, 1]")
    if (library := _native.library()) is None:
        weights = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
        reached = weights.cumsum(1) > u[:, None] * weights.sum(1, keepdims=True)
        last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, 1)
        return np.where(reached.any(1), reached.argmax(1), last)
    tokens = np.empty(len(u), np.int64)
    _native.checked(library.bowstring_draw(logits, *logits.shape, u, temperature, tokens))
    return tokens
