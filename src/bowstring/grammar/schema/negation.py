"""Schemas whose values are certainly not valid in another one.

Each keyword is one way to be invalid, so `not` becomes a union over keywords (De Morgan). A keyword without
an entry adds nothing: the union is then smaller than it could be, and still true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .keywords import DEEPEST, EXCLUDED, TYPES, UNLIKE, Schema, numeric, refuse, types

COUNTED = {
    "minLength": ("string", "maxLength", -1),
    "maxLength": ("string", "minLength", 1),
    "minItems": ("array", "maxItems", -1),
    "maxItems": ("array", "minItems", 1),
    "minProperties": ("object", "maxProperties", -1),
    "maxProperties": ("object", "minProperties", 1),
}
OPPOSITE = {
    "minimum": "exclusiveMaximum",
    "exclusiveMinimum": "maximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMaximum": "minimum",
}
Resolve = Callable[[Schema], Schema]


def violations(schema: Any, resolve: Resolve, place: str, depth: int = 0) -> list[Any]:
    """Schemas that together hold values which are not valid in `schema`.

    Args:
        resolve: gives a schema without its reference.
    """
    if depth > DEEPEST:
        refuse(place, "not", f"it nests deeper than {DEEPEST} levels")
    if isinstance(schema, bool):
        return [] if schema else [True]
    if not isinstance(schema, Mapping):
        refuse(place, "not", f"expected a schema, not a {type(schema).__name__}")
    schema = resolve(schema)

    def inner(part: Any) -> list[Any]:
        return violations(part, resolve, place, depth + 1)

    found: list[Any] = []
    for keyword, value in schema.items():
        found += of_keyword(keyword, value, schema, inner)
    return found


def of_keyword(keyword: str, value: Any, schema: Schema, inner: Callable[[Any], list[Any]]) -> list[Any]:
    """Ways to be invalid by one keyword."""
    match keyword:
        case "type":
            return [{"type": left}] if (left := other_types(types(schema))) else []
        case "enum":
            return [{EXCLUDED: list(value)}]
        case "const":
            return [{EXCLUDED: [value]}]
        case "pattern":
            return [{"type": "string", UNLIKE: [value]}]
        case "required":
            return [{"type": "object", "properties": {name: False}} for name in value]
        case "properties":
            broken = {name: inner(part) for name, part in value.items()}
            return [
                {"type": "object", "required": [name], "properties": {name: {"anyOf": ways}}}
                for name, ways in broken.items()
                if ways
            ]
        case "items":
            ways = [] if "prefixItems" in schema else inner(value)
            return [{"type": "array", "minItems": 1, "prefixItems": [{"anyOf": ways}]}] if ways else []
        case "anyOf" | "oneOf":  # of oneOf, those in which none holds
            parts = [inner(part) for part in value]
            return [{"allOf": [{"anyOf": ways} for ways in parts]}] if all(parts) else []
        case "allOf":
            return [way for part in value for way in inner(part)]
        case "not":
            return [value]
    if keyword in COUNTED and numeric(value):
        kind, bound, by = COUNTED[keyword]
        return [{"type": kind, bound: value + by}] if value + by >= 0 else []
    if keyword in OPPOSITE and numeric(value):
        return [{"type": "number", OPPOSITE[keyword]: value}]
    return []


def other_types(named: list[str]) -> list[str]:
    """Types that are none of these; a whole number is a number, too."""
    if "integer" in named or "number" in named:
        named = [*named, "integer", "number"]
    return [kind for kind in TYPES if kind not in named and kind != "integer"]
