"""How unsure a picture is: how new its caption, how little the caption says, and which places still change.

Shapes: b pictures, 64 places (8 x 8); see `core/trace.py`.
"""

from __future__ import annotations

import numpy as np

from ..core import trace
from ..core.calibration import Calibrator
from ..core.trace import FlowTrace, signals

SOURCE, GRID = "image", 8


def of_picture(made: FlowTrace, row: int, calibrator: Calibrator) -> float | None:
    """Uncertainty of a picture, None where the model was not calibrated."""
    raw = signals(made, row, calibrator, SOURCE)
    source = SOURCE if "gap" in raw else f"{SOURCE} unguided"
    found = calibrator.uncertainty(source, raw, 0)
    return None if found is None else round(found, 4)


def of_places(made: FlowTrace, row: int, calibrator: Calibrator) -> np.ndarray | None:
    """Uncertainty of every place, `(8, 8)`."""
    found = trace.of_places(made, row, calibrator, SOURCE)
    return None if found is None else found.reshape(GRID, GRID)
