"""What a schema may say: keywords, limits, and small questions about its values."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from ..expression import GrammarError

DEEPEST, VISITS, VALUES, BRANCHES, PROPERTIES = 40, 5_000, 5_000, 200, 1_000
TYPES = ("string", "number", "integer", "boolean", "null", "object", "array")
ANNOTATIONS = {"$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor", "title", "description"}
ANNOTATIONS |= {"default", "examples", "example", "deprecated", "readOnly", "writeOnly", "contentMediaType"}
ANNOTATIONS |= {"contentEncoding", "components", "nullable", "discriminator"}
OF_OBJECTS = {"properties", "required", "additionalProperties", "unevaluatedProperties", "propertyNames"}
OF_OBJECTS |= {"minProperties", "maxProperties", "patternProperties"}
OF_ARRAYS = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains"}
OF_ARRAYS |= {"unevaluatedItems"}
OF_STRINGS = {"minLength", "maxLength", "pattern", "format"}
OF_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
VALUE = {"enum", "const", "type"}
FREE = {"anyOf", "oneOf", "allOf", "$ref", "not", "if", "then", "else"}
FREE |= {"dependentRequired", "dependentSchemas"}
UNKNOWN = {"maxContains", "contentSchema", "$dynamicRef", "$recursiveRef", "dependencies", "additionalItems"}
UNKNOWN |= {"divisibleBy", "disallow", "extends"}
BY_NAMES = {"properties", "patternProperties", "dependentRequired", "dependentSchemas"}
KNOWN = OF_OBJECTS | OF_ARRAYS | OF_STRINGS | OF_NUMBERS | VALUE | FREE
PATTERNS, UNLIKE, EXCLUDED = "!patterns", "!unlike", "!excluded"  # what merging and `not` leave: lists
BRANCHED = "!branches"  # lists of schemas, of each of which one must hold
INTERNAL = {PATTERNS, UNLIKE, EXCLUDED, BRANCHED}
LARGER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"}
SMALLER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}

Schema = Mapping[str, Any]


class SchemaError(GrammarError):
    """A schema that cannot be met: which keyword, and where (a JSON pointer)."""


class Impossible(SchemaError):
    """A part of a schema that no value is valid in; who can do without it goes on."""


def refuse(place: str, keyword: str, why: str) -> NoReturn:
    raise SchemaError(f"the schema has {keyword!r} at '#{place}': {why}")


def impossible(place: str, keyword: str, why: str) -> NoReturn:
    raise Impossible(f"the schema has {keyword!r} at '#{place}': {why}")


def checked_keywords(schema: Schema, place: str) -> None:
    """Refuses keywords of the standard that are not known here, and slips of those that are; any other one
    is an annotation, as the standard has it.
    """
    checked_shapes(schema, place)
    for keyword in schema:
        if keyword in KNOWN or keyword in ANNOTATIONS or keyword in INTERNAL:
            continue
        if keyword in UNKNOWN:
            refuse(place, keyword, f"it is not known here; known are {', '.join(sorted(KNOWN))}")
        if near := difflib.get_close_matches(str(keyword), KNOWN, 1, 0.84):
            refuse(place, str(keyword), f"no such keyword. Closest: {near[0]!r}")


def checked_shapes(schema: Schema, place: str) -> None:
    """Refuses keywords whose values are of another kind than what they hold: objects, lists, names."""
    for keyword in {"anyOf", "oneOf", "allOf", "enum"} & set(schema):
        listed(schema, keyword, place)
    if not isinstance(schema.get("format", ""), str):
        refuse(place, "format", "expected a string")
    said = schema.get("type", [])
    if not all(isinstance(kind, str) for kind in (said if isinstance(said, list) else [said])):
        refuse(place, "type", f"expected one or several of {', '.join(TYPES)}")
    names_of(schema, place)
    for keyword in BY_NAMES & set(schema):
        found = schema[keyword]
        if not isinstance(found, Mapping) or len(found) > PROPERTIES:
            refuse(place, keyword, f"expected an object of at most {PROPERTIES}")
    for needed in schema.get("dependentRequired", {}).values():
        if not isinstance(needed, list) or not all(isinstance(name, str) for name in needed):
            refuse(place, "dependentRequired", "expected a list of names for each name")


def listed(schema: Schema, keyword: str, place: str) -> list[Any]:
    found, most = schema.get(keyword, []), VALUES if keyword == "enum" else BRANCHES
    if not isinstance(found, list) or (keyword in schema and not found) or len(found) > most:
        refuse(place, keyword, f"expected a list of 1 to {most}")
    return found


def names_of(schema: Schema, place: str) -> tuple[Schema, list[str]]:
    """Declared properties, and names that are required."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, Mapping) or len(properties) > PROPERTIES:
        refuse(place, "properties", f"expected an object of at most {PROPERTIES}")
    if (
        not isinstance(required, list)
        or len(required) > PROPERTIES
        or not all(isinstance(name, str) for name in required)
    ):
        refuse(place, "required", f"expected a list of at most {PROPERTIES} names")
    return properties, required


def bounds(schema: Schema, low: str, high: str, place: str) -> tuple[int, int | None]:
    """Two bounds of a count."""
    for keyword in (low, high):
        value = schema.get(keyword, 0)
        if not numeric(value) or value != int(value) or value < 0:
            refuse(place, keyword, "expected a whole number from 0")
    least, most = int(schema.get(low, 0)), int(schema[high]) if high in schema else None
    if most is not None and most < least:
        impossible(place, high, f"{most} is below {low}, {least}")
    return least, most


def pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def quoted(value: Any, place: str) -> str:
    """JSON of a value.

    Raises:
        SchemaError: it has none, or no UTF-8 can hold it.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise SchemaError(f"a value at '#{place}' is not JSON: {error}") from None
    return text


def types(schema: Schema) -> list[str]:
    """The types that a schema names or speaks of; all where it does neither."""
    if "type" in schema:
        said = schema["type"]
        return list(said) if isinstance(said, list) else [said]
    if (values := allowed_values(schema)) is not None:
        return sorted({kind for value in values for kind in kinds_of(value)})
    texts = OF_STRINGS | {PATTERNS, UNLIKE}
    spoken = [("object", OF_OBJECTS), ("array", OF_ARRAYS), ("string", texts), ("number", OF_NUMBERS)]
    return [kind for kind, keywords in spoken if keywords & set(schema)] or [
        t for t in TYPES if t != "integer"
    ]


def kinds_of(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["boolean"]
    if isinstance(value, int | float):
        return ["integer", "number"] if isinstance(value, int) or value.is_integer() else ["number"]
    if value is None:
        return ["null"]
    return ["string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"]


def allowed_values(schema: Schema) -> list[Any] | None:
    """Values that enum and const leave; None where neither is there."""
    if "enum" not in schema:
        return [schema["const"]] if "const" in schema else None
    values = listed(schema, "enum", "")
    return [v for v in values if same(v, schema["const"])] if "const" in schema else values


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: a truth value is no number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return (type(left) is type(right) and left == right) or (
        numeric(left) and numeric(right) and left == right
    )


def numeric(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max
