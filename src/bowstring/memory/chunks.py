"""Files in pieces that can be remembered: headings, paragraphs, or one entry per line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .exchange import FORMAT
from .record import Entry

LONGEST = 1000  # characters of a piece, unless one sentence is longer
ENDINGS = (".txt", ".md", ".jsonl")


def chunks(path: Path) -> Iterator[dict[str, Any]]:
    """Fields of an entry for each piece of a file.

    Raises:
        ValueError: another kind of file, no UTF-8, or a line that is no entry. OSError: it cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected {', '.join(ENDINGS)}")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 at byte {error.start}; expected text") from None
    if kind == ".jsonl":
        yield from _lines(path, text)
        return
    for piece in headed(text) if kind == ".md" else paragraphs(text):
        yield {"text": piece, "source": str(path)}


def headed(text: str) -> Iterator[str]:
    """Pieces of Markdown; each begins with the heading that it stands under."""
    heading = ""
    for section in re.split(r"^(?=#{1,6} )", text, flags=re.MULTILINE):
        first, _, rest = section.partition("\n")
        if first.startswith("#"):
            heading, section = first.strip(), rest
        for piece in paragraphs(section):
            yield f"{heading}\n{piece}" if heading else piece


def paragraphs(text: str) -> Iterator[str]:
    """Neighbouring paragraphs together, up to `LONGEST` characters; longer ones at ends of sentences.

    >>> [*paragraphs("one\\n\\ntwo"), *paragraphs(" ")]
    ['one\\n\\ntwo']
    """
    gathered = ""
    for paragraph in filter(None, map(str.strip, re.split(r"\n\s*\n", text))):
        for piece in _sentences(paragraph):
            if gathered and len(gathered) + len(piece) + 2 > LONGEST:
                yield gathered
                gathered = ""
            gathered += ("\n\n" if gathered else "") + piece
    if gathered:
        yield gathered


def _sentences(paragraph: str) -> Iterator[str]:
    if len(paragraph) <= LONGEST:
        yield paragraph
        return
    gathered = ""
    for sentence in re.split(r"(?<=[.!?。！？])\s+", paragraph):
        if gathered and len(gathered) + len(sentence) + 1 > LONGEST:
            yield gathered
            gathered = ""
        gathered += (" " if gathered else "") + sentence
    yield gathered


def _lines(path: Path, text: str) -> Iterator[dict[str, Any]]:
    """One entry per line: a string, or the fields of an entry by name."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} line {number} is no JSON: {error}") from None
        if not isinstance(found, str | dict):
            raise ValueError(f"{path} line {number} is {type(found).__name__}; expected a string or an entry")
        yield _entry(found, path, number)


def _entry(found: str | dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """Fields of a line's entry.

    Raises:
        ValueError: it has others, or values that no entry has.
    """
    fields = {"source": str(path)} | ({"text": found} if isinstance(found, str) else found)
    if fields.get("format") == FORMAT:
        raise ValueError(f"{path} holds exported memories; `bowstring memories load {path}` reads them")
    try:
        Entry.of(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} line {number}: {error}") from None
    return fields
