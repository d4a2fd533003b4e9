"""Dates, decades, eras and times of the day."""

from __future__ import annotations

import re

from .numbers import DASH, cardinal, ordinal, two_digits, year
from .rules import Rule, after, before, follows_word, rule, sentence_ends, word_after, word_before

MONTHS = "January February March April May June July August September October November December".split()
MONTH_OF = {name: name for name in MONTHS} | {name[:3]: name for name in MONTHS} | {"Sept": "September"}
MONTH = rf"({'|'.join(sorted(MONTH_OF, key=len, reverse=True))})(?![A-Za-z])"
DAYS = {"Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday"}
DAYS |= {"Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday"}
WEEKDAY = "|".join(sorted(DAYS, key=len, reverse=True))
YEAR = r"(\d{4})(?![\d-])"
HALF = r"([AaPp])(?:\.[Mm]\.?|[Mm](?![A-Za-z]))"
ZONES = {"EST": "E.S.T.", "EDT": "E.D.T.", "PST": "P.S.T.", "PDT": "P.D.T.", "CST": "C.S.T.", "CET": "C.E.T."}
ZONES |= {
    "GMT": "G.M.T.",
    "UTC": "U.T.C.",
    "BST": "B.S.T.",
    "MST": "M.S.T.",
    "CEST": "C.E.S.T.",
    "ET": "E.T.",
}
ZONES |= {"PT": "P.T.", "CT": "C.T.", "Z": "U.T.C."}


def day_of(month: int, day: int) -> str | None:
    """
    >>> day_of(3, 5)
    'March fifth'
    """
    return f"{MONTHS[month - 1]} {ordinal(day)}" if 1 <= month <= 12 and 1 <= day <= 31 else None


def full_year(text: str) -> int:
    """
    >>> full_year("24"), full_year("99"), full_year("1905")
    (2024, 1999, 1905)
    """
    n = int(text)
    return n if len(text) > 2 else n + (2000 if n < 60 else 1900)


def _iso(match: re.Match[str]) -> str | None:
    said = day_of(int(match[2]), int(match[3]))
    return f"{said}, {year(int(match[1]))}" if said and not follows_word(match) else None


def _moment(match: re.Match[str]) -> str | None:
    """A date and a time as machines write them."""
    said, hour, minute = _iso(match), int(match[4]), int(match[5])
    if not said or hour > 24 or minute > 59:
        return None
    return f"{said}, at {clock(hour, minute)}" + (" U.T.C." if match[6] else "")


def _slashed(match: re.Match[str]) -> str | None:
    first, second = int(match[1]), int(match[2])
    said = day_of(first, second) or day_of(second, first)
    return f"{said}, {year(full_year(match[3]))}" if said and not follows_word(match) else None


def _short_slashed(match: re.Match[str]) -> str | None:
    if word_before(match).lower() not in ("on", "until", "since", "by", "before", "after", "from", "due"):
        return None
    return day_of(int(match[1]), int(match[2]))


def _pointed(match: re.Match[str]) -> str | None:
    said = day_of(int(match[2]), int(match[1]))
    return f"{said}, {year(full_year(match[3]))}" if said and not follows_word(match) else None


def _day_first(match: re.Match[str]) -> str | None:
    day, last, month, when = match.groups()
    if follows_word(match) or not 1 <= int(day) <= 31 or (match[0][len(day)] != "." and not _dated(match)):
        return None
    article = "" if word_before(match).lower() == "the" else "the "
    upto = f" to {ordinal(int(last))}" if last else ""
    return f"{article}{ordinal(int(day))}{upto} of {MONTH_OF[month]}" + (
        f", {year(int(when))}" if when else ""
    )


def _dated(match: re.Match[str]) -> bool:
    """`May` and `March` behind a number are months unless they begin something else."""
    return match[3] not in ("May", "March", "Mar") or bool(match[4]) or not word_after(match)[:1].islower()


