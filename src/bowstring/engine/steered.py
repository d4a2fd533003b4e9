"""What energies need of an engine: differentiable sums, and itself with another pipeline."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ..energy.potential import Energy


def summed(energies: Sequence[tuple[Energy, float]], strength: float) -> Energy | None:
    """The weighted sum of differentiable energies, None where there are none."""
    if not energies:
        return None
    return lambda x: sum(strength * weight * energy(x) for energy, weight in energies)  # type: ignore[return-value]


def with_pipeline(engine: Any, name: str, pipeline: Any) -> Any:
    """The engine with another pipeline for this call."""
    view = copy.copy(engine)
    view._parts[name] = pipeline
    return view
