"""JSON schema as an expression over bytes. Each text that fits it is valid; what is not known is refused by
name and place, before any work.

Texts are JSON without spaces, as `json.dumps(value, ensure_ascii=False, separators=(",", ":"))` writes it.
Properties stand in the declared order and no others are written. Numbers have at most 15 digits before the
point and 15 behind it; a value that may be anything nests to ANYTHING levels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from . import regex
from .expression import (
    GrammarError,
    Node,
    both,
    byte_range,
    chain,
    in_json,
    joined,
    literal,
    optional,
    repeat,
    union,
    whole_numbers,
)

DEEPEST, VISITS, VALUES, BRANCHES, PROPERTIES, ANYTHING = 24, 5_000, 5_000, 200, 1_000, 2
MOST_DIGITS = 10**15 - 1
TYPES = ("string", "number", "integer", "boolean", "null", "object", "array")
ANNOTATIONS = {"$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor", "title", "description"}
ANNOTATIONS |= {"default", "examples", "example", "deprecated", "readOnly", "writeOnly", "contentMediaType"}
OF_OBJECTS = {"properties", "required", "additionalProperties", "unevaluatedProperties"}
OF_OBJECTS |= {"minProperties", "maxProperties"}
OF_ARRAYS = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}
OF_STRINGS = {"minLength", "maxLength", "pattern", "format"}
OF_NUMBERS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
VALUE = {"enum", "const", "type"}
FREE = {"anyOf", "oneOf", "allOf", "$ref"}
KNOWN = OF_OBJECTS | OF_ARRAYS | OF_STRINGS | OF_NUMBERS | VALUE | FREE
LARGER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
SMALLER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
FORMATS = {
    "date": r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
    "time": r"([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ",
    "date-time": r"(19|20)\d\d-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "email": r"[a-z0-9]+([._-][a-z0-9]+)*@[a-z0-9]+([.-][a-z0-9]+)*\.[a-z]{2,6}",
    "ipv4": r"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
    "hostname": r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,20}[a-z0-9])?)*",
    "uri": r"https?://[a-z0-9]+([.-][a-z0-9]+)*(/[A-Za-z0-9._~-]*)*",
}
FORMATS |= {"url": FORMATS["uri"], "uri-reference": FORMATS["uri"]}
QUOTE, COMMA, DIGIT = literal('"'), literal(","), byte_range(48, 57)

Schema = Mapping[str, Any]


class SchemaError(GrammarError):
    """A schema that cannot be met: which keyword, and where (a JSON pointer)."""


def refuse(place: str, keyword: str, why: str) -> NoReturn:
    raise SchemaError(f"the schema has {keyword!r} at '#{place}': {why}")


def expression(schema: Any) -> Node:
    """The texts that a schema allows.

    Raises:
        SchemaError: a keyword that is not known or cannot be met; a recursive schema.
        GrammarError: it is too large.
    """
    try:
        return Reader(schema).node(schema, "", 0)
    except RecursionError:
        raise SchemaError(f"the schema nests too deep; expected at most {DEEPEST} levels") from None


class Reader:
    """One schema while it is read."""

    def __init__(self, root: Any) -> None:
        self.root, self.visits = root, 0
        self.known: dict[str, Node] = {}
        self.open: list[str] = []

    def node(self, schema: Any, place: str, depth: int) -> Node:
        """The expression of a schema at a place."""
        self.visits += 1
        if depth > DEEPEST or self.visits > VISITS:
            limit = f"deeper than {DEEPEST} levels" if depth > DEEPEST else f"beyond {VISITS} parts"
            raise SchemaError(f"the schema goes {limit} at '#{place}'; make it smaller")
        if schema is True or schema == {}:
            return anything(ANYTHING)
        if schema is False:
            refuse(place, "false", "no value is valid")
        if not isinstance(schema, Mapping):
            raise SchemaError(f"the schema at '#{place}' is a {type(schema).__name__}; expected an object")
        self._check(schema, place)
        if "$ref" in schema and not set(schema) - ANNOTATIONS - {"$ref"}:
            return self._referred(schema["$ref"], place, depth)
        flat = self._flat(schema, place, depth)
        for keyword in ("anyOf", "oneOf"):
            if keyword in flat:
                return self._any(flat, keyword, place, depth)
        return self._plain(flat, place, depth)

    def _check(self, schema: Schema, place: str) -> None:
        for keyword in schema:
            if keyword not in KNOWN and keyword not in ANNOTATIONS and not str(keyword).startswith("x-"):
                refuse(place, str(keyword), f"it is not known here; known are {', '.join(sorted(KNOWN))}")

    def _target(self, ref: Any, place: str) -> Any:
        """What a local reference points at."""
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            refuse(place, "$ref", f"{str(ref)[:80]!r} is not in this schema; expected '#/...'")
        found = self.root
        for part in ref.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                refuse(place, "$ref", f"{ref[:80]!r} points at nothing")
        return found

    def _entered(self, ref: str, place: str) -> None:
        if ref in self.open or ref == "#":
            refuse(place, "$ref", f"{ref[:80]!r} leads back to itself; recursive schemas are not known here")
        self.open.append(ref)

    def _referred(self, ref: Any, place: str, depth: int) -> Node:
        target = self._target(ref, place)
        if ref not in self.known:
            self._entered(ref, place)
            self.known[ref] = self.node(target, ref[1:], depth + 1)
            self.open.pop()
        return self.known[ref]

    def _flat(self, schema: Schema, place: str, depth: int) -> Schema:
        """References and allOf at the top of a schema, written into it."""
        if depth > DEEPEST:
            raise SchemaError(f"the schema goes deeper than {DEEPEST} levels at '#{place}'; make it smaller")
        self.visits += 1
        self._check(schema, place)
        flat: Schema = {
            k: v for k, v in schema.items() if k not in ("$ref", "allOf") and k not in ANNOTATIONS
        }
        parts = [(part, f"{place}/allOf/{i}") for i, part in enumerate(listed(schema, "allOf", place))]
        if "$ref" in schema:
            ref = schema["$ref"]
            parts.append((self._target(ref, place), ref[1:]))
            self._entered(ref, place)
        for part, where in parts:
            if part is False:
                refuse(where, "false", "no value is valid")
            if part is not True:
                if not isinstance(part, Mapping):
                    raise SchemaError(f"the schema at '#{where}' is no object")
                flat = merged(flat, self._flat(part, where, depth + 1), where)
        if "$ref" in schema:
            self.open.pop()
        return flat

    def _any(self, flat: Schema, keyword: str, place: str, depth: int) -> Node:
        """The union of branches; those of oneOf must be shown to exclude each other."""
        base = {k: v for k, v in flat.items() if k != keyword}
        branches = []
        for i, branch in enumerate(listed(flat, keyword, place)):
            where = f"{place}/{keyword}/{i}"
            if branch is False:
                continue
            if branch is not True and not isinstance(branch, Mapping):
                raise SchemaError(f"the schema at '#{where}' is no object")
            whole = base if branch is True else merged(base, self._flat(branch, where, depth + 1), where)
            if not possible(whole):
                continue
            branches.append((whole, where))
        if not branches:
            refuse(place, keyword, "no branch can be met")
        if keyword == "oneOf":
            self._exclusive(branches)
        return union(self.node(branch, where, depth + 1) for branch, where in branches)

    def _exclusive(self, branches: Sequence[tuple[Schema, str]]) -> None:
        if len(branches) > 64:
            refuse(branches[0][1], "oneOf", f"it has {len(branches)} branches; expected at most 64")
        for i, (left, _) in enumerate(branches):
            for right, where in branches[i + 1 :]:
                if not self.disjoint(left, right):
                    refuse(where, "oneOf", "this branch may hold together with another; use anyOf")

    def disjoint(self, left: Any, right: Any) -> bool:
        """Whether it is certain that no value is valid in both."""
        left, right = self._seen(left), self._seen(right)
        if left is False or right is False:
            return True
        if not isinstance(left, Mapping) or not isinstance(right, Mapping):
            return False
        kinds = [set(types(one)) for one in (left, right)]
        for kind in kinds:
            if "number" in kind:
                kind.add("integer")
        common = kinds[0] & kinds[1]
        if not common:
            return True
        values = [allowed_values(one) for one in (left, right)]
        if values[0] is not None and values[1] is not None:
            return not any(same(a, b) for a in values[0] for b in values[1])
        if common <= {"integer", "number"}:
            return apart(left, right)
        return common == {"object"} and self._told_apart(left, right)

    def _seen(self, schema: Any) -> Any:
        """A schema behind references, as far as it is plain."""
        if isinstance(schema, Mapping) and ("$ref" in schema or "allOf" in schema):
            return self._flat(schema, "", 0)
        return schema

    def _told_apart(self, left: Schema, right: Schema) -> bool:
        """Whether a property tells two objects apart."""
        for one, other in ((left, right), (right, left)):
            for name in one.get("required", ()):
                others = other.get("properties", {})
                if name not in others and other.get("additionalProperties") is False:
                    return True
                if name in others and name in one.get("properties", {}):
                    if self.disjoint(one["properties"][name], others[name]):
                        return True
        return False

    def _plain(self, schema: Schema, place: str, depth: int) -> Node:
        """A schema of a type, or of listed values."""
        if (values := allowed_values(schema)) is not None:
            if beside := set(schema) - VALUE - ANNOTATIONS:
                refuse(place, min(beside), "it stands beside listed values; leave out those that do not fit")
            return listed_values(schema, values, place)
        makers: dict[str, Callable[[], Node]] = {
            "string": lambda: string(schema, place),
            "number": lambda: number(schema, place),
            "integer": lambda: integer(schema, place),
            "boolean": lambda: union([literal("true"), literal("false")]),
            "null": lambda: literal("null"),
            "object": lambda: self._object(schema, place, depth),
            "array": lambda: self._array(schema, place, depth),
        }
        kinds = types(schema)
        if not kinds:
            refuse(place, "type", "no type is left")
        if unknown := [kind for kind in kinds if kind not in makers]:
            refuse(place, "type", f"{str(unknown[0])[:60]!r} is no type; expected {', '.join(TYPES)}")
        kinds = [kind for kind in kinds if kind != "integer" or "number" not in kinds]
        return union(makers[kind]() for kind in kinds)

    def _object(self, schema: Schema, place: str, depth: int) -> Node:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, Mapping) or len(properties) > PROPERTIES:
            refuse(place, "properties", f"expected an object of at most {PROPERTIES}")
        if (
            not isinstance(required, list)
            or len(required) > PROPERTIES
            or not all(isinstance(name, str) for name in required)
        ):
            refuse(place, "required", f"expected a list of at most {PROPERTIES} names")
        others = schema.get("additionalProperties", True)
        least, most = bounds(schema, "minProperties", "maxProperties", place)
        if (
            not properties
            and not required
            and ("additionalProperties" in schema or "minProperties" in schema)
        ):
            return self._mapping(schema, place, depth)
        parts = []
        for name in dict.fromkeys([*properties, *required]):
            inner = properties.get(name, others)
            where = f"{place}/properties/{pointer(name)}"
            if inner is False or (name not in required and not possible(inner)):
                if name in required:
                    refuse(place, "required", f"{name[:60]!r} can have no value")
                continue
            pair = chain(literal(quoted(name, place) + ":"), self.node(inner, where, depth + 1))
            parts.append((pair, name in required))
        must = sum(need for _, need in parts)
        if least > max(must, 1) or least > len(parts):
            refuse(place, "minProperties", f"{least} are more than are required; list them under 'required'")
        if most is not None and most < len(parts):
            refuse(place, "maxProperties", f"{most} are fewer than are declared; leave some out")
        return chain(literal("{"), joined(parts, COMMA, some=least > 0), literal("}"))

    def _mapping(self, schema: Schema, place: str, depth: int) -> Node:
        """An object of names that are not declared."""
        least, most = bounds(schema, "minProperties", "maxProperties", place)
        inner = schema.get("additionalProperties", True)
        if least > 1:
            refuse(place, "minProperties", f"{least} different names cannot be made sure of; declare them")
        if inner is False or most == 0:
            if least:
                refuse(place, "minProperties", "no property is allowed")
            return literal("{}")
        name = chain(QUOTE, repeat(in_json(regex.ALL), 1, None), QUOTE)
        pair = chain(name, literal(":"), self.node(inner, f"{place}/additionalProperties", depth + 1))
        return chain(literal("{"), separated(pair, least, most), literal("}"))

    def _array(self, schema: Schema, place: str, depth: int) -> Node:
        least, most = bounds(schema, "minItems", "maxItems", place)
        if schema.get("uniqueItems") and most not in (0, 1):
            refuse(place, "uniqueItems", "items that differ cannot be made sure of")
        inner = schema.get("items", True)
        first = [
            self.node(one, f"{place}/prefixItems/{i}", depth + 1)
            for i, one in enumerate(listed(schema, "prefixItems", place))
        ]
        if isinstance(inner, list):
            refuse(place, "items", "expected a schema; a list of them is 'prefixItems'")
        if most is not None:
            first = first[:most]
        rest: Node | None = None
        if inner is not False and (most is None or most > len(first)):
            if "items" in schema or not first or least > len(first):
                rest = self.node(inner, f"{place}/items", depth + 1)
        if rest is None and least > len(first):
            refuse(place, "minItems", f"{least} are more than 'items' and 'prefixItems' allow")
        return chain(literal("["), self._items(first, rest, least, most), literal("]"))

    def _items(self, first: list[Node], rest: Node | None, least: int, most: int | None) -> Node:
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


def listed(schema: Schema, keyword: str, place: str) -> list[Any]:
    found, most = schema.get(keyword, []), VALUES if keyword == "enum" else BRANCHES
    if not isinstance(found, list) or (keyword in schema and not found) or len(found) > most:
        refuse(place, keyword, f"expected a list of 1 to {most}")
    return found


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
    spoken = [("object", OF_OBJECTS), ("array", OF_ARRAYS), ("string", OF_STRINGS), ("number", OF_NUMBERS)]
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
    return isinstance(value, int | float) and not isinstance(value, bool)


def listed_values(schema: Schema, values: list[Any], place: str) -> Node:
    kept = values
    if "type" in schema:
        kept = [value for value in values if set(kinds_of(value)) & set(types(schema))]
    if not kept:
        refuse(place, "enum" if "enum" in schema else "const", "no value has the type")
    return union(literal(text) for text in dict.fromkeys(quoted(value, place) for value in kept))


def merged(left: Schema, right: Schema, place: str) -> Schema:
    """A schema whose values are valid in both."""
    made = dict(left)
    for keyword, value in right.items():
        if keyword in OF_OBJECTS - {"required", "minProperties", "maxProperties"}:
            continue
        mine = made.get(keyword)
        if keyword not in made or mine == value:
            made[keyword] = value
        elif keyword == "required":
            made[keyword] = list(dict.fromkeys([*made[keyword], *value]))
        elif keyword == "type":
            made[keyword] = common_types(types(left), types(right))
        elif keyword in LARGER | SMALLER and numeric(mine) and numeric(value):
            made[keyword] = max(mine, value) if keyword in LARGER else min(mine, value)
        elif keyword == "enum":
            made[keyword] = [v for v in made[keyword] if any(same(v, w) for w in value)]
        else:
            refuse(place, keyword, "it stands in two schemas that must both hold")
    return {**made, **merged_properties(left, right, place)}


def common_types(left: list[str], right: list[str]) -> list[str]:
    found = [kind for kind in left if kind in right]
    if "integer" in left + right and "number" in left + right and "number" not in found:
        found += [] if "integer" in found else ["integer"]
    return found


def merged_properties(left: Schema, right: Schema, place: str) -> Schema:
    """Properties of both; a name that one does not declare is what its additionalProperties allow."""
    sides = [(one.get("properties", {}), one.get("additionalProperties", True)) for one in (left, right)]
    for properties, _ in sides:
        if not isinstance(properties, Mapping) or len(properties) > PROPERTIES:
            refuse(place, "properties", f"expected an object of at most {PROPERTIES}")
    made: dict[str, Any] = {}
    names = dict.fromkeys([*sides[0][0], *sides[1][0]])
    if names:
        made["properties"] = {name: agreed(*(p.get(name, others) for p, others in sides)) for name in names}
    if any("additionalProperties" in one for one in (left, right)):
        made["additionalProperties"] = agreed(sides[0][1], sides[1][1])
    return made


def agreed(left: Any, right: Any) -> Any:
    if left is False or right is False:
        return False
    if left is True or left == right:
        return right
    return left if right is True else {"allOf": [left, right]}


def possible(schema: Any) -> bool:
    """Whether a schema is not plainly one without values."""
    if schema is False:
        return False
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == [] or schema.get("enum") == []:
        return False
    properties = schema.get("properties", {})
    must = schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(must, list):
        return True
    if "object" not in types(schema) or len(types(schema)) > 1:
        return True
    return not any(isinstance(n, str) and not possible(properties.get(n, True)) for n in must)


def bounds(schema: Schema, low: str, high: str, place: str) -> tuple[int, int | None]:
    """Two bounds of a count."""
    for keyword in (low, high):
        value = schema.get(keyword, 0)
        if not numeric(value) or value != int(value) or value < 0:
            refuse(place, keyword, "expected a whole number from 0")
    least, most = int(schema.get(low, 0)), int(schema[high]) if high in schema else None
    if most is not None and most < least:
        refuse(place, high, f"{most} is below {low}, {least}")
    return least, most


def separated(part: Node, least: int, most: int | None) -> Node:
    """A part some times, with commas."""
    if most == 0:
        return literal("")
    more = repeat(chain(COMMA, part), max(least - 1, 0), None if most is None else most - 1)
    whole = chain(part, more)
    return whole if least else optional(whole)


def string(schema: Schema, place: str) -> Node:
    least, most = bounds(schema, "minLength", "maxLength", place)
    inner: list[Node] = []
    if "pattern" in schema:
        if not isinstance(schema["pattern"], str):
            refuse(place, "pattern", "expected a string")
        try:
            inner.append(regex.search(schema["pattern"], in_json))
        except GrammarError as error:
            raise SchemaError(f"the schema has 'pattern' at '#{place}': {error}") from None
    if "format" in schema:
        if schema["format"] not in FORMATS:
            refuse(
                place,
                "format",
                f"{str(schema['format'])[:40]!r} is not known; known are {', '.join(FORMATS)}",
            )
        inner.append(regex.full_match(FORMATS[schema["format"]], in_json))
    if not inner or least or most is not None:
        character = in_json(regex.ALL)
        if character.places * max(least, most or 0) > 27_000:
            keyword = "maxLength" if most is not None else "minLength"
            refuse(place, keyword, "it is too large; expected at most about 400")
        inner.append(repeat(character, least, most))
    whole = inner[0]
    for one in inner[1:]:
        whole = both(whole, one)
    return chain(QUOTE, whole, QUOTE)


def limits(schema: Schema, place: str) -> tuple[float, bool, float, bool]:
    """Least value, whether it is left out, largest value, whether it is left out."""
    for keyword in OF_NUMBERS:
        if keyword in schema and (not numeric(schema[keyword]) or not math.isfinite(schema[keyword])):
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


def integer(schema: Schema, place: str) -> Node:
    low, above, high, below = limits(schema, place)
    least = -MOST_DIGITS if low == -math.inf else math.floor(low) + 1 if above else math.ceil(low)
    most = MOST_DIGITS if high == math.inf else math.ceil(high) - 1 if below else math.floor(high)
    least, most = max(least, -MOST_DIGITS), min(most, MOST_DIGITS)
    if least > most:
        refuse(place, keyword_of(schema), "no whole number of at most 15 digits is left")
    parts = []
    if least < 0:
        parts.append(chain(literal("-"), whole_numbers(max(-most, 1), -least)))
    if most >= 0:
        parts.append(whole_numbers(max(least, 0), most))
    return union(parts)


def keyword_of(schema: Schema) -> str:
    return min(OF_NUMBERS & set(schema), default="type")


def number(schema: Schema, place: str) -> Node:
    """A number; bounds must be whole ones, or 0 < x < 1 would need endless digits."""
    low, above, high, below = limits(schema, place)
    fraction = chain(literal("."), repeat(DIGIT, 1, 15))
    if low == -math.inf and high == math.inf:
        exponent = chain(
            union([literal("e"), literal("E")]), repeat(union([literal("+"), literal("-")]), 0, 1)
        )
        parts = (
            whole_numbers(0, MOST_DIGITS),
            optional(fraction),
            optional(chain(exponent, repeat(DIGIT, 1, 2))),
        )
        return chain(optional(literal("-")), *parts)
    for bound in (low, high):
        if math.isfinite(bound) and bound != int(bound):
            refuse(place, keyword_of(schema), f"{bound} is no whole number; those are known here")
    least, most = max(low, -MOST_DIGITS), min(high, MOST_DIGITS)
    found = [*positive(least, above, most, below)]
    found += [chain(literal("-"), one) for one in positive(-most, below, -least, above)]
    if not found:
        refuse(place, keyword_of(schema), "no number is left")
    return union(found)


def positive(low: float, above: Any, high: float, below: Any) -> Iterator[Node]:
    """Numbers from `low` to `high` without a sign, at least 0."""
    if high < 0 or low > high:
        return
    if low < 0:
        low, above = 0, False
    a, b = int(low), int(high)
    zeros = optional(chain(literal("."), repeat(literal("0"), 1, 15)))
    fraction = chain(literal("."), repeat(DIGIT, 1, 15))
    more = chain(literal("."), repeat(literal("0"), 0, 14), byte_range(49, 57))
    if a == b:
        if not above and not below:
            yield chain(literal(str(a)), zeros)
        return
    yield chain(literal(str(a)), more if above else optional(fraction))
    if b - a > 1:
        yield chain(whole_numbers(a + 1, b - 1), optional(fraction))
    if not below:
        yield chain(literal(str(b)), zeros)


def anything(depth: int) -> Node:
    """Any value whose lists and objects nest so deep."""
    text = string({}, "")
    plain = [text, number({}, ""), literal("true"), literal("false"), literal("null")]
    if not depth:
        return union(plain)
    inner = anything(depth - 1)
    array = chain(literal("["), separated(inner, 0, None), literal("]"))
    pair = chain(text, literal(":"), inner)
    return union([*plain, array, chain(literal("{"), separated(pair, 0, None), literal("}"))])
