"""Raw numbers become uncertainty: 1.0 is typical of held-in data, three in a hundred of them reach 1.5.

A `Gauge` belongs to one source of numbers: a model, a modality and a way of generating. It is fitted on one
half of held-in data and tried on the other (`adapt/calibrate.py`). This module knows no network.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import files

FORMAT, LARGEST = 1, 1 << 22
TYPICAL, TRIGGER = 1.0, 1.5
REACHED = 0.97  # quantile of held-in data that lies at the trigger
RANK = 16  # directions that readings of held-in prompts vary in; what lies beside them is news
LEAST = 1e-6
READING = "reading"  # the signal of a prompt, beside those of what is made of it


@dataclass(frozen=True)
class Scale:
    """Where the held-in numbers of a signal lie: their median and their 97th percentile."""

    typical: float
    high: float

    @classmethod
    def fit(cls, values: Sequence[float] | np.ndarray) -> Scale:
        """
        >>> Scale.fit(range(101))
        Scale(typical=50.0, high=97.0)
        """
        typical, high = (float(q) for q in np.quantile(np.asarray(values, np.float64), (0.5, REACHED)))
        return cls(typical, max(high, typical + LEAST))

    def uncertainty(self, value: Any) -> Any:
        """1 at the median, 1.5 at the 97th percentile, a straight line through both, never below 0."""
        line = TYPICAL + (TRIGGER - TYPICAL) * (value - self.typical) / (self.high - self.typical)
        return np.maximum(line, 0.0)


@dataclass(frozen=True, eq=False)
class Subspace:
    """The few directions in which pooled readings of held-in prompts vary.

    mean: `(d,)`. axes: `(k, d)`, orthonormal.
    """

    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, readings: np.ndarray, rank: int = RANK) -> Subspace:
        """Of readings `(n, d)`."""
        mean = readings.mean(0)
        axes = np.linalg.svd(readings - mean, full_matrices=False)[2][:rank]
        return cls(mean.astype(np.float16), axes.astype(np.float16))

    def residual(self, reading: np.ndarray) -> float:
        """Log of the length of what lies beside the directions, of a reading `(d,)`."""
        off = np.asarray(reading, np.float64) - self.mean
        inside = self.axes.astype(np.float64) @ off
        return float(0.5 * np.log(max(off @ off - inside @ inside, LEAST)))

    def to_json(self) -> dict[str, str]:
        return {"mean": packed(self.mean), "axes": packed(self.axes)}

    @classmethod
    def from_json(cls, found: Mapping[str, str]) -> Subspace:
        mean, axes = unpacked(found["mean"]), unpacked(found["axes"])
        return cls(mean, axes.reshape(-1, len(mean)))


@dataclass(frozen=True, eq=False)
class Gauge:
    """What makes one uncertainty of the raw numbers of one source.

    signals: by name, by step, where held-in numbers lie. whole: by step, where their means over the signals
    lie. A step is a count: tokens so far, steps of a picture; the nearest known one below is used.
    """

    signals: Mapping[str, Mapping[int, Scale]]
    whole: Mapping[int, Scale]

    def of(self, name: str, value: Any, step: int) -> Any:
        """A signal alone, calibrated; `value` may be an array."""
        return at(self.signals[name], step).uncertainty(value)

    def mean(self, raw: Mapping[str, float], step: int) -> float:
        """The calibrated signals that are there, their mean; the reading of the prompt counts as much as all
        others together, and what is not known here does not count.
        """
        found = {name: self.of(name, value, step) for name, value in raw.items() if name in self.signals}
        making = [value for name, value in found.items() if name != READING]
        parts = [found[READING]] if READING in found else []
        parts += [float(np.mean(making))] if making else []
        return float(np.mean(parts)) if parts else TYPICAL

    def uncertainty(self, raw: Mapping[str, float], step: int) -> float:
        """One number of a sample from its signals."""
        return float(at(self.whole, step).uncertainty(self.mean(raw, step)))

    def to_json(self) -> dict[str, Any]:
        signals = {name: listed(scales) for name, scales in self.signals.items()}
        return {"signals": signals, "whole": listed(self.whole)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Gauge:
        signals = {str(name): scales_of(scales) for name, scales in found["signals"].items()}
        return cls(signals, scales_of(found["whole"]))


@dataclass(frozen=True, eq=False)
class Calibrator:
    """The gauges of a model by source ("text ar", "image"), and what readings of held-in prompts look like by
    kind ("text", "image"); an empty one knows nothing.
    """

    gauges: Mapping[str, Gauge] = field(default_factory=dict)
    readings: Mapping[str, Subspace] = field(default_factory=dict)

    def news(self, kind: str, pooled: np.ndarray | None) -> dict[str, float]:
        """The signal "reading" of a prompt's pooled reading `(d,)`, where it can be told."""
        known = self.readings.get(kind)
        if known is None or pooled is None or pooled.shape != known.mean.shape:
            return {}
        return {READING: known.residual(pooled)}

    def uncertainty(self, source: str, raw: Mapping[str, float], step: int) -> float | None:
        """Of a sample, None where the source was not calibrated."""
        gauge = self.gauges.get(source)
        return None if gauge is None or not raw else gauge.uncertainty(raw, step)

    @classmethod
    def read(cls, path: Path) -> Calibrator:
        """The calibrator in a file; an empty one if there is no file.

        Raises:
            ValueError: the file holds none.
        """
        if not path.exists():
            return cls()
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} has {path.stat().st_size} bytes; a calibrator has at most {LARGEST}")
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}, not {FORMAT}")
            gauges = {str(name): Gauge.from_json(one) for name, one in found["gauges"].items()}
            readings = {str(name): Subspace.from_json(one) for name, one in found["readings"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{path} is no calibrator: {error}. `bowstring calibrate` makes it anew"
            ) from None
        return cls(gauges, readings)

    def write(self, path: Path) -> None:
        gauges = {name: one.to_json() for name, one in self.gauges.items()}
        readings = {name: one.to_json() for name, one in self.readings.items()}
        found = {"format": FORMAT, "gauges": gauges, "readings": readings}
        files.write(path, (json.dumps(found, indent=1) + "\n").encode())


def fit(rows: Mapping[int, Sequence[Mapping[str, float]]]) -> Gauge:
    """A gauge from the raw numbers of held-in samples, by step.

    Raises:
        ValueError: a step without samples.
    """
    if not rows or not all(rows.values()):
        raise ValueError("a gauge needs samples of every step; give held-in data that reach it")
    names = {name for some in rows.values() for row in some for name in row}
    signals: dict[str, dict[int, Scale]] = {name: {} for name in sorted(names)}
    for step, some in rows.items():
        for name in names:
            if values := [row[name] for row in some if name in row]:
                signals[name][step] = Scale.fit(values)
    raw = Gauge(signals, {})
    return Gauge(
        signals, {step: Scale.fit([raw.mean(row, step) for row in some]) for step, some in rows.items()}
    )


def at(scales: Mapping[int, Scale], step: int) -> Scale:
    """The scale of the largest known step that is not above this one, else of the smallest."""
    below = [known for known in scales if known <= step]
    return scales[max(below)] if below else scales[min(scales)]


def listed(scales: Mapping[int, Scale]) -> dict[str, list[float]]:
    return {str(step): [float(f"{v:.8g}") for v in (s.typical, s.high)] for step, s in scales.items()}


def scales_of(found: Mapping[str, Sequence[float]]) -> dict[int, Scale]:
    """
    Raises:
        ValueError: none, or one whose numbers do not rise.
    """
    scales = {int(step): Scale(float(low), float(high)) for step, (low, high) in found.items()}
    if not scales or not all(np.isfinite(s.typical) and s.typical < s.high < np.inf for s in scales.values()):
        raise ValueError("its scales do not rise")
    return scales


def packed(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f2").tobytes()).decode()


def unpacked(text: str) -> np.ndarray:
    """
    Raises:
        ValueError: a number that is not finite.
    """
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f2")
    if not np.isfinite(values).all():
        raise ValueError("it holds numbers that are not finite")
    return values
