"""Arrays as expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..expression import Node, chain, joined, literal, optional, repeat
from .anything import COMMA, separated
from .keywords import (
    Impossible,
    Schema,
    allowed_values,
    bounds,
    impossible,
    kinds_of,
    listed,
    refuse,
    types,
)
from .merging import agreed
from .texts import rising

if TYPE_CHECKING:
    from .reader import Reader

DIFFERENT, COUNTED = 200, 24  # values that items that differ are taken from, and how many may be asked for


def node(reader: Reader, schema: Schema, place: str, depth: int) -> Node:
    least, most = bounds(schema, "minItems", "maxItems", place)
    if isinstance(schema.get("items"), list):
        refuse(place, "items", "expected a schema; a list of them is 'prefixItems'")
    if schema.get("contains", True) is not True and schema.get("minContains", 1):
        return reader.node(containing(schema, place), place, depth + 1)
    if schema.get("uniqueItems") and most not in (0, 1):
        return chain(literal("["), different(reader, schema, place, depth, least, most), literal("]"))
    inner = schema.get("items", schema.get("unevaluatedItems", True))
    first, ends = prefix(reader, schema, place, depth)
    if most is not None:
        first = first[:most]
    rest: Node | None = None
    if not ends and inner is not False and (most is None or most > len(first)):
        if "items" in schema or not first or least > len(first):
            try:
                rest = reader.inner(inner, f"{place}/items", depth + 1)
            except Impossible:
                if least > len(first):
                    raise
    if rest is None and least > len(first):
        impossible(place, "minItems", f"{least} are more than 'items' and 'prefixItems' allow")
    return chain(literal("["), items(first, rest, least, most), literal("]"))


def prefix(reader: Reader, schema: Schema, place: str, depth: int) -> tuple[list[Node], bool]:
    """The first items, and whether one that has no value ends the array before it."""
    found: list[Node] = []
    for i, one in enumerate(listed(schema, "prefixItems", place)):
        try:
            found.append(reader.inner(one, f"{place}/prefixItems/{i}", depth + 1))
        except Impossible:
            return found, True
    return found, False


def items(first: Sequence[Node], rest: Node | None, least: int, most: int | None) -> Node:
    if not first:
        return literal("") if rest is None else separated(rest, least, most)
    tail = literal("")
    if rest is not None:
        many = (max(least - len(first), 0), None if most is None else most - len(first))
        tail = repeat(chain(COMMA, rest), *many)
    for i in range(len(first) - 1, -1, -1):
        tail = chain(first[i], tail) if i == 0 else chain(COMMA, first[i], tail)
        if i >= least:
            tail = optional(tail)
    return tail


def containing(schema: Schema, place: str) -> dict[str, Any]:
    """An array whose first items are those that it must contain."""
    count = schema.get("minContains", 1)
    if (
        schema.get("prefixItems")
        or schema.get("uniqueItems")
        or not isinstance(count, int)
        or count > COUNTED
    ):
        refuse(place, "contains", "it is not known here beside prefixItems, uniqueItems or large counts")
    made = {k: v for k, v in schema.items() if k not in ("contains", "minContains")}
    wanted = agreed(schema.get("items", True), schema["contains"])
    least = max(count, schema.get("minItems", 0))
    return made | {"prefixItems": [wanted] * count, "items": schema.get("items", True), "minItems": least}


def different(reader: Reader, schema: Schema, place: str, depth: int, least: int, most: int | None) -> Node:
    """Items that differ, in a fixed order: listed values in theirs, others rising."""
    inner = schema.get("items", True)
    if schema.get("prefixItems"):
        refuse(place, "uniqueItems", "beside prefixItems it is not known here")
    if least > COUNTED:
        refuse(place, "uniqueItems", f"{least} items that differ are too many; expected at most {COUNTED}")
    parts = distinct(reader, inner, place, depth)
    if least > len(parts):
        impossible(place, "minItems", f"{least} are more than there are values that differ")
    most = most if most is None or most <= COUNTED else None
    return joined([(part, False) for part in parts], COMMA, least, most)


def distinct(reader: Reader, inner: Any, place: str, depth: int) -> list[Node]:
    """Expressions of items of which no two hold the same value.

    Raises:
        SchemaError: items that differ cannot be made sure of.
    """
    flat = reader.flat(inner, f"{place}/items", depth + 1)
    kinds = types(flat)
    if (values := allowed_values(flat)) is None:
        low, high = flat.get("minimum"), flat.get("maximum")
        if kinds == ["integer"] and isinstance(low, int) and isinstance(high, int) and high - low < DIFFERENT:
            values = [*range(low, high + 1)]
        elif set(kinds) <= {"boolean", "null"}:
            values = [value for value in (None, False, True) if kinds_of(value)[0] in kinds]
    if values is not None:
        if len(values) > DIFFERENT:
            refuse(place, "uniqueItems", f"{len(values)} values are too many; expected at most {DIFFERENT}")
        rest = {k: v for k, v in flat.items() if k not in ("enum", "const")}
        found = []
        for value in values:
            try:
                found.append(reader.inner({**rest, "const": value}, f"{place}/items", depth + 1))
            except Impossible:
                continue
        return found
    if "string" in kinds:
        return rising({k: v for k, v in flat.items() if k != "type"}, place, reader.allowance.characters)
    refuse(place, "uniqueItems", f"items of type {' or '.join(kinds)} that differ cannot be made sure of")
