"""Signs that have a name, and pictures that have none to be said."""

from __future__ import annotations

import re
import unicodedata

from .rules import Rule, after, before, rule

NAMES = {
    "&": "and",
    "@": "at",
    "+": "plus",
    "=": "equals",
    "<": "less than",
    ">": "greater than",
    "/": "slash",
    "\\": "backslash",
    "^": "to the power of",
    "%": "percent",
    "×": "times",
    "÷": "divided by",
    "−": "minus",
    "±": "plus or minus",
    "∓": "minus or plus",
    "∞": "infinity",
    "√": "the square root of",
    "∑": "the sum of",
    "∫": "the integral of",
    "∂": "partial",
    "∆": "delta",
    "∈": "in",
    "∴": "therefore",
    "·": "times",
    "⁄": "over",
    "→": "to",
    "⇒": "implies",
    "←": "left arrow",
    "↑": "up arrow",
    "↓": "down arrow",
    "↔": "to and from",
    "©": "copyright",
    "®": "registered",
    "™": "trademark",
    "§": "section",
    "¶": "paragraph",
    "°": "degrees",
    "¢": "cents",
    "‰": "per thousand",
    "✓": "check",
    "✔": "check",
    "♯": "sharp",
    "♭": "flat",
    "№": "number",
    "℅": "care of",
    "′": "prime",
    "″": "double prime",
}
SILENT = set("\"'()[]{}«»„“”‘’`|-_–¡¿†‡•‣◦⁃▪■□●○◆◇►▶★☆*~·‹›※¦") | {"\ufffc"}


def name(sign: str) -> str | None:
    """What one sign is called; a Greek letter has its own name. Nothing for a picture.

    >>> name("÷"), name("π"), name("😀")
    ('divided by', 'pi', None)
    """
    if sign in NAMES:
        return NAMES[sign]
    found = re.fullmatch(
        r"GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)(?: WITH .*)?", unicodedata.name(sign, "")
    )
    return found[1].lower().replace("lamda", "lambda") if found else None


def _tilde(match: re.Match[str]) -> str:
    return "about" if re.match(r" ?[$€£]?\d", after(match)) else ""


def _number_sign(match: re.Match[str]) -> str:
    return (
        "number" if re.match(r" ?\d", after(match)) else "sharp" if before(match)[-1:].isupper() else "hash"
    )


RULES: tuple[Rule, ...] = (
    rule("s", r"--+", lambda _: "—"),
    rule("s", r" [-–](?= |\n|$)", lambda _: "—"),
    rule("s", r"\.\.\.+", lambda _: "…"),
    rule("s", r"\.(?=[A-Za-z])", lambda m: None if re.search(r"[\w.!?]$", before(m)) else "dot"),
    rule("s", r"~", _tilde),
    rule("s", r"#", _number_sign),
    rule("s", r"_(?=[A-Za-z0-9])", lambda m: "underscore" if before(m)[-1:].isalnum() else ""),
    rule("s", r"·", lambda m: "times" if re.search(r"\d ?$", before(m)) else ""),
)
