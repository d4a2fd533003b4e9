"""Numbers as words: cardinals, ordinals, years, fractions, powers, and numbers as people group them."""

from __future__ import annotations

import re

from .rules import Rule, after, before, follows_word, rule, word_after, word_before

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
PARTS = {2: "half", 3: "third", 4: "quarter", 100: "hundredth", 1000: "thousandth"}
FIXED = {(24, 7): "twenty-four seven", (50, 50): "fifty fifty", (20, 20): "twenty twenty"}
FIXED |= {(9, 11): "nine eleven", (7, 11): "seven eleven"}
NUMBER = (
    r"(?:\d{1,3}(?:\.\d{3})+,\d\d?|\d{1,3}(?:\.\d{3}){2,}|\d{1,2}(?:,\d\d)+,\d{3}"
    r"|\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+|(?:'\d{3})+)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?!\d)"
)
DECIMAL = rf"(?:\d+,\d\d?(?!\d)|{NUMBER})"  # with a comma, too, before a unit
DASH = r" ?[-–—] ?"
SHORT = {"k": "thousand", "K": "thousand", "M": "million", "mn": "million", "mln": "million", "m": "million"}
SHORT |= {"B": "billion", "b": "billion", "bn": "billion", "T": "trillion", "tn": "trillion"}
LARGE = "hundred|thousand|million|billion|trillion"
COUNTED = r"(?:[a-z]+s|people|men|women|children|sheep|fish|feet)\b"
ROOMS = set(
    "room rooms flight route highway suite apartment channel gate bus boeing office interstate".split()
)
YEAR_AFTER = set(
    "in since of from until till by before after during between year years circa early late mid the "
    "spring summer autumn fall winter class around january february march april may june july august "
    "september october november december jan feb mar apr jun jul aug sep sept oct nov dec".split()
)


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
    return f"{cardinal(high)} " + ("hundred" if not low else two_digits(low))


def two_digits(n: int) -> str:
    """
    >>> two_digits(5), two_digits(90)
    ('oh five', 'ninety')
    """
    return f"oh {ONES[n]}" if n < 10 else cardinal(n)


def digits(text: str) -> str:
    """
    >>> digits("007")
    'zero zero seven'
    """
    return " ".join(ONES[int(c)] for c in text if c.isdecimal())


def ungrouped(text: str) -> str:
    """A number without its marks of grouping, a point before its decimals.

    >>> ungrouped("1,250.5"), ungrouped("10.000.000"), ungrouped("1.250,5"), ungrouped("3,50")
    ('1250.5', '10000000', '1250.5', '3.50')
    """
    if text.isdecimal():
        return text
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d+|\d+,\d\d?", text):
        return text.replace(".", "").replace(",", ".")
    if text.count(".") > 1:
        text = text.replace(".", "")
    return re.sub("[, ']", "", text)


def number(text: str) -> str:
    """
    >>> number("1,250"), number("3.05"), number("007")
    ('one thousand two hundred fifty', 'three point zero five', 'zero zero seven')
    """
    whole, _, part = ungrouped(text).partition(".")
    if (len(whole) > 1 and whole.startswith("0")) or len(whole) > 18:
        said = digits(whole)
    else:
        said = cardinal(int(whole or 0))
    return said + (f" point {digits(part)}" if part else "")


def is_one(text: str) -> bool:
    """Whether what is counted stays in the singular."""
    return ungrouped(text) in ("1", "1.0")


def fraction(above: int, below: int) -> str:
    """
    >>> fraction(3, 4), fraction(1, 2), fraction(5, 3), fraction(7, 30)
    ('three quarters', 'one half', 'five thirds', 'seven over thirty')
    """
    if not 2 <= below <= 20 and below not in PARTS:
        return f"{cardinal(above)} over {cardinal(below)}"
    word = PARTS.get(below) or ordinal(below)
    return f"{cardinal(above)} {word if above == 1 else 'halves' if below == 2 else word + 's'}"


def mixed(whole: str, above: int, below: int) -> str:
    """
    >>> mixed("2", 1, 2), mixed("3", 3, 4)
    ('two and a half', 'three and three quarters')
    """
    part = fraction(above, below)
    return f"{cardinal(int(whole))} and {'a' + part[3:] if part in ('one half', 'one quarter') else part}"


def _fraction(match: re.Match[str]) -> str | None:
    whole, above, below = match[1], int(match[2]), int(match[3])
    if follows_word(match):
        return None
    if whole:
        return mixed(whole, above, below)
    if (above, below) in FIXED:
        return FIXED[above, below]
    rated = above > 1 and not re.match(r" (?:of|cup|inch|mile)", after(match))
    if re.match(" ?=", after(match)):
        return f"{cardinal(above)} divided by {cardinal(below)}"
    if "/" in match[0] and (above == below or (below in (10, 100) and rated)):
        return f"{cardinal(above)} out of {cardinal(below)}"
    return fraction(above, below) if below else f"{cardinal(above)} over zero"


def _scientific(match: re.Match[str]) -> str | None:
    if follows_word(match):
        return None
    size = ("minus " if match[2] == "-" else "") + cardinal(int(match[3]))
    return f"{number(match[1])} times ten to the power of {size}"


def _short_scale(match: re.Match[str]) -> str | None:
    amount, scale = match[1], match[2]
    if follows_word(match):
        return None
    sure = scale in ("k", "M", "bn", "mn", "mln", "tn")
    if not sure and not re.match(" " + COUNTED, after(match)):
        return None
    if scale in "Tb" or (scale == "B" and not re.match(" [a-z]", after(match))):
        return None
    return f"{number(amount)} {SHORT[scale]}"


def _ordinal(match: re.Match[str]) -> str:
    return ordinal(int(ungrouped(match[1])))


def _plain(match: re.Match[str]) -> str:
    text, previous = match[0], word_before(match).lower()
    if previous in ("call", "dial", "phone", "ring") and len(text) == 3 and text.isdecimal():
        return digits(text)
    if (previous in ROOMS or before(match)[-1:].isalpha()) and re.fullmatch(r"[1-9]\d{2,3}", text):
        return (
            year(int(text))
            if text.endswith("00")
            else f"{cardinal(int(text[:-2]))} {two_digits(int(text[-2:]))}"
        )
    if previous in ("pin", "code", "zip", "pincode", "passcode") and text.isdecimal() and len(text) > 3:
        return digits(text)
    if is_year(match):
        return year(int(text))
    return number(text)


def is_year(match: re.Match[str]) -> bool:
    """Whether four plain digits are a year, or are said like one."""
    text = match[0]
    if not (len(text) == 4 and text.isdecimal() and 1100 <= int(text) <= 2099):
        return False
    if word_before(match).lower() in YEAR_AFTER or re.search(r"\d{4}(?:[-–—/]| and )$", before(match)):
        return True
    return not re.match(COUNTED, word_after(match))


RULES: tuple[Rule, ...] = (
    rule("ds", rf"({NUMBER})[eE]([-+−]?)(\d{{1,4}})(?!\w|\.\d)", _scientific),
    rule("d", r"(?:(\d{1,3})[ -])?(\d{1,3})[/⁄](\d{1,4})(?![\d/⁄\w])", _fraction),
    rule("d", r"(\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:st|nd|rd|th|ST|ND|RD|TH)(?![A-Za-z0-9])", _ordinal),
    rule("ds", rf"({NUMBER}) ?(k|K|mln|mn|M|B|bn|tn|m)(?![\w])", _short_scale),
    rule("ds", NUMBER, _plain),
)
