"""What every family of rules is made of: a pattern that is tried where a token begins, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

NEAR = 60  # characters to either side that may decide how something is said
BEGINNINGS = set(  # words that begin a sentence more often than a name
    "The He She It We They I You But And In At On This That There Then So If A An My His Her Our Their When "
    "After Please What Who Where Why How Is Are Do Does Did Can Let No Yes For As".split()
)
WORD_BEFORE, WORD_AFTER = re.compile(r"([A-Za-z']+)[ -]*$"), re.compile(r"[ -]?([A-Za-z']+)")
Say = Callable[[re.Match[str]], str | None]  # None: not mine, let the next rule try


class Rule(NamedTuple):
    """starts: what a match begins with, some of `d` (a digit), `l` (a letter) and `s` (any other sign)."""

    starts: str
    pattern: re.Pattern[str]
    say: Say


def rule(starts: str, pattern: str, say: Say, *, any_case: bool = False) -> Rule:
    """Rules are tried where a token begins, never inside one. Letters and digits are those of ASCII."""
    return Rule(starts, re.compile(pattern, re.ASCII | (re.IGNORECASE if any_case else 0)), say)


def before(match: re.Match[str]) -> str:
    """What stands in front, as far as it matters."""
    return match.string[max(0, match.start() - NEAR) : match.start()]


def after(match: re.Match[str]) -> str:
    """What follows, as far as it matters."""
    return match.string[match.end() : match.end() + NEAR]


def word_before(match: re.Match[str]) -> str:
    """The word in front of a token and its spaces; empty where there is none or a mark parts them."""
    found = WORD_BEFORE.search(before(match))
    return found[1] if found else ""


def word_after(match: re.Match[str]) -> str:
    """The word behind a token; empty where a mark parts them."""
    found = WORD_AFTER.match(after(match))
    return found[1] if found else ""


def follows_word(match: re.Match[str]) -> bool:
    """Whether a letter, a digit or a closing bracket stands directly in front."""
    last = match.string[match.start() - 1 : match.start()]
    if last and last in "x×" and match.string[match.start() - 2 : match.start() - 1].isdecimal():
        return False  # 4x100
    return last.isalnum() or last in (")", "]", "_")


def shouted(match: re.Match[str]) -> bool:
    """Whether all is in capitals around here, so that capitals say nothing."""
    around = before(match) + after(match)
    return any(c.isalpha() for c in around) and not any(c.islower() for c in around)


def sentence_ends(match: re.Match[str]) -> bool:
    """Whether the point of an abbreviation is the end of a sentence, too."""
    rest = after(match)
    if not rest.strip(" \"')]*") or rest.startswith("\n"):
        return True
    word = re.match(r"[\"')\]]* +[\"'(]*([A-Za-z']+)", rest)
    return word is not None and word[1] in BEGINNINGS


def letters(text: str) -> str:
    """
    >>> letters("FBI")
    'F.B.I.'
    """
    return "".join(f"{c.upper()}." for c in text)
