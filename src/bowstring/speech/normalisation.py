"""Text as it is read out: numbers, money, times, units and abbreviations become words.

`read_out` gives words and punctuation marks; nothing that a reader would say is left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = ("", "", *"twenty thirty forty fifty sixty seventy eighty ninety".split())
SCALES = ("", *"thousand million billion trillion quadrillion".split())
ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
PARTS = {2: "half", 3: "third", 4: "quarter"}
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
    "gen": "general",
    "capt": "captain",
    "lt": "lieutenant",
    "col": "colonel",
    "rev": "reverend",
    "no": "number",
    "fig": "figure",
    "vol": "volume",
    "ave": "avenue",
    "blvd": "boulevard",
    "rd": "road",
    "mt": "mount",
    "jan": "January",
    "feb": "February",
    "mar": "March",
    "apr": "April",
    "aug": "August",
    "sept": "September",
    "sep": "September",
    "oct": "October",
    "nov": "November",
    "dec": "December",
    "inc": "incorporated",
    "ltd": "limited",
    "co": "company",
}
ONLY_BEFORE_A_NAME = {"st", "gen", "col", "rev", "mt", "lt", "capt"}
ONLY_BEFORE_A_NUMBER = {
    "no",
    "fig",
    "vol",
    "mar",
    "apr",
    "jan",
    "feb",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
}
UNITS = {
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "m": ("meter", "meters"),
    "kg": ("kilogram", "kilograms"),
    "g": ("gram", "grams"),
    "mg": ("milligram", "milligrams"),
    "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "ft": ("foot", "feet"),
    "mph": ("mile per hour", "miles per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "ml": ("milliliter", "milliliters"),
    "l": ("liter", "liters"),
    "ms": ("millisecond", "milliseconds"),
    "s": ("second", "seconds"),
    "min": ("minute", "minutes"),
    "h": ("hour", "hours"),
    "Hz": ("hertz", "hertz"),
    "kHz": ("kilohertz", "kilohertz"),
    "kB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"),
    "GB": ("gigabyte", "gigabytes"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
}
MONEY = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny")}
SYMBOLS = {"&": "and", "@": "at", "+": "plus", "=": "equals", "#": "number", "*": "times", "<": "less than"}
SYMBOLS |= {
    ">": "greater than",
    "/": "slash",
    "\\": "backslash",
    "_": " ",
    "~": "about",
    "^": "to the power of",
}
MARKS = ".,;:!?—…"
NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
LARGE = "hundred|thousand|million|billion|trillion"


def cardinal(n: int) -> str:
    """
    >>> cardinal(1042)
    'one thousand forty-two'
    """
    if n < 0:
        return f"minus {cardinal(-n)}"
    if n >= 10 ** (3 * len(SCALES)):
        return digits(str(n))
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{ONES[n // 100]} hundred" + (f" {cardinal(n % 100)}" if n % 100 else "")
    size = (len(str(n)) - 1) // 3
    high, low = divmod(n, 1000**size)
    return f"{cardinal(high)} {SCALES[size]}" + (f" {cardinal(low)}" if low else "")


def ordinal(n: int) -> str:
    """
    >>> ordinal(22), ordinal(40), ordinal(112)
    ('twenty-second', 'fortieth', 'one hundred twelfth')
    """
    head, mark, last = re.fullmatch(r"(.*?)([- ]?)([a-z]+)", cardinal(n)).groups()  # type: ignore[union-attr]
    word = ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return head + mark + word


def year(n: int) -> str:
    """
    >>> year(1905), year(2000), year(2024), year(1800)
    ('nineteen oh five', 'two thousand', 'twenty twenty-four', 'eighteen hundred')
    """
    high, low = divmod(n, 100)
    if n < 1100 or n > 2099 or 2000 <= n < 2010:
        return cardinal(n)
    return f"{cardinal(high)} " + ("hundred" if not low else f"oh {ONES[low]}" if low < 10 else cardinal(low))


def digits(text: str) -> str:
    """
    >>> digits("007")
    'zero zero seven'
    """
    return " ".join(ONES[int(c)] for c in text if c.isdecimal())


def number(text: str) -> str:
    """
    >>> number("1,250"), number("3.05"), number("007")
    ('one thousand two hundred fifty', 'three point zero five', 'zero zero seven')
    """
    whole, _, part = text.replace(",", "").partition(".")
    if (len(whole) > 1 and whole.startswith("0")) or len(whole) > 18:
        return digits(whole)
    return cardinal(int(whole or 0)) + (f" point {digits(part)}" if part else "")


def is_one(text: str) -> bool:
    return text.replace(",", "") in ("1", "1.0")


def _money(match: re.Match[str]) -> str:
    sign, amount, large = match.groups()
    (unit, small), plural = MONEY[sign], "pence" if sign == "£" else "cents"
    if large:
        return f"{number(amount)} {large} {unit}s"
    whole, _, part = amount.partition(".")
    said = f"{number(whole)} {unit}{'' if is_one(whole) else 's'}"
    if len(part) == 2 and int(part):
        said += f" and {cardinal(int(part))} {small if int(part) == 1 else plural}"
    elif part and int(part):
        said = f"{number(amount)} {unit}s"
    return said


def _time(match: re.Match[str]) -> str:
    hour, minute, half = match.groups()
    if int(hour) > 24 or int(minute) > 59:
        return f"{number(hour)} to {number(minute)}"
    said = cardinal(int(hour))
    said += " o'clock" if not int(minute) and not half else ""
    said += (
        f" oh {ONES[int(minute)]}"
        if 0 < int(minute) < 10
        else f" {cardinal(int(minute))}"
        if int(minute)
        else ""
    )
    return f"{said} {half[0].lower()} m" if half else said


def _date(match: re.Match[str]) -> str:
    months = "January February March April May June July August September October November December".split()
    y, m, d = (int(part) for part in match.groups())
    return f"{months[m - 1]} {ordinal(d)}, {year(y)}" if 1 <= m <= 12 and 1 <= d <= 31 else match[0]


def _unit(match: re.Match[str]) -> str:
    amount, unit = match.groups()
    return f"{number(amount)} {UNITS[unit][not is_one(amount)]}"


def _fraction(match: re.Match[str]) -> str:
    above, below = int(match[1]), int(match[2])
    if not 2 <= below <= 20 or above >= below:
        return f"{cardinal(above)} over {cardinal(below)}"
    word = PARTS.get(below) or ordinal(below)
    return f"{cardinal(above)} {word if above == 1 else 'halves' if below == 2 else word + 's'}"


def _plain(match: re.Match[str]) -> str:
    text = match[0]
    if len(text) == 4 and text.isdecimal() and 1100 <= int(text) <= 2099:
        return year(int(text))
    return number(text)


def _decade(match: re.Match[str]) -> str:
    said = year(int(match[1]))
    return said[:-1] + "ies" if said.endswith("y") else said + "s"


def _abbreviation(match: re.Match[str]) -> str:
    word, after = match[1], match.string[match.end() : match.end() + 2].lstrip()
    low = word.lower()
    if low == "st" and re.search(r"[A-Z]\w+ $", match.string[: match.start()]) and not after[:1].isupper():
        return "Street."
    if (low in ONLY_BEFORE_A_NAME and not after[:1].isupper()) or (
        low in ONLY_BEFORE_A_NUMBER and not after[:1].isdecimal()
    ):
        return match[0]
    return ABBREVIATIONS[low]


_units = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_short = "|".join(sorted(ABBREVIATIONS, key=len, reverse=True))
HALF = r"(?:\.[Mm]\.(?=[,;:!?]|\s+[a-z])|\.?[Mm]\b)"  # of the day; its last point may end the sentence, too
RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"\be\.g\.,?"), lambda _: "for example,"),
    (re.compile(r"\bi\.e\.,?"), lambda _: "that is,"),
    (re.compile(r"\b([A-Z])\.(?=[A-Z]\.)"), lambda m: f"{m[1]} "),
    (re.compile(rf"\b({_short})\.", re.IGNORECASE), _abbreviation),
    (re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b"), _date),
    (re.compile(rf"([$€£])({NUMBER})(?:\s({LARGE})\b)?"), _money),
    (re.compile(rf"\b(\d{{1,2}}):(\d{{2}})(?:\s?([AaPp]){HALF})?"), _time),
    (re.compile(rf"\b(\d{{1,2}})\s?([AaPp]){HALF}"), lambda m: f"{cardinal(int(m[1]))} {m[2].lower()} m"),
    (re.compile(r"\b(\d{3}0)s\b"), _decade),
    (re.compile(r"(?<![\w.])[-−](?=\d)"), lambda _: "minus "),
    (re.compile(rf"(?<![\w.])({NUMBER})\s?({_units})(?![\w])"), _unit),
    (re.compile(r"\b(\d+)(?:st|nd|rd|th)\b"), lambda m: ordinal(int(m[1]))),
    (re.compile(r"(?<![\w/])(\d{1,3})/(\d{1,3})(?![\w/])"), _fraction),
    (re.compile(r"(?<=\d)\s?[-–]\s?(?=\d)"), lambda _: " to "),
    (re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])"), lambda _: " "),
    (re.compile(rf"\b{NUMBER}"), _plain),
    (re.compile(r"\s[-–]\s|--+"), lambda _: "—"),
    (re.compile(r"\.\.\.+"), lambda _: "…"),
)
TOKEN = re.compile(rf"[A-Za-z]+(?:'[A-Za-z]+)*|[{MARKS}]|[^\s\w]", re.ASCII)


def read_out(text: str) -> list[str]:
    """Words and punctuation marks in the order in which they are read.

    >>> " ".join(read_out("Dr. Lee paid $3.50 at 7:05 pm."))
    'Doctor Lee paid three dollars and fifty cents at seven oh five p m .'
    """
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'").replace("\u2018", "'")
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    for pattern, said in RULES:
        text = pattern.sub(lambda match, said=said: _cased(match[0], said(match)), text)  # type: ignore[misc]
    out: list[str] = []
    for token in TOKEN.findall(text):
        if token in SYMBOLS:
            out += SYMBOLS[token].split()
        elif token[0].isalpha() or token in MARKS:
            out.append(token)
    return out


def _cased(was: str, said: str) -> str:
    """What replaces a capitalised word is capitalised."""
    return said[0].upper() + said[1:] if was[:1].isupper() and said else said
