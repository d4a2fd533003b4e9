"""Schemas: every text is JSON that fits; what cannot be met is refused by keyword and place."""

import json
import random
import time

import jsonschema
import pytest

from bowstring.grammar.automaton import compiled
from bowstring.grammar.expression import GrammarError
from bowstring.grammar.schema import SchemaError, expression

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["a", "b\n", "ü", 1.5, None, {"x": [1]}]}, "maxItems": 3},
        "home": {"$ref": "#/$defs/place"},
    },
    "required": ["name", "home"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"const": -3}}}},
}
SCHEMAS = [
    PERSON,
    True,
    {"type": "string"},
    {"type": ["string", "null", "integer", "number"]},
    {"type": "integer", "minimum": -37, "exclusiveMaximum": 1205},
    {"type": "integer", "exclusiveMinimum": 9.5},
    {"type": "number", "minimum": -3, "exclusiveMaximum": 12},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": "string", "pattern": "^[A-Z]{2}\\d+", "maxLength": 9},
    {"type": "string", "pattern": 'a"|\\\\|\\n', "maxLength": 3},
    {"enum": [1, "1", True, None, [], {"a": {"b": "c d"}}]},
    {"const": "x", "type": "string"},
    {"type": "array", "minItems": 2, "maxItems": 4, "items": {"type": "boolean"}},
    {"type": "array", "prefixItems": [{"const": 1}, {"type": "string"}], "items": False, "minItems": 1},
    {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": {"type": "null"}, "maxItems": 5},
    {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3},
    {"type": "object", "properties": {c: {"const": c} for c in "abcde"}, "minProperties": 1},
    {"properties": {"a": {"type": "integer"}, "b": False}, "required": ["a", "c"]},
    {"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}, False]},
    {"oneOf": [{"type": "string"}, {"type": "object", "properties": {"a": True}}, {"enum": [1, 2]}]},
    {
        "type": "object",
        "properties": {"kind": {"type": "string"}, "n": {"type": "integer"}},
        "oneOf": [
            {"properties": {"kind": {"const": "a"}}, "required": ["kind", "n"]},
            {"properties": {"kind": {"const": "b"}, "m": {"type": "null"}}, "required": ["kind"]},
        ],
    },
    {
        "allOf": [
            {"properties": {"a": {"minimum": 3}}},
            {"properties": {"a": {"type": "integer", "maximum": 5}}},
        ]
    },
    {
        "allOf": [{"$ref": "#/$defs/p"}, {"required": ["a"]}],
        "$defs": {"p": {"properties": {"a": {"type": "null"}}}},
    },
    *(
        {"type": "string", "format": name}
        for name in ("date", "date-time", "time", "uuid", "email", "ipv4", "uri")
    ),
]


def random_text(automaton, draws):
    """A text of the automaton by a random walk that goes home after a while."""
    state, made = automaton.start, bytearray()
    while True:
        if automaton.accepting[state] and (len(made) > 60 or draws.random() < 0.2):
            return bytes(made)
        live = [b for b in range(256) if automaton.table[state, b] != automaton.dead]
        if not live:
            return bytes(made)
        if len(made) > 60:
            near = automaton.distance[automaton.table[state]]
            live = [b for b in live if near[b] == min(near[live])]
        byte = draws.choice(live)
        made.append(byte)
        state = automaton.table[state, byte]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
def test_every_text_is_a_value_of_the_schema(schema):
    automaton, draws = compiled(expression(schema)), random.Random(5)
    check = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.FormatChecker(["date", "uuid", "email", "ipv4"])
    )
    for _ in range(150):
        text = random_text(automaton, draws).decode()
        value = json.loads(text)
        assert check.is_valid(value), text
        if "." not in text and "e" not in text.lower() and "-0" not in text:
            assert json.dumps(value, ensure_ascii=False, separators=(",", ":")) == text or '"' in text


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        (PERSON, {"name": "x", "home": {}}, {"home": {}, "name": "x"}),
        ({"type": "integer", "minimum": -37, "maximum": 1205}, -37, -38),
        ({"type": "integer", "minimum": -37, "maximum": 1205}, 1205, 1206),
        ({"type": "string", "maxLength": 2}, "é😀", "abc"),
        ({"type": "string"}, 'a"\\\n\x01é\x7f', 3),
        ({"type": "number", "minimum": 0, "maximum": 3}, 2.75, 3.5),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [1, 2, 3, 4, 5, 6], []),
    ],
)
def test_values_are_told_apart(schema, yes, no):
    automaton = compiled(expression(schema))
    write = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert automaton.accepts(write(yes)) and not automaton.accepts(write(no))


