"""What machines read: addresses, names of files, versions and telephone numbers, sign by sign."""

from __future__ import annotations

import re

from .numbers import cardinal, digits, number
from .rules import Rule, before, follows_word, rule

SAID = {".": "dot", "/": "slash", ":": "colon", "?": "question mark", "=": "equals", "&": "and", "-": "dash"}
SAID |= {
    "_": "underscore",
    "#": "hash",
    "@": "at",
    "%": "percent",
    "+": "plus",
    "~": "tilde",
    "\\": "backslash",
}
SAID |= {
    ",": "comma",
    ";": "semicolon",
    "!": "exclamation mark",
    "*": "star",
    "$": "dollar",
    "'": "apostrophe",
}
SPELLED = (
    "www http https ftp url id html htm php js css csv pdf xml json txt png jpg mp sql api io uk eu tv cfg py"
)
SPELLED_IN_ADDRESSES = set(
    (SPELLED + " ts svg gif tsv docx xlsx rtf exe dll rs cpp hpp md sh us ru").split()
) - {"gif"}
DOMAINS = (
    "com org net edu gov mil int info biz io ai app dev co uk us eu de fr nl it es at ch be dk se no fi pl "
    "ca au nz jp "
    "cn in br ru tv me xyz example test local localhost invalid tech site online shop blog news cloud"
)
FILES = (
    "pdf csv txt md json xml html htm css js ts py rs c h cpp hpp java go sh bat exe dll zip gz tar png jpg "
    "jpeg gif svg webp mp mp3 mp4 wav flac avi mov doc docx xls xlsx ppt pptx ini cfg toml yaml yml log "
    "parquet safetensors sql db ipynb tex bib php rb rtf iso img bin dat bak tsv epub"
)
LABEL = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}+"  # nothing is given back: time stays linear
HOST = rf"(?:{LABEL}\.){{1,8}}(?:{DOMAINS.replace(' ', '|')})(?![A-Za-z0-9])"
PATH = r"(?:[/?#][^\s<>\"\u201c\u201d|]{0,500})?"
TRAILING = ".,;:!?)'\"]}*"
PIECE = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z0-9]")
STAGE = r"(?:rc|alpha|beta|dev|post|a|b)\d{1,4}"  # of a version that is not out yet
PATIENCE = 2000  # pieces of one address


def spelt(text: str) -> str:
    """Every sign of an address, words as words.

    >>> spelt("t.example/page?id=3")
    't dot example slash page question mark I.D. equals three'
    """
    return " ".join(_piece(piece) for piece in PIECE.findall(text)[:PATIENCE])


def _piece(piece: str) -> str:
    if piece.isdecimal():
        return digits(piece) if piece.startswith("0") or len(piece) > 4 else cardinal(int(piece))
    if piece.lower() in SPELLED_IN_ADDRESSES or (len(piece) == 1 and piece.isalpha()):
        return "".join(f"{c.upper()}." for c in piece) if len(piece) > 1 or piece in "aA" else piece
    return SAID.get(piece, piece)


def _trimmed(text: str) -> tuple[str, str]:
    """An address and the marks behind it that belong to the sentence."""
    kept = text.rstrip(TRAILING)
    return kept, "".join(c for c in text[len(kept) :] if c in ".,;:!?")


def _address(match: re.Match[str]) -> str | None:
    if follows_word(match):
        return None
    kept, marks = _trimmed(match[0])
    return f"{spelt(kept)} {marks}"


def _url(match: re.Match[str]) -> str | None:
    kept, marks = _trimmed(match[1])
    return f"{spelt(kept.rstrip('/'))} {marks}"


def _ip(match: re.Match[str]) -> str | None:
    parts = match[1].split(".")
    if follows_word(match) or any(int(part) > 255 for part in parts):
        return None
    port = f" colon {spelt(match[2])}" if match[2] else ""
    return " dot ".join(map(_octet, parts)) + port


def _octet(part: str) -> str:
    """
    >>> _octet("192"), _octet("10"), _octet("0")
    ('one nine two', 'ten', 'zero')
    """
    return digits(part) if len(part) == 3 else cardinal(int(part))


def _version(match: re.Match[str]) -> str | None:
    named, text, tail = match.groups()
    if follows_word(match):
        return None
    parts = [number(part) for part in text.split(".")]
    said = ("version " if named else "") + " point ".join(parts)
    return f"{said} {stage(tail)}" if tail else said


def stage(tail: str) -> str:
    """How far a version is.

    >>> stage("rc1"), stage("-beta"), stage("b2")
    ('R.C. one', 'beta', 'B. two')
    """
    name, count = re.fullmatch(r"-?([a-z]+)(\d*)", tail).groups()  # type: ignore[union-attr]  # as the rule has it
    said = "".join(f"{c.upper()}." for c in name) if name in ("rc", "a", "b") else name
    return f"{said} {number(count)}" if count else said