def _month_first(match: re.Match[str]) -> str | None:
    month, day, last, when = match.groups()
    if not 1 <= int(day) <= 31:
        return None
    said = f"{MONTH_OF[month]} {ordinal(int(day))}" + (f" to {ordinal(int(last))}" if last else "")
    return f"{said}, {year(int(when))}" if when else said


def _month(match: re.Match[str]) -> str | None:
    return MONTH_OF[match[1]] if len(match[1]) < 5 and match[1] not in MONTHS else None


def decade(n: int) -> str:
    """
    >>> decade(1990), decade(80), decade(1800), decade(2000)
    ('nineteen nineties', 'eighties', 'eighteen hundreds', 'two thousands')
    """
    said = cardinal(n) if n < 100 else year(n)
    return said[:-1] + "ies" if said.endswith("y") else said + "s"


def _short_decade(match: re.Match[str]) -> str | None:
    quoted, n = match[1] or "'" in match[0], int(match[2])
    near = re.search(
        r"\b(?:the|his|her|their|mid|early|late|my|our|your|and|or|to)[ -]$", before(match), re.I
    )
    unit = re.match(r" (?:timer|delay|break|pause|video|clip|limit)", after(match))
    style = re.match(
        r" (?:music|fashion|style|movie|film|hit|song|pop|rock|era|kid|hair|party|disco|tv|car)", after(match)
    )
    return (
        decade(n) if (quoted or near or style) and n >= 20 and not unit and not follows_word(match) else None
    )


def _short_year(match: re.Match[str]) -> str | None:
    return None if follows_word(match) else two_digits(int(match[1]))


def _seasons(match: re.Match[str]) -> str | None:
    """2019-20: the second year is said in short."""
    first, last = int(match[1]), int(match[2])
    if follows_word(match) or not 1100 <= first <= 2099 or last <= first % 100:
        return None
    return f"{year(first)} to {two_digits(last) if last < 10 else cardinal(last)}"


def _era(match: re.Match[str]) -> str | None:
    number = (
        match.string[max(0, match.start() - 1) : match.start()] == " " and before(match)[-2:-1].isdecimal()
    )
    century = word_before(match).lower() in ("century", "centuries")
    if not (number or century or (match[1][0] == "A" and re.match(r" \d", after(match)))):
        return None
    letters = match[1].replace(".", "")
    point = "." if match[0].endswith(".") and "." in match[1] and sentence_ends(match) else ""
    return f"{'.'.join(letters)}.{' ' + point if point else ''}"


def clock(hour: int, minute: int, half: str | None = None) -> str:
    """
    >>> clock(9, 30, "p"), clock(14, 5), clock(7, 0), clock(14, 0)
    ('nine thirty P.M.', 'fourteen oh five', "seven o'clock", 'fourteen hundred')
    """
    said = cardinal(hour)
    if minute:
        said += f" {two_digits(minute)}"
    elif not half:
        said += " o'clock" if 0 < hour < 13 else " hundred"
    return f"{said} {half.upper()}.M." if half else said


def _half_ends(match: re.Match[str], half: str | None) -> str:
    return " ." if half and match[0].endswith(".") and sentence_ends(match) else ""


def _time(match: re.Match[str]) -> str | None:
    hour, minute, second, half = match.groups()
    if int(hour) > 24 or int(minute) > 59 or follows_word(match):
        return None
    if second:
        said = (
            f"{clock(int(hour), int(minute) or 60).replace('sixty', 'zero zero')} {two_digits(int(second))}"
        )
        return said + (f" {half.upper()}.M." if half else "")
    near = re.match(rf"{DASH}\d", after(match)) or re.search(rf"\d{DASH}$", before(match))
    said = clock(int(hour), int(minute), half)
    if near and not half and int(hour) < 13:
        said = said.replace(" o'clock", "")
    return said + _half_ends(match, half)


