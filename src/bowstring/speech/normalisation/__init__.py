"""Text normalisation: numbers, money, dates, signs and layout become words, as a reader would say them.

`normalise` walks over a text once. At every place the families of rules are asked in turn; the first that
knows what stands there says it. What none can say is reported, never dropped in silence. No torch here.

    unicode    other forms of letters, digits and quotes
    markup     Markdown, HTML, lists and lines
    dates      dates, decades, eras, times of the day
    addresses  URLs, e-mail, files, IP numbers, versions, telephones
    money, units, numbers, roman
    abbreviations, acronyms
    places     streets, states and their codes
    arithmetic operators, powers, and dashes between numbers
    symbols    other signs that have a name
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from . import (
    abbreviations,
    acronyms,
    addresses,
    arithmetic,
    dates,
    money,
    numbers,
    places,
    roman,
    symbols,
    units,
)
from .markup import unmarked
from .unicode import folded

MARKS = ".,;:!?—…"
LONGEST = 45  # letters; no English word in use has more
FAMILIES = (
    dates,
    addresses,
    places,
    money,
    units,
    roman,
    abbreviations,
    acronyms,
    numbers,
    arithmetic,
    symbols,
)
WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
TOKEN = re.compile(rf"(?:[A-Za-z]\.)+(?:'?s)?(?![A-Za-z])|[A-Za-z]+(?:'[A-Za-z]+)*|[{MARKS}]")
OWN = re.compile(r"'s(?![A-Za-z])")  # behind what a rule has said: Louis XIV's
STRETCHED = re.compile(r"(([A-Za-z])\2)\2{2,}")


class Normalised(NamedTuple):
    """tokens: words, spelled letters (`F.B.I.`) and marks, as they are said. unspoken: what was left out."""

    tokens: tuple[str, ...]
    unspoken: tuple[str, ...] = ()


def normalise(text: str) -> Normalised:
    """Words and punctuation marks in the order in which they are read.

    >>> " ".join(normalise("Dr. Lee paid $3.50 at 7:05 pm.").tokens)
    'Doctor Lee paid three dollars and fifty cents at seven oh five P.M. .'
    >>> normalise("Привет, hello").unspoken
    ('Привет',)
    """
    text = unmarked(folded(text)).strip()
    tokens: list[str] = []
    unspoken: list[str] = []
    at = 0
    while at < len(text):
        at = _step(text, at, tokens, unspoken)
    return Normalised(tuple(tokens), tuple(unspoken))


def _step(text: str, at: int, tokens: list[str], unspoken: list[str]) -> int:
    """Says what stands at one place; the place behind it."""
    c = text[at]
    if c == " " and text[at + 1 : at + 2] not in DASHES:
        return at + 1
    for _, pattern, say in RULES[_class_of(c)]:
        match = pattern.match(text, at)
        if match and match.end() > at and (said := say(match)) is not None:
            tokens += TOKEN.findall(_cased(match[0], said))
            return match.end()
    if (match := OWN.match(text, at)) and re.match(r"[A-Za-z0-9]", text[at - 1]) and _ends_in_word(tokens):
        tokens[-1] += "'s"
        return match.end()
    if match := WORD.match(text, at):
        _word(match[0], tokens, unspoken)
        return match.end()
    return _foreign(text, at, tokens, unspoken) if c.isalpha() else _sign(text, at, tokens, unspoken)


def _ends_in_word(tokens: list[str]) -> bool:
    return bool(tokens) and tokens[-1] not in MARKS


def _class_of(c: str) -> str:
    if not c.isascii():
        return "s"
    return "d" if c.isdecimal() else "l" if c.isalpha() else "s"


def _cased(was: str, said: str) -> str:
    """What replaces a capitalised word is capitalised."""
    return said[0].upper() + said[1:] if was[:1].isupper() and said else said


def _word(word: str, tokens: list[str], unspoken: list[str]) -> None:
    """A word as it is; one that never ends is cut, and the rest reported."""
    short = STRETCHED.sub(r"\1", word)
    if len(word) - len(short) > LONGEST:
        unspoken.append(word)
    elif len(short) > LONGEST:
        unspoken.append(short[LONGEST:])
    tokens.append(short[:LONGEST].rstrip("'"))


def _foreign(text: str, at: int, tokens: list[str], unspoken: list[str]) -> int:
    """A word of another alphabet is reported; a Greek letter alone is called by its name."""
    end = at + 1
    while end < len(text) and not text[end].isascii() and unicodedata.category(text[end])[0] in "LM":
        end += 1
    called = symbols.name(text[at]) if end == at + 1 else None
    if called:
        tokens += called.split()
    else:
        unspoken.append(text[at:end])
    return end


def _sign(text: str, at: int, tokens: list[str], unspoken: list[str]) -> int:
    """A mark, the end of a line, a sign with a name, a silent one, or what is reported."""
    c = text[at]
    if c in MARKS:
        tokens.append(c)
    elif c == "\n":
        _pause("." if text[at : at + 2] == "\n\n" else ",", tokens)
    elif called := symbols.name(c):
        tokens += called.split()
    elif not (c.isspace() or c in symbols.SILENT or unicodedata.category(c) in ("Mn", "Cc", "Sk")):
        unspoken.append(c)
    return at + 1


def _pause(mark: str, tokens: list[str]) -> None:
    if tokens and tokens[-1] not in MARKS:
        tokens.append(mark)


DASHES = ("-", "–", "—", "x", "×", "/")
RULES = {
    starts: [one for family in FAMILIES for one in family.RULES if starts in one.starts] for starts in "dls"
}
