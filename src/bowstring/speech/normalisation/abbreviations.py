"""Short forms and their points: titles, streets, initials, Latin, pairs with a slash.

What is spelled leaves as letters with points (`Q.E.D.`), one word for the ear. A point that shortens a word
ends no sentence, unless a sentence begins behind it.
"""

from __future__ import annotations

import re

from .rules import Rule, after, before, follows_word, letters, rule, sentence_ends, word_before

ABBREVIATIONS = {
    "mr": "mister",
    "mrs": "missus",
    "ms": "miz",
    "dr": "doctor",
    "prof": "professor",
    "st": "saint",
    "jr": "junior",
    "sr": "senior",
    "vs": "versus",
    "etc": "et cetera",
    "approx": "approximately",
    "dept": "department",
    "gov": "governor",
    "sen": "senator",
    "rep": "representative",
    "gen": "general",
    "capt": "captain",
    "lt": "lieutenant",
    "sgt": "sergeant",
    "col": "colonel",
    "rev": "reverend",
    "hon": "honorable",
    "no": "number",
    "nos": "numbers",
    "fig": "figure",
    "figs": "figures",
    "vol": "volume",
    "ch": "chapter",
    "sec": "section",
    "eq": "equation",
    "pp": "pages",
    "p": "page",
    "ed": "edition",
    "ave": "avenue",
    "blvd": "boulevard",
    "rd": "road",
    "ln": "lane",
    "hwy": "highway",
    "apt": "apartment",
    "mt": "mount",
    "ft": "fort",
    "inc": "incorporated",
    "corp": "corporation",
    "ltd": "limited",
    "co": "company",
    "bros": "brothers",
    "govt": "government",
    "est": "established",
    "misc": "miscellaneous",
    "max": "maximum",
    "min": "minimum",
    "avg": "average",
    "tel": "telephone",
    "ext": "extension",
    "temp": "temperature",
    "incl": "including",
    "a.k.a": "also known as",
    "cf": "compare",
    "viz": "namely",
    "ca": "circa",
    "nr": "number",
}
BEFORE_A_NAME = set("st gen col rev mt lt capt gov sen rep sgt hon ft".split())
BEFORE_A_NUMBER = set("no nos nr ca fig figs vol ch sec eq pp p apt ext est".split())
BEHIND_A_NAME = set("ave blvd rd ln hwy ed co inc corp bros ltd".split())
LOWER_FOLLOWS = set("max min avg tel temp misc incl".split())
NEVER_ENDS = set("mr mrs ms dr prof vs approx".split()) | BEFORE_A_NAME | BEFORE_A_NUMBER
WITHOUT_POINT = "Mr Mrs Ms Dr Prof Jr Ltd vs approx etc".split()
PHRASES = {"e.g.": "for example", "i.e.": "that is", "a.k.a.": "also known as", "et al.": "et al"}
SLASHED = {"w/o": "without", "w/": "with", "n/a": "not applicable", "c/o": "care of", "s/he": "he or she"}
SLASHED |= {"and/or": "and or"}
PRONOUN = r"(?:he|she|him|her|his|hers|himself|herself|they|them|their)"
NUMBER_FOLLOWS = r"[\d#]|[IVXLC]{2,}\b|[VX]\b"


def _dotted(match: re.Match[str]) -> str | None:
    """Letters with points: initials, U.S., Q.E.D."""
    if follows_word(match):
        return None
    return _finished(match, letters(match[0].replace(".", "")), ends=match[0].endswith("."))


def _degree(match: re.Match[str]) -> str | None:
    return None if follows_word(match) else _finished(match, "P.H.D.", ends=match[0].endswith("."))


def _phrase(match: re.Match[str]) -> str | None:
    if follows_word(match):
        return None
    low = match[1].lower()
    return f"{PHRASES[low]}," if low in ("e.g.", "i.e.") else _finished(match, PHRASES[low], ends=True)


def _initial(match: re.Match[str]) -> str | None:
    """One capital and its point before a name; the end of a sentence otherwise."""
    if follows_word(match) or sentence_ends(match) or not re.match(r" +[A-Z]", after(match)):
        return None
    return f"{match[1]}."


def _abbreviation(match: re.Match[str]) -> str | None:
    low, follows = match[1].lower(), after(match).lstrip(" ")
    if follows_word(match):
        return None
    if low == "st" and _behind_street(match, follows):
        return _finished(match, "Street", ends=True)
    if low == "dr" and word_before(match)[:1].isupper() and not follows[:1].isupper():
        return _finished(match, "Drive", ends=True)
    return (
        _finished(match, ABBREVIATIONS[low], ends=low not in NEVER_ENDS)
        if _fits(match, low, follows)
        else None
    )


def _fits(match: re.Match[str], low: str, follows: str) -> bool:
    """Whether a word that might end a sentence (`no.`, `max.`) is short for another here."""
    if low in BEFORE_A_NUMBER:
        return bool(re.match(NUMBER_FOLLOWS, follows))
    if low in BEFORE_A_NAME:
        return follows[:1].isupper()
    if low in BEHIND_A_NAME:
        return bool(re.search(r"(?:\b[A-Z][\w'.]*,?|&|\d(?:st|nd|rd|th)) $", before(match)))
    return low not in LOWER_FOLLOWS or bool(re.match(r"[a-z\d:]", follows))


def _behind_street(match: re.Match[str], follows: str) -> bool:
    """Whether `St.` stands behind the name of a street, and not before that of a saint."""
    named = bool(re.search(r"(?:[A-Z][a-z']+|\d(?:st|nd|rd|th)) $", before(match)))
    return named and (not follows[:1].isupper() or sentence_ends(match))


def _finished(match: re.Match[str], said: str, *, ends: bool) -> str:
    return f"{said} ." if ends and sentence_ends(match) else said


def _bare(match: re.Match[str]) -> str | None:
    return None if follows_word(match) else ABBREVIATIONS[match[1].lower()]


def _slashed(match: re.Match[str]) -> str | None:
    return None if follows_word(match) else SLASHED[match[1].lower()]


short = "|".join(sorted(ABBREVIATIONS, key=len, reverse=True))
RULES: tuple[Rule, ...] = (
    rule("l", r"(e\.g\.|i\.e\.|a\.k\.a\.|et al\.)(?:,(?= ))?(?![A-Za-z])", _phrase, any_case=True),
    rule("l", r"([BM])\.? ?Sc\.(?![A-Za-z])", lambda m: None if follows_word(m) else f"{m[1]}.S.C."),
    rule("l", r"Ph\.? ?D(?:\.|(?![A-Za-z]))", _degree),
    rule("l", r"(?:[A-Za-z]\.){2,}(?:[A-Za-z](?![A-Za-z]))?", _dotted),
    rule("l", r"([A-Z])\.", _initial),
    rule("l", rf"({short})\.", _abbreviation, any_case=True),
    rule("l", rf"({'|'.join(WITHOUT_POINT)})(?![\w.'-])", _bare),
    rule("l", rf"({'|'.join(SLASHED)})(?![\w/])", _slashed, any_case=True),
    rule("l", r"(w/)(?=[a-z]{2})", _slashed),
    rule("l", rf"({PRONOUN})/(?={PRONOUN}(?![\w/]))", lambda m: f"{m[1]} or", any_case=True),
)
