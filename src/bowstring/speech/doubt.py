"""How unsure speech is: how fast the belief about its words still changes while it is sampled.

Pauses do not count. Changes belong to the number of steps, to speed and temperature, and to how long a part
or a word is: parts of a text that are spoken at once and their words are calibrated by their lengths, as the
model speaks unless asked otherwise. Spoken in another way, nothing is known. Shapes: l tokens of 64 ms, w
words; see `core/trace.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core import trace
from ..core.calibration import Calibrator, Gauge, fit
from ..core.trace import FlowTrace
from .source_filter import FRAMES
from .utterance import SpeechSampling, Utterance

COUNTED = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)  # tokens by which means are calibrated, for few vary more
FEWEST = 8  # of a length
Change = tuple[int, float]  # how many tokens, and their mean calibrated change


def source_of(steps: int) -> str:
    """What speech is compared with.

    >>> source_of(8)
    'audio 8'
    """
    return f"audio {steps}"


def tokens_of_words(part: Utterance) -> list[range]:
    """The tokens in which each word is heard, as `Utterance.spans` lists them."""
    ends = np.cumsum(part.durations)
    found = []
    for number in part.heard():
        here = np.flatnonzero(part.owners == number)
        first, end = ends[here[0]] - part.durations[here[0]], ends[here[-1]]
        found.append(range(int(first / FRAMES + 1e-9), int(np.ceil(end / FRAMES - 1e-9))))
    return found


def changes(
    made: FlowTrace, part: Utterance, calibrator: Calibrator, source: str
) -> tuple[np.ndarray, list[Change]] | None:
    """Calibrated changes of the tokens that words are heard in, `(l,)`, and those of each word; None where
    this source was not calibrated, or there are none.
    """
    moved = trace.changes(made, 0, calibrator, source)
    if moved is None:
        return None
    words = tokens_of_words(part)
    voiced = sorted({token for word in words for token in word})
    return moved[voiced], [(len(word), float(moved[[*word]].mean())) for word in words]


def gauge(found: Iterable[Change]) -> Gauge:
    """Where mean changes of so many tokens lie; lengths that are hardly there count with shorter ones."""
    rows = by_count(found)
    common = {count: some for count, some in rows.items() if len(some) >= FEWEST}
    return fit(common or rows)


def gauge_of_parts(found: Sequence[np.ndarray]) -> Gauge:
    """The same of whole parts, whose tokens' changes are given; the beginnings of parts stand for lengths
    that few of them have.
    """
    rows = by_count((len(moved), float(moved.mean())) for moved in found)
    for count in COUNTED:
        longer = [moved for moved in found if len(moved) >= count]
        if len(rows.get(count, ())) < FEWEST and longer:
            rows[count] = [{"change": float(moved[:count].mean())} for moved in longer]
    return fit(rows)


def by_count(found: Iterable[Change]) -> dict[int, list[Mapping[str, float]]]:
    """Changes by the nearest count that is not above theirs."""
    rows: dict[int, list[Mapping[str, float]]] = {}
    for count, change in found:
        rows.setdefault(max(one for one in COUNTED if one <= count), []).append({"change": change})
    return rows


@dataclass
class SpokenDoubt:
    """How unsure a text is, gathered part by part while it is spoken in so many steps.

    uncertainties: of each word so far.
    """

    calibrator: Calibrator
    steps: int
    uncertainties: list[float] = field(default_factory=list)
    _parts: list[Change] = field(default_factory=list)  # tokens and uncertainty

    @classmethod
    def of(cls, calibrator: Calibrator, how: SpeechSampling) -> SpokenDoubt:
        """Of a way to speak; nothing is known of other speeds and temperatures than the usual ones."""
        usual = replace(SpeechSampling(), steps=how.steps, seed=how.seed)
        return cls(calibrator if how == usual else Calibrator(), how.steps)

    def add(self, made: FlowTrace, part: Utterance) -> None:
        """Another part was spoken."""
        source = source_of(self.steps)
        found = changes(made, part, self.calibrator, source)
        if found is None or not len(found[0]):
            return
        moved, words = found
        own = self.calibrator.uncertainty(source, {"change": float(moved.mean())}, len(moved))
        assert own is not None  # changes are calibrated with the rest
        self._parts.append((len(moved), own))
        for count, change in words:
            one = self.calibrator.uncertainty(f"{source} words", {"change": change}, count)
            self.uncertainties.append(round(one or 0.0, 4))

    @property
    def uncertainty(self) -> float | None:
        """Of all that was spoken: the mean of its parts by their lengths; None where nothing is known."""
        if not self._parts:
            return None
        return round(sum(n * one for n, one in self._parts) / sum(n for n, _ in self._parts), 4)
