"""A schema while it is read: references, unions, and a maker for each type."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..expression import Node, TooLarge, literal, union
from . import arrays, objects
from .anything import anything
from .drafts import draft_of, modern
from .keywords import (
    ANNOTATIONS,
    BRANCHED,
    DEEPEST,
    EXCLUDED,
    INTERNAL,
    TYPES,
    VALUE,
    VISITS,
    Impossible,
    Schema,
    SchemaError,
    allowed_values,
    checked_keywords,
    checked_shapes,
    impossible,
    kinds_of,
    listed,
    quoted,
    refuse,
    same,
    types,
)
from .listed import valid
from .merging import apart, merged
from .negation import violations
from .numbers import integer, number
from .texts import string

ANYTHING = 2  # levels of a value that may be any
BRANCHING = {"anyOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"}


@dataclass(frozen=True)
class Allowance:
    """levels: how deep a schema that leads back to itself may nest. characters: that a bound may count to."""

    levels: int
    characters: int


class Reader:
    """One schema while it is read."""

    def __init__(self, root: Any, allowance: Allowance) -> None:
        self.root, self.allowance, self.visits = root, allowance, 0
        self.draft = draft_of(root)
        self.known: dict[Any, Node | Impossible] = {}
        self.open: Counter[str] = Counter()
        self.looping: set[str] = set()
        self.here: list[str] = []  # references that lead to this place of a value
        self.counted = 0

    @property
    def allowed(self) -> bool:
        """Whether the allowance has made a difference, so that a smaller one may help."""
        return bool(self.looping) or self.counted > 0

    def characters(self, schema: Schema) -> int:
        """To how many characters a string's bounds are counted."""
        if "maxLength" in schema or "minLength" in schema:
            self.counted += 1
        return self.allowance.characters

    def inner(self, schema: Any, place: str, depth: int) -> Node:
        """The expression of a schema of a part of a value.

        Raises:
            Impossible: no part is valid.
        """
        here, self.here = self.here, []
        try:
            return self.node(schema, place, depth)
        finally:
            self.here = here

    def node(self, schema: Any, place: str, depth: int) -> Node:
        """The expression of a schema at a place.

        Raises:
            Impossible: no value is valid.
        """
        self._visit(place, depth)
        if schema is True or schema == {}:
            return anything(ANYTHING)
        if schema is False:
            impossible(place, "false", "no value is valid")
        if isinstance(schema, Mapping) and set(schema) - ANNOTATIONS == {"$ref"}:
            return self._referred(schema["$ref"], place, depth)
        refs: list[str] = []
        flat = self._flat(schema, place, depth, refs)
        with self._entered(refs, place):
            return self._branched(flat, place, depth)

    def _visit(self, place: str, depth: int) -> None:
        self.visits += 1
        if depth > DEEPEST:
            raise SchemaError(f"the schema goes deeper than {DEEPEST} levels at '#{place}'; make it smaller")
        if self.visits > VISITS:
            raise TooLarge(f"the schema goes beyond {VISITS} parts at '#{place}'; make it smaller")

    def _target(self, ref: Any, place: str) -> Any:
        """What a local reference points at."""
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            refuse(place, "$ref", f"{str(ref)[:80]!r} is not in this schema; expected '#/...'")
        found = self.root
        for part in ref.split("/")[1:]:
            key = part.replace("%25", "%").replace("%22", '"').replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and re.fullmatch("[0-9]{1,9}", key) and int(key) < len(found):
                found = found[int(key)]
            else:
                refuse(place, "$ref", f"{ref[:80]!r} points at nothing")
        return found

    @contextmanager
    def _entered(self, refs: Sequence[str], place: str) -> Iterator[None]:
        """Inside of references: one that leads back to itself is entered a few times."""
        for ref in refs:
            if self.open[ref]:
                self.looping.add(ref)
            if self.open[ref] > self.allowance.levels:
                impossible(place, "$ref", f"{ref[:80]!r} leads back to itself, without an end")
        self.open.update(refs)
        self.here += refs
        try:
            yield
        finally:
            self.open.subtract(refs)
            del self.here[len(self.here) - len(refs) :]

    def _followed(self, ref: Any, place: str) -> Any:
        """What a reference points at, which must lead on into a value before it comes back."""
        if ref in self.here:
            refuse(place, "$ref", f"{ref[:80]!r} leads back to itself at once")
        return self._target(ref, place)

    def _referred(self, ref: Any, place: str, depth: int) -> Node:
        target = self._followed(ref, place)
        before = {one: count for one, count in self.open.items() if count and one in self.looping}
        key = (ref, frozenset(before.items()))
        if key not in self.known:
            with self._entered([ref], place):
                try:
                    found: Node | Impossible = self.node(target, ref[1:], depth + 1)
                except Impossible as error:
                    found = error
            if any(count for one, count in self.open.items() if one in self.looping and one not in before):
                return self._given(found)  # it depends on a loop that was found meanwhile
            self.known[key] = found
        return self._given(self.known[key])

    @staticmethod
    def _given(found: Node | Impossible) -> Node:
        if isinstance(found, Impossible):
            raise found
        return found

    def flat(self, schema: Any, place: str, depth: int) -> Schema:
        """A schema of a part of a value without references and allOf at its top."""
        here, self.here = self.here, []
        try:
            return self._flat(schema, place, depth, [])
        finally:
            self.here = here

    def _flat(self, schema: Any, place: str, depth: int, refs: list[str]) -> Schema:
        """References and allOf at the top of a schema, written into it; what branches as lists of schemas, of
        each of which one must hold. `refs` gets the references.
        """
        self._visit(place, depth)
        if schema is False:
            impossible(place, "false", "no value is valid")
        if schema is True:
            return {}
        if not isinstance(schema, Mapping):
            raise SchemaError(f"the schema at '#{place}' is a {type(schema).__name__}; expected an object")
        schema = modern(schema, self.draft, place)
        checked_keywords(schema, place)
        branches = [*schema.get(BRANCHED, []), *self._branches(schema, place)]
        left_out = {"$ref", "allOf", BRANCHED, *BRANCHING, *ANNOTATIONS}
        flat: Schema = {keyword: value for keyword, value in schema.items() if keyword not in left_out}
        parts = [(part, f"{place}/allOf/{i}") for i, part in enumerate(listed(schema, "allOf", place))]
        if "$ref" in schema:
            ref = schema["$ref"]
            target = self._followed(ref, place)
            self.here.append(ref)
            flat = merged(flat, self._flat(target, ref[1:], depth + 1, refs), ref[1:])
            self.here.pop()
            refs.append(ref)
        for part, where in parts:
            flat = merged(flat, self._flat(part, where, depth + 1, refs), where)
        return {**flat, BRANCHED: [*flat.get(BRANCHED, []), *branches]} if branches else flat

    def _branches(self, schema: Schema, place: str) -> Iterator[list[Any]]:
        """Lists of schemas, of each of which one must hold."""
        if "anyOf" in schema:
            yield listed(schema, "anyOf", place)
        if "oneOf" in schema:
            yield self._exclusive(listed(schema, "oneOf", place), f"{place}/oneOf")
        if "not" in schema:
            yield self._violations(schema["not"], place, "not")
        if "if" in schema and ("then" in schema or "else" in schema):
            otherwise = violations(schema["if"], self._resolved, place)
            yield [
                {"allOf": [schema["if"], schema.get("then", True)]},
                *({"allOf": [way, schema.get("else", True)]} for way in otherwise),
            ]
        for keyword in ("dependentRequired", "dependentSchemas"):
            for name, needed in schema.get(keyword, {}).items():
                more = {"required": needed} if keyword == "dependentRequired" else needed
                yield [{"properties": {name: False}}, {"allOf": [{"required": [name]}, more]}]

    def _violations(self, schema: Any, place: str, keyword: str) -> list[Any]:
        if schema is True or (isinstance(schema, Mapping) and not set(schema) - ANNOTATIONS):
            impossible(place, keyword, "every value is valid in it")
        if not (found := violations(schema, self._resolved, place)):
            refuse(place, keyword, "what is not valid in it is not known here")
        return found

    def _resolved(self, schema: Schema) -> Schema:
        """A schema in the words of the newest draft, behind its reference where it is nothing else."""
        schema = modern(schema, self.draft, "")
        checked_shapes(schema, "")
        if "$ref" not in schema:
            return schema
        target = self._target(schema["$ref"], "")
        rest = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
        return {"allOf": [target, rest]} if rest else {"allOf": [target]}

    def _exclusive(self, branches: list[Any], place: str) -> list[Any]:
        """Branches of which exactly one holds: where it is not certain of two, one excludes the other."""
        if len(branches) > 64:
            refuse(place, "oneOf", f"it has {len(branches)} branches; expected at most 64")
        apart_ = {
            (i, j): self.disjoint(branches[i], branches[j]) for i in range(len(branches)) for j in range(i)
        }
        made = []
        for i, branch in enumerate(branches):
            others = [j for j in range(len(branches)) if j != i and not apart_[max(i, j), min(i, j)]]
            ways = [violations(branches[j], self._resolved, place) for j in others]
            if all(ways):
                made.append({"allOf": [branch, *({"anyOf": found} for found in ways)]} if ways else branch)
        if not made:
            refuse(place, "oneOf", "its branches may hold together, and cannot be told apart here; use anyOf")
        return made

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
        spoken = all("type" in one or allowed_values(one) is not None for one in (left, right))
        common = kinds[0] & kinds[1]
        if not common:
            return spoken
        values = [allowed_values(one) for one in (left, right)]
        if values[0] is not None and values[1] is not None:
            return not any(same(a, b) for a in values[0] for b in values[1])
        if not spoken:
            return False
        if common <= {"integer", "number"}:
            return apart(left, right)
        return common == {"object"} and self._told_apart(left, right)

    def _seen(self, schema: Any) -> Any:
        """A schema behind references, as far as it is plain."""
        if isinstance(schema, Mapping):
            checked_shapes(schema, "")
        if isinstance(schema, Mapping) and ("$ref" in schema or "allOf" in schema):
            try:
                return self.flat(schema, "", 0)
            except Impossible:
                return False
        return schema

    def _told_apart(self, left: Schema, right: Schema) -> bool:
        """Whether a property tells two objects apart."""
        for one, other in ((left, right), (right, left)):
            for name in one.get("required", ()):
                others = other.get("properties", {})
                closed = other.get("additionalProperties") is False and not other.get("patternProperties")
                if name not in others and closed:
                    return True
                mutual = name in other.get("required", ()) or others.get(name) is False
                if mutual and name in others and name in one.get("properties", {}):
                    if self.disjoint(one["properties"][name], others[name]):
                        return True
        return False

    def _branched(self, flat: Schema, place: str, depth: int) -> Node:
        """The union over what branches."""
        if not flat.get(BRANCHED):
            return self._plain(flat, place, depth)
        first, *later = flat[BRANCHED]
        base = {**flat, BRANCHED: later}
        found, why = [], None
        for i, branch in enumerate(first):
            where, refs = f"{place}/anyOf/{i}", list[str]()
            try:
                whole = merged(base, self._flat(branch, where, depth + 1, refs), where)
                with self._entered(refs, where):
                    found.append(self._branched(whole, where, depth + 1))
            except Impossible as error:
                why = error
        if not found:
            impossible(place, "anyOf", f"no branch can be met; {why}")
        return union(found)

    def _plain(self, schema: Schema, place: str, depth: int) -> Node:
        """A schema of a type, or of listed values."""
        if (values := allowed_values(schema)) is not None:
            return self._listed(schema, values, place)
        kinds = types(schema)
        if not kinds:
            impossible(place, "type", "no type is left")
        if unknown := [kind for kind in kinds if kind not in TYPES]:
            refuse(place, "type", f"{str(unknown[0])[:60]!r} is no type; expected {', '.join(TYPES)}")
        kinds = [kind for kind in kinds if kind != "integer" or "number" not in kinds]
        found, why = [], None
        for kind in kinds:
            try:
                found.append(self._of_type(kind, schema, place, depth))
            except Impossible as error:
                why = error
        if not found:
            raise why or Impossible(f"no value is valid at '#{place}'")
        return union(found)

    def _of_type(self, kind: str, schema: Schema, place: str, depth: int) -> Node:
        excluded = [value for value in schema.get(EXCLUDED, []) if kind in kinds_of(value)]
        match kind:
            case "string":
                return string(schema, place, self.characters(schema))
            case "number":
                return number(schema, place)
            case "integer":
                return integer(schema, place)
            case "boolean" | "null":
                values = [None] if kind == "null" else [True, False]
                left = [value for value in values if not any(same(value, one) for one in excluded)]
                if not left:
                    impossible(place, "not", "no value is left")
                return union(literal(quoted(value, place)) for value in left)
        if excluded:
            refuse(place, "not", "arrays and objects cannot be excluded by their values here")
        if kind == "object":
            return objects.node(self, schema, place, depth)
        return arrays.node(self, schema, place, depth)

    def _listed(self, schema: Schema, values: list[Any], place: str) -> Node:
        """Listed values, as far as they are valid in what stands beside them."""
        beside = {k: v for k, v in schema.items() if k not in VALUE and k not in ANNOTATIONS and v != []}
        if beside and not set(beside) <= {EXCLUDED}:
            if any(keyword in INTERNAL and keyword != EXCLUDED for keyword in beside):
                values = self._fitting(schema, values, place)
            else:
                values = [*valid(values, beside, place)]
        excluded = schema.get(EXCLUDED, [])
        kept = [value for value in values if not any(same(value, one) for one in excluded)]
        if "type" in schema:
            kept = [value for value in kept if set(kinds_of(value)) & set(types(schema))]
        if not kept:
            impossible(place, "enum" if "enum" in schema else "const", "no value is left")
        return union(literal(text) for text in dict.fromkeys(quoted(value, place) for value in kept))

    def _fitting(self, schema: Schema, values: list[Any], place: str) -> list[Any]:
        """Strings among listed values that patterns allow."""
        from ..automaton import compiled

        rest = {k: v for k, v in schema.items() if k not in VALUE} | {"type": "string"}
        allowed = compiled(string(rest, place, self.allowance.characters))
        return [v for v in values if not isinstance(v, str) or allowed.accepts(quoted(v, place).encode())]
