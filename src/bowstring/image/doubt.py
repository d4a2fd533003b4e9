"""How unsure a picture is: signals of its sampling, and the places that are doubtful.

Signals of a picture: how far the reading of its caption lies beside those of held-in captions, and how
little the caption changes the belief ("gap", of guided sampling alone). Of a place: how fast the belief about
it still changes. Both belong to a time t and are compared with those of held-in pictures at that time.
Shapes: b pictures, 64 places (8 x 8), d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..core.calibration import Calibrator

SOURCE, GRID = "image", 8
BINS = 10  # of times
LEAST = 1e-9


@dataclass(eq=False)
class ImageTrace:
    """What is noted while pictures are sampled.

    reading: `(b, d)` mean hidden states of captions. gaps: times and `(b,)` root mean squares of what the
    caption changes. changes: times and `(b, 64)` root mean squares of the belief's change in a unit of time.
    """

    reading: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    gaps: list[tuple[float, np.ndarray]] = field(default_factory=list)
    changes: list[tuple[float, np.ndarray]] = field(default_factory=list)
    last: tuple[float, Tensor] | None = None

    def read(self, hidden: Tensor, valid: Tensor) -> None:
        """Captions were read: hidden states `(b, m, d)` and which are real `(b, m)`."""
        mean = (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        self.reading = mean.float().cpu().numpy()

    def take(self, t: float, belief: Tensor, gap: Tensor | None) -> None:
        """Another belief `(b, 64, c)` about x_0, and what the caption changed of it."""
        if gap is not None:
            self.gaps.append((t, gap.square().mean((1, 2)).sqrt().cpu().numpy()))
        if self.last is not None and self.last[0] > t:
            moved = (belief - self.last[1]).square().mean(-1).sqrt() / (self.last[0] - t)
            self.changes.append((t, moved.cpu().numpy()))
        self.last = (t, belief)


def bin_of(t: float) -> int:
    """The time's bin, by which signals are calibrated."""
    return round(BINS * t)


def signals(trace: ImageTrace, row: int, calibrator: Calibrator) -> dict[str, float]:
    """Of a picture: the reading, and the mean of the calibrated gaps; a smaller gap is more doubtful."""
    reading = trace.reading[row]
    gauge = calibrator.gauges.get(f"{SOURCE} gap")
    if gauge is None or not trace.gaps:
        return calibrator.news(SOURCE, reading)
    gaps = [gauge.of("gap", -np.log(one[row] + LEAST), bin_of(t)) for t, one in trace.gaps]
    return {"gap": float(np.mean(gaps))} | calibrator.news(SOURCE, reading)


def of_picture(trace: ImageTrace, row: int, calibrator: Calibrator) -> float | None:
    """Uncertainty of a picture, None where the model was not calibrated."""
    raw = signals(trace, row, calibrator)
    source = SOURCE if "gap" in raw else f"{SOURCE} unguided"
    found = calibrator.uncertainty(source, raw, 0)
    return None if found is None else round(found, 4)


def of_places(trace: ImageTrace, row: int, calibrator: Calibrator) -> np.ndarray | None:
    """Uncertainty of every place, `(8, 8)`."""
    gauge = calibrator.gauges.get(f"{SOURCE} places")
    if gauge is None or not trace.changes:
        return None
    raw = gauge.of("change", changes(trace.changes, row, calibrator), 0)
    return gauge.whole[0].uncertainty(raw).reshape(GRID, GRID).round(4)


def changes(found: Sequence[tuple[float, np.ndarray]], row: int, calibrator: Calibrator) -> np.ndarray:
    """Means of the calibrated changes of every place, `(64,)`."""
    gauge = calibrator.gauges[f"{SOURCE} change"]
    return np.mean([gauge.of("change", np.log(one[row] + LEAST), bin_of(t)) for t, one in found], 0)
