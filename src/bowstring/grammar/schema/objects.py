"""Objects as expressions: declared properties in their order, or names that a schema leaves open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import regex
from ..automaton import compiled, settled
from ..expression import Empty, Node, chain, in_json, joined, literal, repeat, union
from .anything import COMMA, separated
from .keywords import Impossible, Schema, bounds, impossible, names_of, pointer, quoted, refuse
from .merging import agreed, allowance
from .texts import QUOTE, rising, string

if TYPE_CHECKING:
    from .reader import Reader

OPEN = {"additionalProperties", "minProperties", "patternProperties", "propertyNames"}


def node(reader: Reader, schema: Schema, place: str, depth: int) -> Node:
    properties, required = names_of(schema, place)
    if not properties and not required and OPEN & set(schema):
        return mapping(reader, schema, place, depth)
    least, most = bounds(schema, "minProperties", "maxProperties", place)
    parts = []
    for name in dict.fromkeys([*properties, *required]):
        where = f"{place}/properties/{pointer(name)}"
        try:
            if not named(reader, schema, name, place):
                impossible(place, "propertyNames", f"{name[:60]!r} is no such name")
            inner = reader.inner(allowance(schema, name), where, depth + 1)
        except Impossible as error:
            if name in required:
                impossible(place, "required", f"{name[:60]!r} can have no value; {error}")
            continue
        parts.append((chain(literal(quoted(name, place) + ":"), inner), name in required))
    must = sum(need for _, need in parts)
    if least > len(parts):
        impossible(place, "minProperties", f"{least} are more than can be written; declare more")
    if most is not None and most < must:
        impossible(place, "maxProperties", f"{most} are fewer than are required")
    return chain(literal("{"), joined(parts, COMMA, least, most), literal("}"))


def named(reader: Reader, schema: Schema, name: str, place: str) -> bool:
    """Whether a name is one that propertyNames allows."""
    if schema.get("propertyNames", True) in (True, {}):
        return True
    rule = agreed({"type": "string"}, schema["propertyNames"])
    return compiled(reader.inner(rule, f"{place}/propertyNames", 0)).accepts(quoted(name, place).encode())


def mapping(reader: Reader, schema: Schema, place: str, depth: int) -> Node:
    """An object of names that are not declared."""
    least, most = bounds(schema, "minProperties", "maxProperties", place)
    if most == 0:
        return literal("{}")
    if least > 1:
        return chain(literal("{"), different(reader, schema, place, depth, least, most), literal("}"))
    pairs = [chain(name, literal(":"), value) for name, value in kinds(reader, schema, place, depth)]
    if not pairs:
        if least:
            impossible(place, "minProperties", "no property is allowed")
        return literal("{}")
    return chain(literal("{"), separated(union(pairs), least, most), literal("}"))


def different(reader: Reader, schema: Schema, place: str, depth: int, least: int, most: int | None) -> Node:
    """At least two pairs, whose names rise."""
    if {"patternProperties", "propertyNames"} & set(schema):
        refuse(place, "minProperties", f"{least} different names of a pattern are not known here")
    inner = reader.inner(schema.get("additionalProperties", True), f"{place}/additionalProperties", depth + 1)
    parts = [(chain(name, literal(":"), inner), False) for name in rising({}, place, 0)]
    if least > len(parts):
        refuse(place, "minProperties", f"{least} different names are more than are known here")
    return joined(parts, COMMA, least, most)


def kinds(reader: Reader, schema: Schema, place: str, depth: int) -> Iterator[tuple[Node, Node]]:
    """Names and values of one kind: those of one pattern and no other, and those of none."""
    rule = schema.get("propertyNames", True)
    open_name = chain(QUOTE, repeat(in_json(regex.ALL), 1, None), QUOTE)
    name = (
        open_name
        if rule is True
        else reader.inner(agreed({"type": "string"}, rule), f"{place}/propertyNames", depth)
    )
    patterns: dict[str, Any] = schema.get("patternProperties", {})
    for pattern, inner in patterns.items():
        others = [other for other in patterns if other != pattern]
        where = f"{place}/patternProperties/{pointer(pattern)}"
        told = {"type": "string", "pattern": pattern, "minLength": 1, "!unlike": others}
        yield from possible(reader, name, told, inner, where, depth)
    rest = schema.get("additionalProperties", True)
    if patterns and "additionalProperties" not in schema:
        return
    told = {"type": "string", "!unlike": [*patterns]} if patterns else {}
    yield from possible(reader, name, told, rest, f"{place}/additionalProperties", depth)


def possible(
    reader: Reader, name: Node, told: dict[str, Any], inner: Any, place: str, depth: int
) -> Iterator[tuple[Node, Node]]:
    """Names that are told so, with their values, where there are any."""
    from ..expression import both

    try:
        value = reader.inner(inner, place, depth + 1)
        yield (settled(both(name, string(told, place, 80))) if told else name), value
    except (Impossible, Empty):
        return