def _hour(match: re.Match[str]) -> str | None:
    if int(match[1]) > 12 or follows_word(match):
        return None
    return clock(int(match[1]), 0, match[2]) + _half_ends(match, match[2])


def _ratio(match: re.Match[str]) -> str | None:
    return f"{cardinal(int(match[1]))} to {cardinal(int(match[2]))}" if not follows_word(match) else None


def _zone(match: re.Match[str]) -> str | None:
    timed = re.search(r"(?:\d|[apAP]\.?[mM]\.?) ?$", before(match))
    return ZONES[match[0]] if timed else None


DAY = r"(\d{1,2})(?:st|nd|rd|th)?(?![\d:/%]|[.,]\d)"
RULES: tuple[Rule, ...] = (
    rule("d", r"(\d{4})-(\d\d)-(\d\d)(?![\w-]|\.\w)", _iso),
    rule("d", r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::\d\d(?:\.\d{1,9})?)?(Z?)(?!\w)", _moment),
    rule("d", r"(\d{4})/(\d\d?)/(\d\d?)(?![\w/])", _iso),
    rule("d", r"(\d{1,2})/(\d{1,2})/(\d{4}|\d\d)(?![\w/])", _slashed),
    rule("d", r"(\d{1,2})/(\d{1,2})(?![\w/])", _short_slashed),
    rule("d", r"(\d{1,2})\. ?(\d{1,2})\. ?(\d{4}|\d\d)(?![\w]|\.\d)", _pointed),
    rule(
        "d",
        rf"(\d{{1,2}})(?:\.|st|nd|rd|th)?(?:[-–](\d{{1,2}})\.?)? {MONTH}\.?(?:,? {YEAR})?",
        _day_first,
    ),
    rule("l", rf"{MONTH}\.? {DAY}(?:{DASH}{DAY})?(?:,? {YEAR})?", _month_first),
    rule("l", rf"{MONTH}\.(?= |,|$)", _month),
    rule("l", rf"{MONTH}(?= \d)", _month),
    rule("l", rf"{MONTH}\.?(?=[-–]{MONTH})", lambda m: f"{MONTH_OF[m[1]]} to"),
    rule("l", rf"{MONTH}(?= \d{{4}}|$)", lambda m: MONTH_OF[m[1]] if before(m)[-1:] in ("-", "–") else None),
    rule("l", rf"({WEEKDAY})[-–]({WEEKDAY})(?![A-Za-z])", lambda m: f"{DAYS[m[1]]} to {DAYS[m[2]]}"),
    rule("l", rf"({WEEKDAY})\.?(?=,? (?:{MONTH}|\d))", lambda m: DAYS[m[1]]),
    rule("l", r"(Mon|Tues?|Wed|Thu(?:rs?)?|Fri)\.(?![A-Za-z])", lambda m: DAYS[m[1]]),
    rule("d", r"(\d{3}0)'?s(?![\w])", lambda m: None if follows_word(m) else decade(int(m[1]))),
    rule("ds", r"('?)(\d0)'?s(?![\w])", _short_decade),
    rule("s", r"'(\d\d)(?![\w']|[.,:]\d)", _short_year),
    rule("d", r"(\d{4})[-–/](\d\d)(?![\w-]|[.,:/]\d)", _seasons),
    rule("l", r"(A\.D\.|B\.C\.E\.|B\.C\.|C\.E\.|AD|BCE|BC|CE)(?![A-Za-z])", _era),
    rule("d", rf"(\d{{1,2}}):(\d\d)(?::(\d\d))?(?!\d)(?: ?{HALF})?", _time),
    rule("d", rf"(\d{{1,2}}) ?{HALF}", _hour),
    rule("d", r"(\d{1,3}):(\d{1,6})(?![\w:])", _ratio),
    rule("l", rf"(?:{'|'.join(sorted(ZONES, key=len, reverse=True))})(?![A-Za-z])", _zone),
)
