"""Numbers as expressions: bounds, digits, multiples.

Numbers with bounds have at most 15 digits in all, so that each is another float and comes back as it was
written: a text beyond a bound never rounds onto it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ..automaton import settled
from ..expression import (
    Empty,
    Node,
    both,
    byte_range,
    chain,
    less,
    literal,
    optional,
    repeat,
    table,
    union,
    whole_numbers,
)
from .keywords import EXCLUDED, OF_NUMBERS, Schema, impossible, numeric, refuse
from .merging import limits

DIGITS = 15
MOST = 10**DIGITS - 1
REMAINDERS = 4_096
DIGIT = byte_range(48, 57)


def integer(schema: Schema, place: str) -> Node:
    low, above, high, below = limits(schema, place)
    least = -MOST if low == -math.inf else math.floor(low) + 1 if above else math.ceil(low)
    most = MOST if high == math.inf else math.ceil(high) - 1 if below else math.floor(high)
    least, most = max(least, -MOST), min(most, MOST)
    if least > most:
        impossible(place, keyword_of(schema), "no whole number of at most 15 digits is left")
    parts = []
    if least < 0:
        parts.append(chain(literal("-"), whole_numbers(max(-most, 1), -least)))
    if most >= 0:
        parts.append(whole_numbers(max(least, 0), most))
    return _narrowed(union(parts), schema, place, whole=True)


def keyword_of(schema: Schema) -> str:
    return min(OF_NUMBERS & set(schema), default="type")


def number(schema: Schema, place: str) -> Node:
    low, above, high, below = limits(schema, place)
    bounded = math.isfinite(low) or math.isfinite(high)
    excluded = any(numeric(value) for value in schema.get(EXCLUDED, []))
    if not bounded and not excluded and "multipleOf" not in schema:
        return free()
    ends = [Decimal(str(x)) if math.isfinite(x) else Decimal(math.copysign(MOST, x)) for x in (low, high)]
    least, most = (min(max(end, Decimal(-MOST)), Decimal(MOST)) for end in ends)
    finite = [abs(Decimal(str(x))) for x in (low, high) if math.isfinite(x) and abs(x) <= MOST]
    digits = max(1, DIGITS - max((len(str(int(x))) for x in finite), default=1))
    if any(len(fraction_of(end)) > digits for end in (least, most)):
        refuse(place, keyword_of(schema), f"a bound has more than {DIGITS} digits")
    found = [*positive(least, above, most, below, digits)]
    found += [chain(literal("-"), one) for one in positive(-most, below, -least, above, digits, zero=False)]
    if not found:
        impossible(place, keyword_of(schema), "no number is left")
    return _narrowed(union(found), schema, place, whole=False)


def free() -> Node:
    """Any number, with an exponent or without."""
    exponent = chain(union([literal("e"), literal("E")]), repeat(union([literal("+"), literal("-")]), 0, 1))
    fraction = optional(chain(literal("."), repeat(DIGIT, 1, DIGITS)))
    tail = optional(chain(exponent, repeat(DIGIT, 1, 2)))
    return chain(optional(literal("-")), whole_numbers(0, MOST), fraction, tail)


def fraction_of(value: Decimal) -> str:
    """Digits behind the point, without zeros at the end.

    >>> fraction_of(Decimal("2.50")), fraction_of(Decimal("-3"))
    ('5', '')
    """
    return f"{abs(value):f}".partition(".")[2].rstrip("0")


def positive(
    low: Decimal, above: Any, high: Decimal, below: Any, digits: int, *, zero: bool = True
) -> Iterator[Node]:
    """Numbers from `low` to `high` without a sign, at least 0; above, below: without the bound itself."""
    if high < 0 or low > high:
        return
    if low < 0 or (low == 0 and not zero):
        low, above = Decimal(0), not zero
    a, b = int(low), int(high)
    first, last = fraction_of(low), fraction_of(high)
    if a == b:
        ends = up_to(last, digits, strict=bool(below))
        if ends is not None:
            try:
                part = settled(both(beyond(first, digits, strict=bool(above)), ends))
            except Empty:
                return
            yield chain(literal(str(a)), part)
        return
    yield chain(literal(str(a)), beyond(first, digits, strict=bool(above)))
    if b - a > 1:
        yield chain(whole_numbers(a + 1, b - 1), beyond("", digits, strict=False))
    if (ends := up_to(last, digits, strict=bool(below))) is not None:
        yield chain(literal(str(b)), ends)


def beyond(bound: str, digits: int, *, strict: bool) -> Node:
    """What follows a whole number for a fraction of at least `bound`."""
    if bound:
        return chain(literal("."), _beyond(bound, digits, strict=strict))
    if strict:
        return chain(literal("."), repeat(literal("0"), 0, digits - 1), byte_range(49, 57))
    return optional(chain(literal("."), repeat(DIGIT, 1, digits)))


def _beyond(bound: str, digits: int, *, strict: bool) -> Node:
    if not bound:
        more = chain(repeat(literal("0"), 0, max(digits - 1, 0)), byte_range(49, 57))
        return more if strict else repeat(DIGIT, 0, digits)
    head = ord(bound[0])
    parts = []
    if len(bound) > 1 or not strict or digits > 1:
        parts.append(chain(literal(bound[0]), _beyond(bound[1:], digits - 1, strict=strict)))
    if head < 57:
        parts.append(chain(byte_range(head + 1, 57), repeat(DIGIT, 0, digits - 1)))
    return union(parts)


def up_to(bound: str, digits: int, *, strict: bool) -> Node | None:
    """What follows a whole number for a fraction of at most `bound`; None where nothing may stand."""
    if bound:
        return optional(chain(literal("."), _up_to(bound, digits, strict=strict)))
    return None if strict else optional(chain(literal("."), repeat(literal("0"), 1, digits)))


def _up_to(bound: str, digits: int, *, strict: bool) -> Node:
    head, parts = ord(bound[0]), []
    if head > 48:
        parts.append(chain(byte_range(48, head - 1), repeat(DIGIT, 0, digits - 1)))
    if len(bound) > 1:
        parts.append(chain(literal(bound[0]), optional(_up_to(bound[1:], digits - 1, strict=strict))))
    elif not strict:
        parts.append(chain(literal(bound[0]), repeat(literal("0"), 0, digits - 1)))
    return union(parts)


def _narrowed(node: Node, schema: Schema, place: str, *, whole: bool) -> Node:
    """Only multiples, and without excluded values."""
    excluded = [value for value in schema.get(EXCLUDED, []) if numeric(value)]
    try:
        if "multipleOf" in schema:
            node = settled(both(node, multiples(schema["multipleOf"], place, whole=whole)))
        if excluded:
            node = settled(less(node, union(map(spellings, excluded))))
    except Empty:
        impossible(place, "multipleOf" if "multipleOf" in schema else "not", "no number is left")
    return node


def spellings(value: float) -> Node:
    """All ways to write a number without an exponent."""
    exact = Decimal(str(value))
    fraction = fraction_of(exact)
    zeros = repeat(literal("0"), 0, None)
    tail = chain(literal("." + fraction), zeros) if fraction else optional(chain(literal("."), zeros))
    sign = optional(literal("-")) if exact == 0 else literal("-" if exact < 0 else "")
    return chain(sign, literal(str(abs(int(exact)))), tail)


def multiples(step: Any, place: str, *, whole: bool) -> Node:
    """Numbers that a step divides, so that floats say so, too.

    A reader divides floats. Where the step is no binary fraction, only values that are come out as whole
    numbers for certain: of steps of .01, quarters.
    """
    if not numeric(step) or step <= 0:
        refuse(place, "multipleOf", "expected a number above 0")
    exact = Fraction(str(step))
    power = len(fraction_of(Decimal(str(step))))
    if abs(Fraction(step) / exact - 1) > Fraction(1, 2**54):
        refuse(place, "multipleOf", f"division by {step} is too inexact to be sure of")
    unit = 10**power
    size = math.lcm(int(exact * unit), 5**power)
    if size > REMAINDERS:
        refuse(place, "multipleOf", f"{step} needs {size} remainders; at most {REMAINDERS} are known here")
    return remainders(size, unit, 0 if whole else power)


def remainders(size: int, unit: int, places: int) -> Node:
    """Decimal numbers with at most `places` digits behind the point that are, times `unit`, divided by
    `size`: long division.
    """
    point = 3 + size * (places + 1)  # states behind the point, by remainder

    def behind(k: int, remainder: int) -> int:
        """The state with k digits behind the point, or none yet."""
        return 3 + size * k + remainder

    def following(k: int, remainder: int, least: int = 0) -> dict[int, int]:
        return {48 + d: behind(k, (10 * remainder + d) % size) for d in range(least, 10)}

    begin = {48: 2} | following(0, 0, least=1)
    rows: list[dict[int, int]] = [
        {45: 1} | begin,
        begin,
        {46: point} if places else {},
    ]  # 2 is a leading zero
    accepting = [False, False, True]
    for k in range(places + 1):
        for remainder in range(size):
            dot = {46: point + remainder} if places and not k else {}
            more = following(k + (k > 0), remainder) if k in range(places) or not k else {}
            rows.append(more | dot)
            accepting.append(remainder * (unit // 10**k) % size == 0)
    if places:
        rows += [following(1, remainder) for remainder in range(size)]
        accepting += [False] * size
    return table(rows, accepting)
