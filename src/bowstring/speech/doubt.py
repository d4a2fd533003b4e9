"""How unsure speech is: how fast the belief about it still changes while it is sampled.

What is calibrated are parts of a text, each spoken at once, and their words. Shapes: l tokens of 64 ms; see
`core/trace.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import trace
from ..core.calibration import Calibrator
from ..core.trace import FlowTrace
from .alignment import TOKEN, Span

SOURCE = "audio"
WORDS = f"{SOURCE} words"


def signals(made: FlowTrace, calibrator: Calibrator) -> dict[str, float]:
    """Of a part: the mean calibrated change of its tokens."""
    moved = trace.changes(made, 0, calibrator, SOURCE)
    return {} if moved is None else {"change": float(moved.mean())}


def of_part(made: FlowTrace, calibrator: Calibrator) -> float | None:
    """Uncertainty of a part, None where the model was not calibrated."""
    found = calibrator.uncertainty(SOURCE, signals(made, calibrator), 0)
    return None if found is None else round(found, 4)


def word_changes(
    made: FlowTrace, spans: Sequence[Span], begin: float, calibrator: Calibrator
) -> np.ndarray | None:
    """Mean calibrated changes while each word of a part is heard, which begins at `begin` seconds, `(w,)`."""
    moved = trace.changes(made, 0, calibrator, SOURCE)
    if moved is None:
        return None
    bounds = [
        (int((one.start - begin) / TOKEN), int(np.ceil((one.end - begin) / TOKEN - 1e-6))) for one in spans
    ]
    last = len(moved) - 1
    return np.array([moved[min(a, last) : max(b, min(a, last) + 1)].mean() for a, b in bounds])


def of_words(
    made: FlowTrace, spans: Sequence[Span], begin: float, calibrator: Calibrator
) -> tuple[float, ...]:
    """Uncertainty of each word of a part; none where the model was not calibrated."""
    gauge, moved = calibrator.gauges.get(WORDS), word_changes(made, spans, begin, calibrator)
    if gauge is None or moved is None or not len(moved):
        return ()
    return tuple(gauge.whole[0].uncertainty(gauge.of("change", moved, 0)).round(4).tolist())


def of_parts(doubts: Sequence[float | None], lengths: Sequence[int]) -> float | None:
    """Uncertainty of a whole: the mean of its parts by their lengths.

    >>> of_parts([1.0, 2.0], [3, 1]), of_parts([None], [3])
    (1.25, None)
    """
    known = [(doubt, n) for doubt, n in zip(doubts, lengths, strict=True) if doubt is not None]
    if not known:
        return None
    return round(sum(doubt * n for doubt, n in known) / sum(n for _, n in known), 4)
