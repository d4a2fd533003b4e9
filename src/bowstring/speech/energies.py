"""Energies of speech: each is a function of a `SpeechResult`, lower is better, 0 is best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.options import real, settle

if TYPE_CHECKING:
    from .result import SpeechResult

SILENT = 1e-5  # root mean square below which nothing is heard


@dataclass(frozen=True)
class Level:
    """Half the squared distance of a recording's level from a wish, both in dB, in units of `spread`. Level
    is the root mean square; that of a full sine is -3 dB.
    """

    decibels: float
    spread: float = 1.0

    def __post_init__(self) -> None:
        settle(self, decibels=real(self.decibels, "decibels", -100, 0))
        settle(self, spread=real(self.spread, "spread", 0.01, 100))

    def __call__(self, said: SpeechResult) -> float:
        level = 20 * np.log10(max(float(np.sqrt(np.mean(np.square(said.audio, dtype=float)))), SILENT))
        return float((level - self.decibels) ** 2 / (2 * self.spread**2))


@dataclass(frozen=True)
class Pace:
    """The same of its words a second, from the first that is heard to the end of the last."""

    words: float
    spread: float = 0.3

    def __post_init__(self) -> None:
        settle(self, words=real(self.words, "words", 0.1, 20))
        settle(self, spread=real(self.spread, "spread", 0.01, 100))

    def __call__(self, said: SpeechResult) -> float:
        took = said.words[-1].end - said.words[0].start if said.words else 0.0
        pace = len(said.words) / took if took > 0 else 0.0
        return (pace - self.words) ** 2 / (2 * self.spread**2)
