"""What is reckoned: operators, comparisons, powers, and the dash that is a minus or a range."""

from __future__ import annotations

import re

from .numbers import DASH, number
from .rules import Rule, after, before, rule
from .units import UNIT, UNITS

COMPARED = {
    "≠": "is not equal to",
    "!=": "is not equal to",
    "≥": "greater than or equal to",
    ">=": "greater than or equal to",
    "≤": "less than or equal to",
    "<=": "less than or equal to",
    "≈": "is about",
    "≡": "is equivalent to",
    "≪": "much less than",
    "≫": "much greater than",
}
COMBINED = {
    "==": "equals",
    "=>": "implies",
    "->": "to",
    "<-": "from",
    "+/-": "plus or minus",
    "+-": "plus or minus",
}
COMBINED |= {"++": "plus plus", "//": "slash slash", "&&": "and", "||": "or"}
OPERAND_BEFORE, OPERAND_AFTER = r"(?:\d|\b[A-Za-z]|\)) ?$", r" ?(?:\d|[A-Za-z]\b|\()"
MEASURED = re.compile(r"(?:^|[^A-Za-z\d])[\d.,:]*\d ?(?:[%°€£¥¢)'\"]|[A-Za-z°.]{1,4})?$")  # F-16 is not
ASKED = ("what is", "what's", "calculate", "compute", "solve", "much is")
OPERATED, EQUATED = re.compile(r"[=+*×÷][\w .()]*$"), re.compile(r"[\w .()+*/×÷-]*=")
NUMBER_LENGTH = 20  # characters that tell a number with its unit from a name
SIZED = re.compile(r"[\d.,]+ ?(?:[x×]|(?:feet|foot|ft|m|cm|mm|km|in|inch|inches|meters?|pixels?|px)\b)")


def power(text: str) -> str:
    """
    >>> power("2"), power("-5"), power("n")
    ('squared', 'to the power of minus five', 'to the power of n')
    """
    if text in ("2", "3"):
        return {"2": "squared", "3": "cubed"}[text]
    sign = "minus " if text[0] in "-−" else ""
    rest = text.lstrip("-−+")
    return f"to the power of {sign}{number(rest) if rest[0].isdecimal() else rest}"


def _power(match: re.Match[str]) -> str:
    unit = f" {UNITS[match[2]][1]}" if match[2] else ""
    return power(match[1]) + unit


LABELS = "item step room number no. page part day level gate platform exercise question unit".split()
LABELLED = re.compile(rf"(?:[#№] ?|\b(?:{'|'.join(map(re.escape, LABELS))}) )\d+$", re.IGNORECASE)


def _dash(match: re.Match[str]) -> str | None:
    """A dash between numbers: to, or minus where something is reckoned."""
    left, right = before(match), after(match)
    if match[0].strip() == "-" and re.search(OPERAND_BEFORE, left[-3:]) and _is_reckoned(left, right):
        return "minus"
    if (match[0].strip() == "—" and match[0].endswith(" ")) or (match[0] == " – " and LABELLED.search(left)):
        return None
    return "to" if MEASURED.search(left[-NUMBER_LENGTH:]) and re.match(r"[$€£¥₹]?\.?\d", right) else None


def _is_reckoned(left: str, right: str) -> bool:
    """Whether a question, another operator or an equals sign shows that somebody calculates."""
    asked = left.lower().rstrip("0123456789 .,+*/×÷()-").endswith(ASKED)
    return bool(asked or OPERATED.search(left) or ("=" in right and EQUATED.match(right)))


def _by(match: re.Match[str]) -> str | None:
    """The x between or behind numbers: sizes are three by four, products three times four."""
    right, sign = after(match), match[0].strip()
    if not before(match)[-1:].isdecimal():
        return None
    if not right[:1].isdecimal():
        return "times" if re.match(r" [a-z]{2}", right) else None
    if SIZED.match(right):
        return "by"
    product = re.match(r"[\d.,]+ ?[=^]", right) or (sign == "×" and match[0][0] == " ")
    return "times" if product else "by"


def _star(match: re.Match[str]) -> str:
    if re.search(OPERAND_BEFORE, before(match)) and re.match(OPERAND_AFTER, after(match)):
        return "times" if len(match[0]) == 1 else "to the power of"
    alone = before(match)[-1:] in ("", " ") and after(match)[:1] in ("", " ") and len(match[0]) == 1
    return "star" if alone else ""


def _minus(match: re.Match[str]) -> str | None:
    """A hyphen before a number, where nothing stands in front of it."""
    return None if re.search(r"[\w)\]%°'\"]$", before(match)[-1:]) else "minus"


def _compared(match: re.Match[str]) -> str:
    said = COMPARED[match[0]]
    verb = re.search(r"\b(?:is|are|be|was|were) ?$", before(match))
    return said.removeprefix("is ") if verb else said


def either(signs: dict[str, str]) -> str:
    """A pattern for any of these, the longest first."""
    return "|".join(re.escape(sign) for sign in sorted(signs, key=len, reverse=True))


POWER = r"\^\(?([-−+]?(?:\d{1,9}|[A-Za-z])(?![A-Za-z]))\)?"
RULES: tuple[Rule, ...] = (
    rule("s", rf"{POWER}(?: ?({UNIT}))?", _power),
    rule("s", DASH, _dash),
    rule("ls", r" ?[x×](?: ?(?=\d)|(?![\w]))", _by),
    rule("s", r"-(?=[$€£¥₹]?\.?\d)", _minus),
    rule("s", r" / (?=\d)", lambda m: "divided by" if re.search(r"[\d)]$", before(m)) else None),
    rule("s", r"\*{1,2}", _star),
    rule("s", either(COMPARED), _compared),
    rule("s", either(COMBINED), lambda m: COMBINED[m[0]]),
)
