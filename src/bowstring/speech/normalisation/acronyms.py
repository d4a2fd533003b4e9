"""Capitals: which are spelled, which are words, and when they only raise the voice.

Most acronyms stay as they are here: the dictionary of phonemes knows those that are words, and others are
spelled. This table holds what the dictionary would take for another word (`US`, `WHO`).
"""

from __future__ import annotations

import re

from .rules import Rule, after, before, follows_word, letters, rule, shouted, word_after, word_before

SPELLED = (
    "WHO IT US AM ID IDs AD ER LA OR PA MA BA EST LED LEDs ETA SEC COO PhD PhDs OS iOS RIP AC PE CIA DOB ALS"
)
SAID = {name: letters(name.removesuffix("s")) + "s" * name.endswith("s") for name in SPELLED.split()}
SAID |= {"WIFI": "wifi", "WiFi": "wifi", "Wi-Fi": "wifi", "IKEA": "ikea", "JSON": "jason", "YAML": "yamel"}
SAID |= {"macOS": "mac O.S.", "am": "A.M.", "pm": "P.M.", "AA": "double A.", "AAA": "triple A."}
SAID |= {"Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz", "GHz": "gigahertz", "kWh": "kilowatt hours"}
SAID |= {"km/h": "kilometers per hour", "m/s": "meters per second", "mph": "miles per hour"}
COMMON = set(
    "a all and are at be but do for get go has have he her his how i i'm in is it let love me my no not now "
    "of on one or our out she so stop that the they this to up us was we what who why will with yes you "
    "your".split()
)
ARTICLES = set("the a an by in from of at across our their your my its his her with between and".split())
OFFICES = set(
    "department team support staff sector guy company manager specialist professional professionals industry "
    "security infrastructure skills job jobs services desk consultant admin person people project".split()
)
REPORTS = set("guidelines reports data says officials experts estimates recommends declared".split())
VITAMINS = set(
    "vitamin plan grade hepatitis option type class team note an section part group point block gate level "
    "series size letter model appendix exhibit influenza".split()
)
LOWER = "url urls cpu cpus gpu gpus usb api apis ui ux"
SAID |= {name: letters(name.removesuffix("s")) + "s" * name.endswith("s") for name in LOWER.split()}
OPERATOR = "[=+≠≤≥<>×÷*^&/]"


def _acronym(match: re.Match[str]) -> str | None:
    text, own = match[1], match[2] or ""
    if follows_word(match) or (text.isupper() and (shouted(match) or _raised(match))):
        return None
    if text in ("am", "pm") and not re.search(r"\d ?$", before(match)):
        return None
    if text in ("WHO", "IT", "US") and not _named(match):
        return None
    return SAID[text] + own


def _named(match: re.Match[str]) -> bool:
    """Whether it is the office or the country, and not a pronoun with a raised voice."""
    left, right = word_before(match).lower(), word_after(match)
    if before(match).endswith("("):
        return True
    if match[1] == "WHO":
        return left in ARTICLES or right in REPORTS
    noun = bool(right) and right.lower() not in COMMON and not right.endswith(("ed", "ing"))
    return left in ARTICLES or (noun and (match[1] == "US" or right.lower() in OFFICES))


def _raised(match: re.Match[str]) -> bool:
    """Whether capitals only raise the voice: a common word beside them is in capitals, too."""
    beside = (word_before(match), word_after(match))
    if match[1] in ("OR", "AM") and beside[1][:1].islower():
        return True
    return any(word.isupper() and word != "I" and len(word) > 1 and word.lower() in COMMON for word in beside)


def _joined(match: re.Match[str]) -> str | None:
    """AT&T"""
    return None if follows_word(match) else f"{letters(match[1])} and {letters(match[2])}"


def _letter_a(match: re.Match[str]) -> str | None:
    """The letter A, where it is no article."""
    left, right = before(match), after(match)
    if left[-1:].isdecimal():
        return "A." if match[0] == "A" else None
    if follows_word(match):
        return None
    reckoned = re.match(rf"{OPERATOR}| {OPERATOR}|-\d", right) or re.search(rf"{OPERATOR} ?$", left)
    if reckoned:
        return "A."
    named = word_before(match).lower() in VITAMINS or not re.match(r" [A-Za-z\d\"'(]|-", right)
    return "A." if match[0] == "A" and named and re.search(r"[a-z,] $", left) else None


def _model(match: re.Match[str]) -> str | None:
    """Letters and a number: A9, MP3, B-52."""
    return None if follows_word(match) else letters(match[0])


RULES: tuple[Rule, ...] = (
    rule("l", r"([A-Z]{1,3})&([A-Z]{1,3})(?![A-Za-z])", _joined),
    rule("l", rf"({'|'.join(sorted(SAID, key=len, reverse=True))})('s|s)?(?![A-Za-z0-9'/])", _acronym),
    rule("l", r"[Aa](?![A-Za-z'.])(?!\.\w)", _letter_a),
    rule("l", r"[A-Z]{1,4}(?=\d)|[A-Z](?=-\d)", _model),
)
