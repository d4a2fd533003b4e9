"""Regular expressions over bytes, as trees: what a schema and a pattern become.

Each node knows how many places its automaton takes, so that what is too large is refused while it is written
down, whatever repeats or stands twice in it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

PLACES = 60_000
Ranges = Sequence[tuple[int, int]]  # code points, ends included
LAST = 0x10FFFF


class GrammarError(ValueError):
    """A form that cannot be met, or not within the limits."""


class TooLarge(GrammarError):
    """A form beyond the limits."""


class Empty(GrammarError):
    """A form that no text has."""


@dataclass(frozen=True, eq=False)
class Node:
    """places: how many the automaton needs, before it is made smaller."""

    places: int

    def __post_init__(self) -> None:
        if self.places > PLACES:
            raise TooLarge(
                f"the form needs more than {PLACES} places; use smaller bounds, fewer values or less nesting"
            )


@dataclass(frozen=True, eq=False)
class OneByte(Node):
    """One byte of a set, which is the bits of a number."""

    members: int


@dataclass(frozen=True, eq=False)
class Chain(Node):
    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Choice(Node):
    parts: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Repeat(Node):
    """A part `low` to `high` times; None is without end."""

    part: Node
    low: int
    high: int | None


@dataclass(frozen=True, eq=False)
class Loop(Node):
    """A part once or more, with a separator between."""

    part: Node
    separator: Node


@dataclass(frozen=True, eq=False)
class Joined(Node):
    """Parts in their order with a separator between those that are there; (part, whether it must be).
    At least `least` and at most `most` are there; None is all.
    """

    parts: tuple[tuple[Node, bool], ...]
    separator: Node
    least: int
    most: int | None

    @property
    def lanes(self) -> int:
        """How far it must be counted; the last lane is that many or more."""
        return counted(self.least, self.most)


@dataclass(frozen=True, eq=False)
class Both(Node):
    """What two expressions allow."""

    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Less(Node):
    """What the left one allows and the right one does not."""

    left: Node
    right: Node


@dataclass(frozen=True, eq=False)
class Table(Node):
    """An automaton as it is: the states behind bytes, and whether a text may end in each; 0 is the first."""

    rows: tuple[dict[int, int], ...]
    accepting: tuple[bool, ...]


def byte_range(low: int, high: int) -> Node:
    return OneByte(1, (1 << high + 1) - (1 << low))


def chain(*parts: Node) -> Node:
    return parts[0] if len(parts) == 1 else Chain(sum(part.places for part in parts) + 1, parts)


def union(parts: Iterable[Node]) -> Node:
    """Any of the parts; of none, nothing at all."""
    parts = tuple(parts)
    return parts[0] if len(parts) == 1 else Choice(sum(part.places for part in parts) + 2, parts)


def repeat(part: Node, low: int, high: int | None) -> Node:
    return Repeat((part.places + 1) * max(low + (high is None), high or 0) + 2, part, low, high)


def optional(part: Node) -> Node:
    return repeat(part, 0, 1)


def loop(part: Node, separator: Node) -> Node:
    return Loop(part.places + separator.places + 3, part, separator)


def counted(least: int, most: int | None) -> int:
    return max(least, 1) if most is None else max(most, 1)


def joined(
    parts: Sequence[tuple[Node, bool]], separator: Node, least: int = 0, most: int | None = None
) -> Node:
    most = None if most is None or most >= len(parts) else most
    least = least if least > sum(must for _, must in parts) else 0
    places = sum(part.places + separator.places + 3 for part, _ in parts) * counted(least, most) + 2
    return Joined(places, tuple(parts), separator, least, most)


def both(left: Node, right: Node) -> Node:
    return Both(left.places + right.places, left, right)


def less(left: Node, right: Node) -> Node:
    return Less(left.places + right.places, left, right)


def table(rows: Sequence[dict[int, int]], accepting: Sequence[bool]) -> Node:
    return Table(2 * len(rows), tuple(rows), tuple(accepting))


def literal(text: str | bytes) -> Node:
    data = text.encode() if isinstance(text, str) else text
    if len(data) > PLACES:
        raise GrammarError(f"a text of {len(data)} bytes; expected at most {PLACES}")
    return chain(*(byte_range(byte, byte) for byte in data)) if data else Chain(1, ())


def spans(low: bytes, high: bytes, least: int, most: int) -> Iterator[list[tuple[int, int]]]:
    """Strings of equal length from `low` to `high`, as sequences of ranges; later bytes go from `least` to
    `most`.
    """
    if len(low) == 1:
        yield [(low[0], high[0])]
        return
    tail = len(low) - 1
    if low[0] == high[0]:
        yield from ([(low[0], low[0]), *rest] for rest in spans(low[1:], high[1:], least, most))
        return
    first, last = low[0], high[0]
    if low[1:] != bytes([least] * tail):
        yield from ([(first, first), *rest] for rest in spans(low[1:], bytes([most] * tail), least, most))
        first += 1
    if high[1:] != bytes([most] * tail):
        last -= 1
    if first <= last:
        yield [(first, last)] + [(least, most)] * tail
    if last < high[0]:
        ends = spans(bytes([least] * tail), high[1:], least, most)
        yield from ([(high[0], high[0]), *rest] for rest in ends)


def utf8(ranges: Ranges) -> Node:
    """One character of these, in UTF-8; there are no surrogates."""
    found: list[list[tuple[int, int]]] = []
    for least, most in ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, LAST)):
        for low, high in ranges:
            a, b = max(low, least), min(high, most)
            if a <= b:
                found += spans(chr(a).encode(), chr(b).encode(), 0x80, 0xBF)
    alone = sum((1 << high + 1) - (1 << low) for ((low, high), *rest) in found if not rest)
    longer = [chain(*(byte_range(*pair) for pair in span)) for span in found if len(span) > 1]
    return union([*([OneByte(1, alone)] if alone else []), *longer])


SHORT = {0x22: '\\"', 0x5C: "\\\\", 8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
ESCAPED = {code: f"\\u{code:04x}" for code in range(32)} | SHORT


def in_json(ranges: Ranges) -> Node:
    """One character of these, as `json.dumps(..., ensure_ascii=False)` writes it inside of a string."""
    return _in_json(tuple(ranges))


@functools.lru_cache(256)
def _in_json(ranges: tuple[tuple[int, int], ...]) -> Node:
    escapes = {text.encode() for code, text in ESCAPED.items() if inside(code, ranges)}
    plain = without(ranges, [(code, code) for code in ESCAPED])
    return union([*([utf8(plain)] if plain else []), *([texts(escapes)] if escapes else [])])


def texts(choices: set[bytes]) -> Node:
    """Any of a few short texts, with what they share written once."""
    tails: dict[int, set[bytes]] = {}
    for text in choices - {b""}:
        tails.setdefault(text[0], set()).add(text[1:])
    firsts: dict[frozenset[bytes], int] = {}
    for byte, rest in tails.items():
        firsts[frozenset(rest)] = firsts.get(frozenset(rest), 0) | 1 << byte
    parts = [chain(OneByte(1, members), texts(set(rest))) for rest, members in firsts.items()]
    return union([*parts, *([literal("")] if b"" in choices else [])])


def inside(code: int, ranges: Ranges) -> bool:
    return any(low <= code <= high for low, high in ranges)


def without(ranges: Ranges, others: Ranges) -> list[tuple[int, int]]:
    """Ranges less others."""
    left = normal(ranges)
    for a, b in others:
        cut = []
        for low, high in left:
            cut += [(x, y) for x, y in ((low, min(high, a - 1)), (max(low, b + 1), high)) if x <= y]
        left = cut
    return left


def normal(ranges: Ranges) -> list[tuple[int, int]]:
    """Sorted, none touching another."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(high, made[-1][1]))
        else:
            made.append((low, high))
    return made


Spell = Callable[[Ranges], Node]


@functools.lru_cache(maxsize=256)
def whole_numbers(low: int, high: int) -> Node:
    """Decimal numbers from `low` to `high`, both at least 0."""
    found = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        a, b = max(low, 10 ** (digits - 1) if digits > 1 else 0), min(high, 10**digits - 1)
        ends = str(a).encode(), str(b).encode()
        found += [chain(*(byte_range(*pair) for pair in span)) for span in spans(*ends, 48, 57)]
    return union(found)
