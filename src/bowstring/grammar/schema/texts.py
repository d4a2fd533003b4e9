"""Strings as expressions: lengths, patterns, formats."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from typing import Any

from .. import regex
from ..automaton import settled
from ..expression import (
    LAST,
    Empty,
    GrammarError,
    Node,
    both,
    chain,
    in_json,
    less,
    literal,
    repeat,
    union,
    without,
)
from .keywords import EXCLUDED, PATTERNS, UNLIKE, Schema, SchemaError, bounds, impossible, quoted, refuse

QUOTE = literal('"')
LONGEST = 400  # characters that are counted
DATE = r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"
TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"
URI = r"https?://[a-z0-9]+([.-][a-z0-9]+)*(/[A-Za-z0-9._~-]*)*"
EMAIL = r"[a-z0-9]+([._-][a-z0-9]+)*@[a-z0-9]+([.-][a-z0-9]+)*\.[a-z]{2,6}"
HOST = r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,20}[a-z0-9])?)*"
POINTER = r"(/[A-Za-z0-9_-]+)*"
FORMATS = {  # each a part of what the format allows
    "date": DATE,
    "time": TIME,
    "date-time": f"{DATE}T{TIME}",
    "duration": r"P(\d{1,3}D|\d{1,3}DT\d{1,2}H|T\d{1,2}H(\d{1,2}M)?|T\d{1,2}M(\d{1,2}S)?|\d{1,2}W)",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "email": EMAIL,
    "idn-email": EMAIL,
    "ipv4": r"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
    "ipv6": r"([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}",
    "hostname": HOST,
    "idn-hostname": HOST,
    "uri": URI,
    "url": URI,
    "iri": URI,
    "uri-reference": URI,
    "iri-reference": URI,
    "uri-template": URI,
    "json-pointer": POINTER,
    "relative-json-pointer": r"(0|[1-9]\d?)" + POINTER,
    "regex": r"\^?[A-Za-z0-9_ -]+\$?",
}


def string(schema: Schema, place: str, longest: int) -> Node:
    """A string in its quotes. longest: characters that a bound may count to; a bound beyond it is met by
    texts within.
    """
    return chain(QUOTE, content(schema, place, longest), QUOTE)


def content(schema: Schema, place: str, longest: int) -> Node:
    least, most = bounds(schema, "minLength", "maxLength", place)
    if least > LONGEST:
        refuse(place, "minLength", f"it is too large; expected at most {LONGEST}")
    described = [*_described(schema, place)]
    most = None if most is None else min(most, max(longest, least))
    if not described or least or most is not None:
        described.append(repeat(in_json(regex.ALL), least, most))
    excluded = [quoted(value, place)[1:-1] for value in schema.get(EXCLUDED, []) if isinstance(value, str)]
    unlike = [_searched(pattern, place) for pattern in schema.get(UNLIKE, [])]
    return _agreed(described, [*map(literal, excluded), *unlike], place)


def _described(schema: Schema, place: str) -> Iterator[Node]:
    patterns = [schema["pattern"]] if "pattern" in schema else []
    for pattern in [*patterns, *schema.get(PATTERNS, [])]:
        yield _searched(pattern, place)
    if (name := schema.get("format")) in FORMATS:
        yield regex.full_match(FORMATS[name], in_json)
    elif isinstance(name, str) and (near := difflib.get_close_matches(name, FORMATS, 1, 0.8)):
        refuse(place, "format", f"{name[:40]!r} is not known. Closest: {near[0]!r}")


def _searched(pattern: Any, place: str) -> Node:
    if not isinstance(pattern, str):
        refuse(place, "pattern", "expected a string")
    try:
        return regex.search(pattern, in_json)
    except GrammarError as error:
        raise SchemaError(f"the schema has 'pattern' at '#{place}': {error}") from None


def _agreed(described: list[Node], excluded: list[Node], place: str) -> Node:
    """What all of some allow and none of others."""
    whole = described[0]
    try:
        for one in described[1:]:
            whole = settled(both(whole, one))
        return settled(less(whole, union(excluded))) if excluded else whole
    except Empty:
        impossible(place, "pattern", "no text fits it together with what stands beside it")


BEGINNINGS = (32, 65, 67, 69, 72, 76, 79, 82, 84, 91, 97, 99, 101, 104, 108, 111, 114, 116, 123)


def rising(schema: Schema, place: str, longest: int) -> list[Node]:
    """Strings by what they begin with, in order: those of two parts are never the same."""
    whole, found = content(schema, place, longest), []
    plain = not {"pattern", PATTERNS, "format", UNLIKE, EXCLUDED, "minLength", "maxLength"} & set(schema)
    for low, following in itertools.pairwise((*BEGINNINGS, LAST + 1)):
        first = without([(low, following - 1)], [(0x22, 0x22), (0x5C, 0x5C)])
        begun = chain(in_json(first), repeat(in_json(regex.ALL), 0, None))
        try:
            found.append(chain(QUOTE, begun if plain else settled(both(whole, begun)), QUOTE))
        except Empty:
            continue
    return found
