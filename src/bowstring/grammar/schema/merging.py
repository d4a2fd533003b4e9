"""Two schemas as one whose values are valid in both, and whether any can be."""

from __future__ import annotations

import functools
import math
from typing import Any

from .. import regex
from ..automaton import compiled
from .keywords import (
    INTERNAL,
    LARGER,
    PATTERNS,
    SMALLER,
    Schema,
    impossible,
    names_of,
    numeric,
    refuse,
    same,
    types,
)

BY_NAME = {"properties", "additionalProperties", "patternProperties"}
BY_PLACE = {"items", "prefixItems"}


def merged(left: Schema, right: Schema, place: str) -> Schema:
    """A schema whose values are valid in both."""
    made = dict(left)
    for keyword, value in right.items():
        if keyword in BY_NAME | BY_PLACE:
            continue
        mine = made.get(keyword)
        if keyword in INTERNAL and keyword in made:
            made[keyword] = [*made[keyword], *value]
        elif keyword not in made or mine == value:
            made[keyword] = value
        elif keyword == "required":
            made[keyword] = list(dict.fromkeys([*made[keyword], *value]))
        elif keyword == "type":
            made[keyword] = common_types(types(left), types(right))
            if not made[keyword]:
                impossible(place, "type", "no type is left")
        elif keyword in LARGER | SMALLER and numeric(mine) and numeric(value):
            made[keyword] = max(mine, value) if keyword in LARGER else min(mine, value)
        elif keyword == "enum":
            made[keyword] = [v for v in made[keyword] if any(same(v, w) for w in value)]
            if not made[keyword]:
                impossible(place, "enum", "no value is in both lists")
        elif keyword == "pattern":
            made[PATTERNS] = [*made.get(PATTERNS, []), value]
        elif keyword == "const":
            impossible(place, "const", "two values at once")
        elif keyword == "format":
            refuse(place, keyword, "two formats at once are not known here")
        elif keyword == "propertyNames":
            made[keyword] = agreed(mine, value)
        elif keyword == "uniqueItems":
            made[keyword] = bool(mine or value)
        elif keyword == "multipleOf" and multiples_of_each(mine, value):
            made[keyword] = max(mine, value)
        else:
            refuse(place, keyword, "it stands in two schemas that must both hold")
    return {**made, **merged_properties(left, right, place), **merged_items(left, right)}


def multiples_of_each(one: Any, other: Any) -> bool:
    """Whether the larger of two steps is a multiple of the smaller one."""
    return numeric(one) and numeric(other) and min(one, other) > 0 and max(one, other) % min(one, other) == 0


def common_types(left: list[str], right: list[str]) -> list[str]:
    found = [kind for kind in left if kind in right]
    if "integer" in left + right and "number" in left + right and "number" not in found:
        whole = ("integer" in left and "number" in right) or ("number" in left and "integer" in right)
        found += ["integer"] if whole and "integer" not in found else []
    return found


def merged_properties(left: Schema, right: Schema, place: str) -> Schema:
    """Properties of both; a name that one does not declare is what its other keywords allow."""
    if not any(keyword in one for one in (left, right) for keyword in BY_NAME):
        return {}
    made: dict[str, Any] = {}
    names = dict.fromkeys([*names_of(left, place)[0], *names_of(right, place)[0]])
    if names:
        made["properties"] = {
            name: agreed(*(allowance(one, name) for one in (left, right))) for name in names
        }
    others = [one.get("additionalProperties", True) for one in (left, right)]
    patterned = [one for one in (left, right) if one.get("patternProperties")]
    if len(patterned) == 2 and left["patternProperties"] != right["patternProperties"]:
        both = set(left["patternProperties"]) & set(right["patternProperties"])
        if both or others != [True, True]:
            refuse(place, "patternProperties", "it stands in two schemas that must both hold")
    if patterned:
        made["patternProperties"] = {k: v for one in patterned for k, v in one["patternProperties"].items()}
        for one, rest in ((left, others[0]), (right, others[1])):
            if rest is not True and not one.get("patternProperties"):  # it binds what the patterns name, too
                made["patternProperties"] = {
                    pattern: agreed(inner, rest) for pattern, inner in made["patternProperties"].items()
                }
    if others != [True, True]:
        made["additionalProperties"] = agreed(*others)
    elif any("additionalProperties" in one for one in (left, right)):
        made["additionalProperties"] = True
    return made


def allowance(schema: Schema, name: str) -> Any:
    """What a schema asks of the value of a name."""
    asked = [schema["properties"][name]] if name in schema.get("properties", {}) else []
    asked += [inner for pattern, inner in schema.get("patternProperties", {}).items() if hits(pattern, name)]
    if not asked:
        return schema.get("additionalProperties", True)
    return functools.reduce(agreed, asked)


@functools.lru_cache(512)
def _searched(pattern: str) -> Any:
    return compiled(regex.search(pattern))


def hits(pattern: str, name: str) -> bool:
    """Whether a pattern is found in a name."""
    return bool(_searched(pattern).accepts(name.encode("utf-8", "surrogatepass")))


def merged_items(left: Schema, right: Schema) -> Schema:
    """Items of both, place by place."""
    if not any(keyword in one for one in (left, right) for keyword in BY_PLACE):
        return {}
    first = [one.get("prefixItems", []) for one in (left, right)]
    if not all(isinstance(one, list) for one in first):
        return {"prefixItems": first[0] if "prefixItems" in left else first[1]}
    rest = [one.get("items", True) for one in (left, right)]
    made: dict[str, Any] = {"items": agreed(*rest)} if any("items" in one for one in (left, right)) else {}
    longest = max(map(len, first))
    sides = [[*part, *[more] * (longest - len(part))] for part, more in zip(first, rest, strict=True)]
    return made | ({"prefixItems": [agreed(*both) for both in zip(*sides, strict=True)]} if longest else {})


def agreed(left: Any, right: Any) -> Any:
    if left is False or right is False:
        return False
    if left is True or left == right:
        return right
    return left if right is True else {"allOf": [left, right]}


def limits(schema: Schema, place: str) -> tuple[float, bool, float, bool]:
    """Least value, whether it is left out, largest value, whether it is left out."""
    for keyword in LARGER | SMALLER:
        if keyword.lower().endswith("imum") and keyword in schema and not numeric(schema[keyword]):
            refuse(place, keyword, "expected a finite number")
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    return max(low, above), -math.inf < above >= low, min(high, below), math.inf > below <= high


def apart(left: Schema, right: Schema) -> bool:
    """Whether the ranges of two numbers do not meet."""
    a, b = limits(left, ""), limits(right, "")
    for (_, _, high, below), (low, above, _, _) in ((a, b), (b, a)):
        if high < low or (high == low and (below or above)):
            return True
    return False
