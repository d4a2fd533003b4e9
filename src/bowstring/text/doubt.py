"""How unsure a text is: signals of its writing, token by token, and the spans that are doubtful.

Signals of a token: its surprisal and the entropy of the belief it was drawn from, in nats, and "early", what
it surprises the first belief that saw something of its block (diffusion alone). A sample's are the means of
these, and how far the reading of its prompt lies beside those of held-in prompts.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.calibration import TRIGGER, Calibrator, at

if TYPE_CHECKING:
    from .result import TextResult

COUNTED = (4, 8, 16, 32, 64)  # tokens after which sums are compared with held-in ones
LEAST = 1e-30


@dataclass(frozen=True)
class Doubtful:
    """Characters start to end of a text, and the largest uncertainty of a token there."""

    start: int
    end: int
    uncertainty: float


@dataclass(frozen=True, eq=False)
class Trace:
    """What each token of a text said about itself, `(n,)` nats, NaN where it is unknown; and the mean hidden
    state of its prompt, `(d,)`, where it was watched.
    """

    surprisal: np.ndarray
    entropy: np.ndarray
    early: np.ndarray
    reading: np.ndarray | None = None

    def signals(self, count: int) -> dict[str, float]:
        """Means over the first `count` tokens of what is known."""
        parts = {name: getattr(self, name)[:count] for name in TOKENWISE}
        known = {name: part[np.isfinite(part)] for name, part in parts.items()}
        return {name: float(part.mean()) for name, part in known.items() if part.size}


TOKENWISE = ("surprisal", "entropy", "early")


def source_of(kind: str, mode: str) -> str:
    """What a text is compared with: texts of its kind that were written so; drafts change no text.

    >>> source_of("code", "auto")
    'code ar'
    """
    return f"{kind} {'diffusion' if mode == 'diffusion' else 'ar'}"


def steps_of(count: int) -> list[int]:
    """The numbers of tokens that are counted of a text of `count`, at least one."""
    return [step for step in COUNTED if step <= count] or [COUNTED[0]]


def of_sample(trace: Trace, calibrator: Calibrator, source: str) -> float | None:
    """Uncertainty of a text; source: kind and mode, "text ar"."""
    if not len(trace.surprisal):
        return None
    step = steps_of(len(trace.surprisal))[-1]
    news = calibrator.news(source.split()[0], trace.reading)
    found = calibrator.uncertainty(source, trace.signals(step) | news, step)
    return None if found is None else round(found, 4)


def of_tokens(trace: Trace, calibrator: Calibrator, source: str) -> tuple[float, ...]:
    """Uncertainty of each token; none where it was not calibrated."""
    gauge = calibrator.gauges.get(f"{source} token")
    if gauge is None or not len(trace.surprisal):
        return ()
    rows = np.stack([gauge.of(name, getattr(trace, name), 0) for name in gauge.signals])
    known = np.isfinite(rows)
    mean = np.where(known, rows, 0).sum(0) / np.maximum(known.sum(0), 1)
    return tuple(at(gauge.whole, 0).uncertainty(mean).round(4).tolist())


def doubted(result: TextResult, calibrator: Calibrator, source: str, pieces: Sequence[bytes]) -> TextResult:
    """The result with its uncertainty, that of its tokens, whose bytes the pieces are, and doubtful spans."""
    tokens = of_tokens(result.trace, calibrator, source)
    return result.but(
        uncertainty=of_sample(result.trace, calibrator, source),
        uncertainties=tokens,
        doubtful=spans(pieces, tokens),
    )


def spans(pieces: Sequence[bytes], doubts: Sequence[float]) -> tuple[Doubtful, ...]:
    """Runs of tokens beyond the trigger, as characters of the text that the pieces make.

    >>> spans([b"a ", b"fox", b" ran"], [1.0, 1.7, 1.6])
    (Doubtful(start=2, end=9, uncertainty=1.7),)
    """
    found: list[Doubtful] = []
    decode, end, run = codecs.getincrementaldecoder("utf-8")("replace").decode, 0, False
    for piece, doubt in zip(pieces, doubts, strict=False):
        start, end = end, end + len(decode(piece))
        if doubt > TRIGGER and end > start:
            last = found.pop() if run else Doubtful(start, start, 0.0)
            found.append(Doubtful(last.start, end, max(last.uncertainty, doubt)))
        run = doubt > TRIGGER
    return tuple(found)
