"""Energies of whole texts: each is a function of a text, lower is better, 0 is best."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..core.options import settle, texts, whole


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


@dataclass(frozen=True)
class Length:
    """(n - words)^2 / (2 spread^2) of a text of n words: a bell curve about `words`.

    >>> Length(3, 1)("one two three four")
    0.5
    """

    words: int
    spread: int = 10

    def __post_init__(self) -> None:
        settle(self, words=whole(self.words, "words", 0), spread=whole(self.spread, "spread", 1))

    def __call__(self, text: str) -> float:
        return (len(words(text)) - self.words) ** 2 / (2 * self.spread**2)


@dataclass(frozen=True)
class Wanted:
    """How many of these words are missing.

    >>> Wanted(("fox", "moon"))("The Fox ran.")
    1.0
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        settle(self, words=tuple(one.lower() for one in texts(self.words, "words", blank=False)))

    def __call__(self, text: str) -> float:
        there = set(words(text))
        return float(sum(one not in there for one in self.words))


@dataclass(frozen=True)
class Banned:
    """How often these words stand there.

    >>> Banned(("fox",))("A fox met a fox.")
    2.0
    """

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        settle(self, words=tuple(one.lower() for one in texts(self.words, "words", blank=False)))

    def __call__(self, text: str) -> float:
        banned = set(self.words)
        return float(sum(one in banned for one in words(text)))
