"""Mixtures of what several adaptations believe: weights fitted on a few examples.

Shapes: m components, n tokens.
"""

from __future__ import annotations

import numpy as np


def fitted_weights(log_likelihoods: np.ndarray, rounds: int = 500, tolerance: float = 1e-9) -> np.ndarray:
    """Weights `(m,)` of the likeliest mixture of components, from each one's log-probabilities `(m, n)` of
    the same tokens; by expectation and maximisation, which never lowers the likelihood. The likelihood is
    concave in the weights, so what it finds is the best there is.

    Source: Dempster, Laird and Rubin 1977, section 4.3.
    """
    values = np.asarray(log_likelihoods, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"log-likelihoods have shape {values.shape}; expected (components, tokens)")
    relative = np.exp(values - values.max(0))
    weights = np.full(len(values), 1 / len(values))
    for _ in range(rounds):
        shares = weights[:, None] * relative
        fresh = (shares / shares.sum(0)).mean(1)
        if np.abs(fresh - weights).max() < tolerance:
            return fresh
        weights = fresh
    return weights
