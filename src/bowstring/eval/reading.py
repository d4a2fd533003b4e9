"""How many everyday sentences are read as a person would read them, numbers, signs and all?

Sentences and their right readings lie in `bench/readings/`, one JSON object a line. A reading is what is
said, in lower-case words; `(a|b)` stands for either, and nothing may stand for something (`(and|)`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..speech.g2p import G2P, STRESS, spelled
from ..speech.normalisation import MARKS
from ..weights.shipped import G2P_FOLDER
from .results import Measured

READINGS = Path("bench/readings")
INITIALS = re.compile(r"([A-Z]{2,}|[b-df-hj-np-tv-xz]{2,5}?)('?s)?")
BARE = str.maketrans("", "", STRESS)


@dataclass(frozen=True)
class Case:
    """A sentence and every right reading of it."""

    name: str
    category: str
    text: str
    readings: tuple[str, ...]

    def is_right(self, said: str) -> bool:
        """Whether this is one of the right readings."""
        return any(re.fullmatch(pattern_of(reading), f"{said} ") for reading in self.readings)


def pattern_of(reading: str) -> str:
    """A reading with its alternatives as a pattern over words that each have a space behind them.

    >>> pattern_of("one hundred (and|) five")
    '(?:one hundred )(?:and |)(?:five )'
    """
    parts = re.split(r"\(([^()]*)\)", reading)
    out = ""
    for i, part in enumerate(parts):
        options = part.split("|") if i % 2 else [part]
        words = ["".join(f"{word} " for word in option.split()) for option in options]
        out += f"(?:{'|'.join(words)})" if any(words) else ""
    return out


def cases(folder: Path = READINGS) -> list[Case]:
    """All sentences of a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no *.jsonl with sentences and their readings")
    rows = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [Case(row["id"], row["category"], row["text"], tuple(row["readings"])) for row in rows]


def spoken(g2p: G2P, text: str) -> str:
    """What is heard of a text: lower-case words, spelled letters apart, no marks.

    >>> spoken(G2P(G2P_FOLDER), "The FBI has 2 GPUs.")
    'the f b i has two g p us'
    """
    words = [word.text for word in g2p.sentence(text).words if word.text not in MARKS]
    return " ".join(_heard(g2p, word) for word in words)


def _heard(g2p: G2P, word: str) -> str:
    """A word, or its letters one by one where it is spelled."""
    if "." in word:
        return re.sub(r"\.(?='?s$)", "", word.lower()).replace(".", " ").strip()
    found = INITIALS.fullmatch(word)
    if found and g2p.word(found[1]).translate(BARE) == spelled(found[1]).translate(BARE):
        return " ".join(found[1].lower()) + (found[2] or "")
    return word.lower()


def heard(folder: Path = READINGS) -> list[tuple[Case, str]]:
    """Every sentence with what is heard of it."""
    g2p = G2P(G2P_FOLDER)
    return [(case, spoken(g2p, case.text)) for case in cases(folder)]


def reading_accuracy(folder: Path = READINGS) -> Measured:
    """Share of sentences that are read right."""
    return Measured.mean([float(case.is_right(said)) for case, said in heard(folder)])
