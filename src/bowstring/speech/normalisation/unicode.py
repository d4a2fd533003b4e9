"""Text in many forms of writing as plain letters and signs, without a change of what it says."""

from __future__ import annotations

import html
import re
import unicodedata

LETTERS = {
    "ß": "ss",
    "ẞ": "SS",
    "æ": "ae",
    "Æ": "Ae",
    "œ": "oe",
    "Œ": "Oe",
    "þ": "th",
    "Þ": "Th",
    "ð": "d",
    "Ð": "D",
    "đ": "d",
    "Đ": "D",
    "ı": "i",
    "ŋ": "ng",
    "Ŋ": "Ng",
    "ə": "a",
    "Ə": "A",
    "ĸ": "k",
    "ʻ": "'",
    "ʼ": "'",
    "ʾ": "",
    "ʿ": "",
}
SIGNS = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201b": "'",
    "\u02bc": "'",
    "\uff07": "'",
    "\u2032": "'",
    "\u00b4": "'",
    "\u0060": "`",
    "\u02b9": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u201f": '"',
    "\u2033": '"',
    "\u02ba": '"',
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "–",
    "\u2015": "—",
    "\u2043": "•",
    "\u02da": "°",  # the ring above, typed for the degree
    "\u00ba": "°",
    "\u2103": "°C",
    "\u2109": "°F",
    "\u2044": "⁄",
    "\u2122": "™",
    "\u2116": "№ ",
    "\u2126": "Ω",
    "\u00b5": "μ",
    "\u2028": "\n",
    "\u2029": "\n\n",
    "\u0085": "\n",
    "\r": "\n",
    "\u3002": ". ",
    "\u3001": ", ",
    "\u2025": "…",
}
UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff\u200e\u200f\ufe0e\ufe0f\u061c\u180e"))
UNSEEN |= dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ"
PLAIN = "0123456789+-ni"
FORMULA = re.compile("(?<![A-Za-z])[A-Z][A-Za-z₀-₉]{0,40}[₀-₉][A-Za-z₀-₉]{0,40}")
ELEMENT = re.compile("[A-Z][a-z]?[₀-₉]*|[a-z₀-₉]+")
RAISED = re.compile(f"[{SUPERSCRIPTS}]+")
VULGAR = re.compile(r"(\d?)([¼½¾⅐-⅞↉])")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
KEPT = set("™№…‥") | set(SUPERSCRIPTS)


def folded(text: str) -> str:
    """Plain letters, ASCII digits and quotes; signs stay; nothing is dropped but what cannot be seen.

    >>> folded("2½ cups, 5², 25˚C, København")
    '2 1⁄2 cups, 5^2, 25°C, Kobenhavn'
    """
    text = ENTITY.sub(lambda match: html.unescape(match[0]), text).replace("\r\n", "\n").translate(UNSEEN)
    if text.isascii():
        return text
    text = FORMULA.sub(lambda match: " ".join(ELEMENT.findall(match[0])), text)
    text = RAISED.sub(_raised, text)
    text = VULGAR.sub(
        lambda m: (
            f"{m[1]} {unicodedata.normalize('NFKC', m[2])}" if m[1] else unicodedata.normalize("NFKC", m[2])
        ),
        text,
    )
    return "".join(map(_plain, unicodedata.normalize("NFC", text)))


def _raised(match: re.Match[str]) -> str:
    """An exponent, or the number of a footnote behind a word or a mark, which is not read."""
    text = "".join(PLAIN[SUPERSCRIPTS.index(c)] for c in match[0])
    return "^" + text


def _plain(c: str) -> str:
    if c.isascii():
        return c
    if c in SIGNS:
        return SIGNS[c]
    if c in LETTERS:
        return LETTERS[c]
    if c.isdecimal():
        return str(unicodedata.decimal(c))
    return _latin(c) or _compatible(c)


def _latin(c: str) -> str:
    """The letter under a mark, a stroke or a hook; empty for all else."""
    bare = unicodedata.normalize("NFKD", c)
    if bare[0].isascii() and bare[0].isalpha() and all(map(unicodedata.combining, bare[1:])):
        return bare[0]
    found = re.match(r"LATIN (SMALL|CAPITAL) LETTER ([A-Z]) WITH ", unicodedata.name(c, ""))
    return "" if not found else found[2] if found[1] == "CAPITAL" else found[2].lower()


def _compatible(c: str) -> str:
    """Ligatures, wide letters, circled digits and odd spaces in their plain form."""
    if unicodedata.combining(c) and not unicodedata.name(c, "").startswith(
        ("ARABIC", "HEBREW", "DEVANAGARI")
    ):
        return ""
    plain = unicodedata.normalize("NFKC", c)
    return plain if plain.isascii() or len(plain) > 1 else c
