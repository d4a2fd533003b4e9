"""What a flow says about itself while it runs, and the doubt that is read from it.

Signals of a sample: how far the reading of what it was told lies beside readings of held-in samples, and how
little being told changes the belief ("gap", of guided sampling alone). Of a place: how fast the belief about
it still changes. Gaps and changes belong to a time t and are compared with those of held-in samples then.
Shapes: b samples, l places, d width, c channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from .calibration import Calibrator, Gauge, fit

BINS = 10  # of times
LEAST = 1e-9


@dataclass(eq=False)
class FlowTrace:
    """What is noted while samples are made.

    reading: `(b, d)` means of what they were told. gaps: times and `(b,)` root mean squares of what being
    told changes. changes: times and `(b, l)` root mean squares of the belief's change in a unit of time.
    """

    reading: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    gaps: list[tuple[float, np.ndarray]] = field(default_factory=list)
    changes: list[tuple[float, np.ndarray]] = field(default_factory=list)
    last: tuple[float, Tensor] | None = None

    def read(self, hidden: Tensor, valid: Tensor) -> None:
        """They were told hidden states `(b, m, d)`, of which those are real `(b, m)`."""
        mean = (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        self.reading = mean.float().cpu().numpy()

    def take(self, t: float, belief: Tensor, gap: Tensor | None = None) -> None:
        """Another belief `(b, l, c)` about x_0, and what being told changed of it."""
        if gap is not None:
            self.gaps.append((t, gap.square().mean((1, 2)).sqrt().cpu().numpy()))
        if self.last is not None and self.last[0] > t:
            moved = (belief - self.last[1]).square().mean(-1).sqrt() / (self.last[0] - t)
            self.changes.append((t, moved.cpu().numpy()))
        self.last = (t, belief)


def bin_of(t: float) -> int:
    """The time's bin, by which signals are calibrated."""
    return round(BINS * t)


def signals(trace: FlowTrace, row: int, calibrator: Calibrator, source: str) -> dict[str, float]:
    """Of a sample: the reading, and the mean of the calibrated gaps; a smaller gap is more doubtful."""
    reading = calibrator.news(source, trace.reading[row])
    gauge = calibrator.gauges.get(f"{source} gap")
    if gauge is None or not trace.gaps:
        return reading
    gaps = [gauge.of("gap", -np.log(one[row] + LEAST), bin_of(t)) for t, one in trace.gaps]
    return {"gap": float(np.mean(gaps))} | reading


def changes(trace: FlowTrace, row: int, calibrator: Calibrator, source: str) -> np.ndarray | None:
    """Means of the calibrated changes of every place, `(l,)`; None where there are none."""
    gauge = calibrator.gauges.get(f"{source} change")
    if gauge is None or not trace.changes:
        return None
    return np.mean([gauge.of("change", np.log(one[row] + LEAST), bin_of(t)) for t, one in trace.changes], 0)


def of_places(trace: FlowTrace, row: int, calibrator: Calibrator, source: str) -> np.ndarray | None:
    """Uncertainty of every place, `(l,)`; None where the model was not calibrated."""
    gauge, moved = calibrator.gauges.get(f"{source} places"), changes(trace, row, calibrator, source)
    if gauge is None or moved is None:
        return None
    return gauge.whole[0].uncertainty(gauge.of("change", moved, 0)).round(4)


def in_time(traces: Sequence[FlowTrace], source: str) -> dict[str, Gauge]:
    """Where gaps and changes lie at each time."""
    gaps: dict[int, list[dict[str, float]]] = {}
    moved: dict[int, list[dict[str, float]]] = {}
    for trace in traces:
        for t, values in trace.gaps:
            gaps.setdefault(bin_of(t), []).extend({"gap": -float(np.log(v + LEAST))} for v in values)
        for t, values in trace.changes:
            moved.setdefault(bin_of(t), []).extend(
                {"change": float(np.log(v + LEAST))} for v in values.ravel()
            )
    found = {f"{source} gap": gaps, f"{source} change": moved}
    return {name: fit(rows) for name, rows in found.items() if rows}


def in_places(moved: Iterable[np.ndarray | None]) -> Gauge:
    """Where the mean calibrated changes of places lie."""
    values = np.concatenate([one for one in moved if one is not None])
    return fit({0: [{"change": float(value)} for value in values]})