def _after_version(match: re.Match[str]) -> str | None:
    """Two numbers behind the name of a program count on: 3.12 is three point twelve."""
    if not re.search(
        r"\b(?:[Vv]ersions?|[Rr]elease|Python|Node|Java|Ubuntu|iOS|macOS|Android|Windows) $", before(match)
    ):
        return None
    return f"{cardinal(int(match[1]))} point {number(match[2])}"


def _phone(match: re.Match[str]) -> str | None:
    groups = re.findall(r"\d+", match[0])
    if follows_word(match) or not 7 <= sum(map(len, groups)) <= 15:
        return None
    return ("plus " if match[0].startswith("+") else "") + ", ".join(map(_digits, groups))


def _digits(group: str) -> str:
    return "eight hundred" if group == "800" else digits(group)


def _short_phone(match: re.Match[str]) -> str | None:
    called = re.search(
        r"\b(?:call|calls|dial|phone|number|tel|telephone|fax|text|ring|is|at|on)\b[.: ]*$",
        before(match),
        re.I,
    )
    return _phone(match) if called or match[1] == "555" else None


def _handle(match: re.Match[str]) -> str | None:
    return None if follows_word(match) else f"{ {'@': 'at', '#': 'hashtag'}[match[1]] } {_camel(match[2])}"


def _camel(text: str) -> str:
    """
    >>> _camel("maria_92"), _camel("ThrowbackThursday")
    ('maria underscore ninety-two', 'Throwback Thursday')
    """
    return spelt(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))


SEGMENT = r"[A-Za-z0-9_.@+~-]{1,80}+"
FILE = (
    rf"(?:{SEGMENT}/){{0,8}}+[A-Za-z0-9_-]{{1,80}}+(?:\.[A-Za-z0-9_-]{{1,40}}+){{0,3}}"
    rf"\.(?:{FILES.replace(' ', '|')})(?![A-Za-z0-9/])"
)
RULES: tuple[Rule, ...] = (
    rule("l", r"(?:https?|ftp)://([^\s<>\"]{1,2000})", _url, any_case=True),
    rule("dls", rf"[A-Za-z0-9._%+-]{{1,64}}+@(?:{LABEL}\.){{0,8}}{LABEL}", _address),
    rule("dl", rf"(?:www\.)?{HOST}(?::\d{{2,5}})?{PATH}", _address, any_case=True),
    rule("d", r"(\d{1,3}(?:\.\d{1,3}){3})(?::(\d{2,5}))?(?![\w]|\.\d)", _ip),
    rule("l", rf"[A-Za-z]:\\(?:{SEGMENT}\\?){{0,20}}", _address),
    rule("s", rf"(?:~|\.{{1,2}})?(?:/{SEGMENT}){{2,20}}/?", _address),
    rule("s", rf"(?:~|\.{{1,2}})/{SEGMENT}", _address),
    rule("dl", FILE, _address),
    rule("s", r"([#@])([A-Za-z][A-Za-z0-9_]{1,60})(?!\w)", _handle),
    rule("s", r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){1,5}(?![\w])", _phone),
    rule("ds", r"(?:1[ .-])?\(\d{3}\) ?\d{3}[ .-]\d{4}(?![\w])", _phone),
    rule("d", r"(?:1[ .-])?\d{3}([ .-])\d{3}\1\d{4}(?![\w])", _phone),
    rule("d", r"0\d{1,4}(?:[ -]\d{2,4}){1,4}(?![\w.])", _phone),
    rule("d", r"(\d{3})-(\d{4})(?![\w-])", _short_phone),
    rule("d", r"\d{1,7}(?:-\d{1,7}){3,8}(?![\w-])", lambda m: ", ".join(map(digits, m[0].split("-")))),
    rule("l", rf"([vV])\.?(\d{{1,4}}(?:\.\d{{1,6}}){{0,4}})(-[a-z]{{2,8}}|{STAGE})?(?![\w])", _version),
    rule(
        "d",
        rf"()(\d{{1,4}}(?:\.\d{{1,6}}){{2,5}})(-[a-z]{{2,8}}|{STAGE})?(?![\w])",
        lambda m: None if _grouped(m[2]) else _version(m),
    ),
    rule("d", r"(\d{1,2})\.(\d{2})(?![\d.]*\d)", _after_version),
)


def _grouped(text: str) -> bool:
    """Whether points part thousands: ten million, as much of Europe writes it."""
    return bool(re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3}){2,}", text))
