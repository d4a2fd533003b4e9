"""UncertaintyEstimator: does a model know what it just made, and should it learn?

The number comes from the making itself (`text/doubt.py`, `image/doubt.py`, `speech/doubt.py`) and is
calibrated by `adapt/calibrate.py`: 1.0 is typical of held-in data, three in a hundred of them reach 1.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..core.calibration import TRIGGER, TYPICAL
from ..core.options import real


class Uncertain(Protocol):
    """A result of any modality."""

    @property
    def uncertainty(self) -> float | Mapping[str, float] | None: ...


class UncertaintyEstimator:
    """Reads how unsure a result is, and says when that calls for learning.

    >>> UncertaintyEstimator().should_evolve(1.7), UncertaintyEstimator().should_evolve(1.5)
    (True, False)
    """

    def estimate(self, result: Uncertain | Any) -> float:
        """Uncertainty of a result: 1.0 is typical; of several modalities the largest.

        Raises:
            ValueError: its model was not calibrated.
        """
        found = getattr(result, "uncertainty", None)
        if found is None:
            raise ValueError(
                f"{type(result).__name__} has no uncertainty: its model was not calibrated, or nothing was "
                "written. `bowstring calibrate` calibrates a model"
            )
        return max(found.values(), default=TYPICAL) if isinstance(found, Mapping) else float(found)

    def should_evolve(self, uncertainty: float, threshold: float = TRIGGER) -> bool:
        """Whether this is beyond the threshold, which three in a hundred held-in samples are.

        Raises:
            TypeError, ValueError: no number from 0 on.
        """
        return real(uncertainty, "uncertainty", 0) > real(threshold, "threshold", 0)