def test_whole_numbers_in_a_range_are_all_there():
    for low, high in [(-12, 7), (0, 0), (5, 1010), (-300, -99), (9, 11)]:
        automaton = compiled(expression({"type": "integer", "minimum": low, "maximum": high}))
        found = [n for n in range(-1200, 1200) if automaton.accepts(str(n).encode())]
        assert found == list(range(low, high + 1))


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, "recursive.*|leads back"),
        ({"properties": {"a": {"not": {}}}}, "'not' at '#/properties/a'"),
        ({"type": "array", "items": {"type": "integer", "multipleOf": 3}}, "'multipleOf' at '#/items'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems' at '#'"),
        ({"properties": {"a": {"type": "strnig"}}}, "'strnig' is no type"),
        ({"patternProperties": {"a": True}}, "'patternProperties'"),
        ({"if": True, "then": True}, "'if'"),
        ({"$ref": "http://example.org/x"}, "'\\$ref' at '#'"),
        ({"$ref": "#/$defs/none"}, "points at nothing"),
        ({"type": "string", "pattern": "a(?=b)"}, "'pattern' at '#'.*lookaround"),
        ({"type": "string", "format": "regex"}, "'format' at '#'"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "'maxLength' at '#'"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "'maximum' at '#'"),
        ({"type": "number", "minimum": 0.5}, "'minimum' at '#'"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "'oneOf' at '#/oneOf/1'"),
        ({"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, "use anyOf"),
        ({"enum": []}, "'enum'"),
        ({"properties": {"a": False}, "required": ["a"]}, "can have no value"),
        ({"properties": {"a": {}}, "required": ["b"], "additionalProperties": False}, "can have no value"),
        ({"items": [{"type": "string"}]}, "'items' at '#'"),
        ({"enum": ["\ud800"]}, "not JSON"),
        ({"enum": [float("inf")]}, "not JSON"),
        (3, "expected an object"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "no text fits"),
    ],
)
def test_what_cannot_be_met_is_refused_by_name_and_place(schema, sentence):
    with pytest.raises(GrammarError, match=sentence):
        compiled(expression(schema))


def nested(depth):
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def laughs(levels, beside):
    """Each definition names the one before ten times."""
    defs = {"d0": {"type": "integer"}}
    for i in range(1, levels):
        defs[f"d{i}"] = {"properties": {f"p{k}": {"$ref": f"#/$defs/d{i - 1}", **beside} for k in range(10)}}
    return {"$defs": defs, "$ref": f"#/$defs/d{levels - 1}"}


@pytest.mark.parametrize(
    "schema",
    [
        nested(60),
        nested(100_000),
        laughs(12, {}),
        laughs(12, {"required": []}),
        {"enum": [f"value number {i}" for i in range(200_000)]},
        {"enum": ["x" * 5_000_000]},
        {"type": "string", "minLength": 10**9},
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
        {"type": "string", "pattern": "(a|b)*a(a|b){30}"},
        {"type": "string", "pattern": "((a{100}){100}){100}"},
        {"properties": {f"p{i}": {"type": "string"} for i in range(20_000)}},
        {"allOf": [{"properties": {f"p{i}": {"type": "integer"}}} for i in range(4_000)]},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"oneOf": [{"properties": {f"k{i}": {}}, "required": [f"k{i}"]} for i in range(4_000)]},
    ],
    ids=lambda schema: str(type(schema)),
)
def test_hostile_schemas_are_refused_before_they_blow_up(schema):
    begun = time.process_time()
    with pytest.raises((SchemaError, GrammarError)):
        compiled(expression(schema))
    assert time.process_time() - begun < 5  # against runaway growth, not a measure of speed
