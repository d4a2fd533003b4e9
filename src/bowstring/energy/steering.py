"""What a result should be like: energies with weights, constraints, a validation, and how often to try again.

This module knows nothing of modalities: a `Steering` judges whatever was made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.options import real, settle, whole

Judge = Callable[[Any], Any]
GROWTH = 2.0  # of the weights from one try to the next
MOST_CANDIDATES, MOST_RETRIES = 64, 32


@dataclass(frozen=True)
class Try:
    """One attempt: by how much weights were multiplied, what was made, its energy, whether it was valid.

    energy: None where it cannot be measured of what was made.
    """

    strength: float
    made: Any
    energy: float | None
    valid: bool

    def to_json(self) -> dict[str, Any]:
        """An infinite energy is None, too; of what was made, a text is told."""
        energy = None if self.energy is None or not math.isfinite(self.energy) else self.energy
        text = str(self.made) if isinstance(self.made, str) else None
        return {"strength": self.strength, "energy": energy, "valid": self.valid, "text": text}


@dataclass(frozen=True, eq=False)
class Steering:
    """Lower energies are better, a weight multiplies its energy; constraints say whether a result may be,
    valid whether it will do. What fails is made again `retries` times, every time with weights twice as
    strong. candidates: how many are drawn where energies are of whole results.

    Raises:
        TypeError: an energy, a constraint or a validation that cannot be called. ValueError: a weight that is
        not finite, too many tries or candidates.
    """

    energies: Sequence[tuple[Any, float]] = ()
    constraints: Sequence[Judge] = ()
    valid: Judge | None = None
    retries: int = 0
    candidates: int = 8

    def __post_init__(self) -> None:
        for pair in self.energies:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(f"energies holds {pair!r}; expected pairs of an energy and its weight")
        for one in (*self.constraints, *(() if self.valid is None else (self.valid,))):
            if not callable(one):
                raise TypeError(f"{one!r} cannot be called; expected a function of the result")
        settle(
            self,
            energies=tuple((e, real(w, f"weight {i}")) for i, (e, w) in enumerate(self.energies)),
            constraints=tuple(self.constraints),
            retries=whole(self.retries, "retries", 0, MOST_RETRIES),
            candidates=whole(self.candidates, "candidates", 1, MOST_CANDIDATES),
        )

    def __bool__(self) -> bool:
        return bool(self.energies or self.constraints or self.valid is not None)

    def strengths(self) -> Iterator[float]:
        """What multiplies the weights, try by try."""
        return (GROWTH**i for i in range(self.retries + 1))

    def energy(self, made: Any, strength: float = 1.0) -> float:
        """Sum of the weighted energies of a result; infinite where a constraint is broken."""
        if not all(one(made) for one in self.constraints):
            return math.inf
        return sum(strength * weight * float(one(made)) for one, weight in self.energies)

    def accepts(self, made: Any) -> bool:
        return all(one(made) for one in self.constraints) and (self.valid is None or bool(self.valid(made)))
