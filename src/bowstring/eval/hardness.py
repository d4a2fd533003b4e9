"""Prompts that grow harder: held-out pairs, unknown words, corrupted letters, other domains.

The mildest is one at which a person who knows the learned texts would hesitate: all words are known and their
combination is new.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

SEVERITIES = ("pairs", "words", "letters", "domains")  # from mild to hard
SYLLABLES = ("zor", "blik", "quen", "mup", "thra", "vex", "oon", "grel", "shi", "fap", "wug", "dro")
FRAME = {"story", "tale", "about", "that", "begins", "return", "from", "with", "picture"}
CORRUPTED = 0.3  # share of letters
LETTERS = "abcdefghijklmnopqrstuvwxyz "
SUBJECTS = (
    "the enthalpy of vaporisation",
    "quarterly operating margin",
    "compact operators in Hilbert space",
    "the plaintiff's motion to dismiss",
    "the TCP congestion window",
    "a municipal zoning ordinance",
    "interest rate swaps",
    "the catalytic cycle of cytochrome P450",
    "a three-phase induction motor",
    "hidden Markov models",
    "photosynthesis in C4 plants",
    "article 5 of the treaty",
    "the Sharpe ratio",
    "monoclonal antibodies",
    "tensile stress in steel",
    "depreciation of fixed assets",
)
ABOUT = (
    "a summary of {0} at constant pressure",
    "minutes of the meeting on {0}",
    "the error rate of {0} in 1987",
    "{0} and its regulation",
    "tutorial: configure {0} step by step",
    "Gutachten zu {0}",
    "rapport annuel sur {0}",
    "an empirical study of {0}",
)


def pseudoword(rng: random.Random) -> str:
    """A word that nobody knows."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((2, 3))))


def with_unknown_word(prompt: str, rng: random.Random) -> str:
    """One word of content becomes one that nobody knows."""
    words = prompt.split()
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.strip(":,.") not in FRAME]
    words[rng.choice(places or [len(words) - 1])] = pseudoword(rng)
    return " ".join(words)


def corrupted(prompt: str, rng: random.Random) -> str:
    """Three letters of ten are others."""
    return "".join(rng.choice(LETTERS) if rng.random() < CORRUPTED else mark for mark in prompt)


def of_other_domains(rng: random.Random) -> str:
    """A subject of trades and sciences that no learned text is about."""
    return rng.choice(ABOUT).format(rng.choice(SUBJECTS))


def graded(known: Sequence[str], pairs: Sequence[str], count: int, seed: int = 0) -> dict[str, list[str]]:
    """`count` prompts of every severity: new ones as they are, known ones spoiled, and others."""
    rng = random.Random(f"severities-{seed}")
    return {
        "pairs": rng.sample(pairs, min(count, len(pairs))),
        "words": [with_unknown_word(one, rng) for one in rng.sample(known, count)],
        "letters": [corrupted(one, rng) for one in rng.sample(known, count)],
        "domains": [of_other_domains(rng) for _ in range(count)],
    }
