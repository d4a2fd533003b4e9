"""Energies of whole things that come one at a time: a text, a recording. No gradient is needed.

Candidates are drawn from the model's law p. Resampling by exp(-E) tends to the law p exp(-E) as candidates
grow in number; a Metropolis chain that proposes from p has exactly that law as its own, because p cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def weights(energies: Sequence[float] | np.ndarray) -> np.ndarray:
    """exp(-E), summing to 1; an infinite energy is never chosen.

    Raises:
        ValueError: no candidate has a finite energy, or one is NaN.

    >>> weights([0.0, np.log(3), np.inf]).round(3).tolist()
    [0.75, 0.25, 0.0]
    """
    found = np.asarray(energies, np.float64)
    if np.isnan(found).any():
        raise ValueError("an energy is NaN; expected numbers, lower is better, infinite is never")
    least = found.min(initial=np.inf)
    if not np.isfinite(least):
        raise ValueError(f"none of {len(found)} candidates has a finite energy")
    raw = np.exp(least - found)
    return raw / raw.sum()


def resampled(energies: Sequence[float] | np.ndarray, u: float) -> int:
    """The candidate that a number u in [0, 1) draws in proportion to exp(-E).

    Source: sampling importance resampling, Rubin 1987.
    """
    rising = weights(energies).cumsum()
    return int(min(np.searchsorted(rising, u * rising[-1], side="right"), len(rising) - 1))


def metropolis(energies: Sequence[float] | np.ndarray, u: Sequence[float] | np.ndarray) -> int:
    """Where a chain stands that begins at the first candidate and is offered the others in turn, each taken
    with probability min(1, exp(E - E')): an independence chain whose law tends to p exp(-E).

    Args:
        u: a number in [0, 1) for every candidate; that of the first is not used.

    Raises:
        ValueError: an energy is NaN, or none is finite.

    Source: Tierney 1994, Annals of Statistics 22.
    """
    weights(energies)
    at = 0
    for i in range(1, len(energies)):
        gain = energies[at] - energies[i]
        if energies[i] < np.inf and (energies[at] == np.inf or u[i] < np.exp(min(gain, 0.0))):
            at = i
    return at
