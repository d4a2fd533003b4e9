"""Results that energies, constraints and a validation choose among: candidates of a model, try after try."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from ..core.options import LARGEST_SEED
from ..energy.resampling import metropolis, resampled
from ..energy.steering import Steering, Try
from .generate import uniform

CHOICES = 1 << 20  # number of the sample whose random numbers choose; candidates have smaller ones


class Noted(Protocol):
    """A result that has notes."""

    @property
    def notes(self) -> tuple[str, ...]: ...


Made = TypeVar("Made", bound=Noted)


def token_energies(steering: Steering, vocab: int) -> tuple[np.ndarray | None, Steering]:
    """The sum of the energies that are arrays `(v,)`, weighted, and a steering by the others.

    Raises:
        ValueError: an array of another length, or with NaN.
    """
    arrays = [(np.asarray(e, np.float32), w) for e, w in steering.energies if not callable(e)]
    for energy, _ in arrays:
        if energy.shape != (vocab,) or np.isnan(energy).any():
            raise ValueError(
                f"an energy of tokens is {energy.shape}; expected ({vocab},), a number for each, infinite to "
                "bar one; energies of whole results are functions"
            )
    rest = replace(steering, energies=[(e, w) for e, w in steering.energies if callable(e)])
    return (np.sum([w * energy for energy, w in arrays], 0) if arrays else None), rest


def chosen(energies: Sequence[float], how: str, seed: int, attempt: int) -> int | None:
    """Which candidate is taken, None where none may be.

    Raises:
        ValueError: an energy is NaN.
    """
    if all(one == math.inf for one in energies):
        return None
    u = [uniform(seed, CHOICES, attempt, i) for i in range(len(energies))]
    return resampled(energies, u[0]) if how == "resampling" else metropolis(energies, u)


def tried(
    draw: Callable[[float, int, int], list[Made]],
    steering: Steering,
    how: str,
    seed: int,
    drawn: Callable[[Made], float] | None = lambda _: 0.0,
) -> list[tuple[Made, Try]]:
    """Results of one try after the other until one is valid.

    Args:
        draw: (strength, seed, how many) -> candidates.
        seed: of the first try.
        drawn: the energy, at a strength of 1, that candidates are drawn by already; None: nobody can say.
    """
    whole = bool(steering.energies or steering.constraints)
    made: list[tuple[Made, Try]] = []
    for attempt, strength in enumerate(steering.strengths()):
        own = (seed + (attempt << 40)) % (LARGEST_SEED + 1)
        candidates = draw(strength, own, steering.candidates if whole else 1)
        energies = [steering.energy(one, strength) for one in candidates]
        at = chosen(energies, how, own, attempt)
        one = candidates[0 if at is None else at]
        valid = at is not None and steering.accepts(one)
        energy = None if drawn is None else energies[0 if at is None else at] + strength * drawn(one)
        made.append((one, Try(strength, one, energy, valid)))
        if valid:
            break
    return made


def tilted_by(tilt: np.ndarray | None) -> Callable[[Any], float]:
    """The energy of a text's tokens, `(v,)` of each; 0 where there is none."""
    return lambda text: 0.0 if tilt is None else float(tilt[list(text.tokens)].sum())


def outcome(found: Sequence[tuple[Made, Try]]) -> tuple[Made, dict[str, Any]]:
    """The last result, and what it has to tell of its tries: fields `tries` and `notes`."""
    tries, last = tuple(one for _, one in found), found[-1][0]
    return last, {"tries": tries, "notes": (*last.notes, *failure(tries))}


def failure(tries: Sequence[Try]) -> tuple[str, ...]:
    """A note where no try was valid."""
    if tries[-1].valid:
        return ()
    return (f"none of {len(tries)} tries was valid; this is the last. Give more retries or candidates",)


def candidate_seeds(seed: int, count: int) -> Iterator[int]:
    """Seeds of the candidates of a try, where each is drawn for itself."""
    return apart(seed, count, 32)


def seeds(seed: int, count: int) -> Iterator[int]:
    """Seeds of several results, far from those of their tries."""
    return apart(seed, count, 52)


def apart(seed: int, count: int, bits: int) -> Iterator[int]:
    return ((seed + (number << bits)) % (LARGEST_SEED + 1) for number in range(count))
