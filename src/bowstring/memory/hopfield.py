"""Modern Hopfield retrieval (Ramsauer et al. 2021): a query moves towards what is remembered.

xi' = X^T softmax(beta X xi) with rows of X as patterns; the energy never rises. A large beta ends at one
pattern, a small one at a mixture of those that are alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.options import real, whole

CLOSE = 1e-6  # change of the state at which it is taken for a fixed point
STEPS = 64  # most updates


@dataclass(frozen=True, eq=False)
class Retrieved:
    """state: `(d,)`, where the query ended. weights: of the patterns there, `(n,)`, with sum 1. energies: at
    the query and after each update. converged: whether the state is a fixed point."""

    state: np.ndarray
    weights: np.ndarray
    energies: tuple[float, ...]
    converged: bool


def energy(patterns: np.ndarray, state: np.ndarray, beta: float) -> float:
    """-lse(beta, X xi) + |xi|^2 / 2 + ln(n) / beta + M^2 / 2 with M the longest pattern; never negative.

    Source: Ramsauer et al. 2021, equation 2.
    """
    scores = beta * (patterns @ state)
    top = scores.max()
    lse = (top + np.log(np.exp(scores - top).sum())) / beta
    longest = float(np.einsum("ij,ij->i", patterns, patterns).max())
    return float(-lse + state @ state / 2 + np.log(len(patterns)) / beta + longest / 2)


def attention(patterns: np.ndarray, state: np.ndarray, beta: float) -> np.ndarray:
    """softmax(beta X xi)."""
    scores = beta * (patterns @ state)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def retrieve(patterns: np.ndarray, query: np.ndarray, beta: float, steps: int = STEPS) -> Retrieved:
    """Updates a query `(d,)` among patterns `(n, d)` until it moves no more, in FP64.

    Args:
        beta: inverse temperature, above 0.
        steps: most updates; 1 is one look of attention.

    >>> found = retrieve(np.eye(3), np.array([0.9, 0.1, 0.0]), beta=20)
    >>> found.weights.round(3).tolist(), found.converged
    ([1.0, 0.0, 0.0], True)

    Raises:
        ValueError: no patterns, or a query of another width.
    """
    beta, steps = real(beta, "beta", 1e-6, 1e6), whole(steps, "steps", 1)
    patterns, state = np.asarray(patterns, np.float64), np.asarray(query, np.float64)
    if patterns.ndim != 2 or not len(patterns) or state.shape != patterns.shape[1:]:
        raise ValueError(f"patterns are {patterns.shape} and the query {state.shape}; expected (n, d), (d,)")
    energies, converged = [energy(patterns, state, beta)], False
    for _ in range(steps):
        moved = attention(patterns, state, beta) @ patterns
        converged = bool(np.linalg.norm(moved - state) <= CLOSE)
        state = moved
        energies.append(energy(patterns, state, beta))
        if converged:
            break
    return Retrieved(state, attention(patterns, state, beta), tuple(energies), converged)
