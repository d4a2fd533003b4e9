"""Schemas: every text is JSON that fits; what cannot be met is refused by keyword and place."""

import json
import random
import re
import time

import jsonschema
import numpy as np
import pytest
from jsonschema.validators import validator_for

from bowstring.grammar.automaton import compiled
from bowstring.grammar.expression import GrammarError, TooLarge
from bowstring.grammar.schema import SchemaError, automaton, expression

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
        for name in ("date", "date-time", "time", "duration", "uuid", "email", "ipv4", "ipv6", "uri", "regex")
    ),
    {"type": "number", "minimum": 9.99, "maximum": 99.5},
    {"type": "number", "exclusiveMinimum": -0.25, "exclusiveMaximum": 0.125},
    {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01},
    {"type": "number", "multipleOf": 2.5},
    {"type": "integer", "multipleOf": 7, "minimum": -99},
    {"type": "array", "items": {"enum": ["a", 1, None, [2]]}, "uniqueItems": True, "minItems": 2},
    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 49}, "uniqueItems": True,
     "minItems": 6, "maxItems": 6},
    {"type": "array", "items": {"type": "string", "maxLength": 5}, "uniqueItems": True, "minItems": 3},
    {"type": "array", "items": {"type": "integer"}, "contains": {"minimum": 7}, "minContains": 2},
    {"type": "object", "patternProperties": {"^a": {"type": "null"}, "b$": {"const": 1}}},
    {"type": "object", "patternProperties": {"^a": {"type": "null"}}, "additionalProperties": {"const": 2}},
    {"properties": {"ab": {"type": "integer"}}, "patternProperties": {"^a": {"minimum": 4}}},
    {"propertyNames": {"pattern": "^[A-Z]"}, "additionalProperties": {"type": "integer"}},
    {"additionalProperties": {"type": "integer"}, "minProperties": 3},
    {"properties": {c: {"const": c} for c in "abcde"}, "minProperties": 2, "maxProperties": 3},
    {"type": "string", "maxLength": 6, "not": {"anyOf": [{"pattern": "a"}, {"enum": ["b", ""]}]}},
    {"type": "integer", "minimum": 0, "maximum": 9, "not": {"enum": [0, 3, 5.0]}},
    {"type": ["number", "string"], "not": {"type": "string", "minLength": 2}},
    {"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["a"]}},
    {"not": {"type": ["array", "object", "integer"]}},
    {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]},
    {"properties": {"a": {"const": 1}, "b": {"const": 2}},
     "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"properties": {"kind": {"enum": ["x", "y"]}, "n": {"type": "integer"}}, "required": ["kind"],
     "if": {"properties": {"kind": {"const": "x"}}}, "then": {"required": ["n"]},
     "else": {"properties": {"n": False}}},
    {"properties": {"a": {"const": 1}, "b": {"const": 2}}, "dependentRequired": {"a": ["b"]}},
    {"properties": {"a": {"const": 1}, "b": {}},
     "dependentSchemas": {"a": {"properties": {"b": {"const": 3}}}}},
    {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
        "x": {"type": "integer", "minimum": 0, "maximum": 9},
        "next": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}}, "required": ["x"]}}},
    {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "maxItems": 2}, {"type": "boolean"}]},
    {"$schema": "http://json-schema.org/draft-04/schema#", "type": "array", "additionalItems": False,
     "items": [{"type": "integer", "minimum": 3, "exclusiveMinimum": True}, {"dependencies": {"a": ["b"]}}]},
    {"type": "string", "maxLength": 10**9, "x-said": 1, "nullable": True},
    {"type": "string", "pattern": "^[^\\s:]+$"},
]  # fmt: skip


def random_text(automaton, draws):
    """A text of the automaton by a random walk that goes home after a while."""
    state, made = automaton.start, bytearray()
    while True:
        if automaton.accepting[state] and (len(made) > 60 or draws.random() < 0.2):
            return bytes(made)
        live = np.flatnonzero(automaton.table[state] != automaton.dead).tolist()
        if not live:
            return bytes(made)
        if len(made) > 60:
            near = automaton.distance[automaton.table[state]]
            least = min(near[live])
            live = [b for b in live if near[b] == least]
        byte = draws.choice(live)
        made.append(byte)
        state = automaton.table[state, byte]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
def test_every_text_is_a_value_of_the_schema(schema):
    form, draws = automaton(schema), random.Random(5)
    reader = validator_for(schema, jsonschema.Draft202012Validator)
    formats = jsonschema.FormatChecker(["date", "uuid", "email", "ipv4", "ipv6", "regex"])
    check = reader(schema, format_checker=formats)
    for _ in range(150):
        text = random_text(form, draws).decode()
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
        ({"type": "number", "minimum": 0.25, "exclusiveMaximum": 2.5}, 2.4999, 2.5),
        ({"type": "number", "minimum": 0.25, "maximum": 0.26}, 0.2575, 0.261),
        ({"type": "number", "multipleOf": 0.5}, -12.5, 0.25),
        ({"type": "array", "items": {"enum": [3, 1, 2]}, "uniqueItems": True}, [3, 2], [3, 3]),
        ({"type": "string", "not": {"const": "root"}}, "roots", "root"),
        ({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 2}]}, 1, 3),
        ({"additionalProperties": {"type": "null"}, "minProperties": 2}, {"a": None, "o": None}, {"a": None}),
    ],
)
def test_values_are_told_apart(schema, yes, no):
    form = automaton(schema)
    write = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert form.accepts(write(yes)) and not form.accepts(write(no))


def test_whole_numbers_in_a_range_are_all_there():
    for low, high in [(-12, 7), (0, 0), (5, 1010), (-300, -99), (9, 11)]:
        form = automaton({"type": "integer", "minimum": low, "maximum": high})
        found = [n for n in range(-1200, 1200) if form.accepts(str(n).encode())]
        assert found == list(range(low, high + 1))


NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "required": ["next"]}


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, "leads back to itself, without an end"),
        ({"properties": {"a": {"not": {}}}, "required": ["a"]}, "'not' at '#/properties/a'"),
        ({"not": {"format": "date"}}, "'not' at '#': what is not valid in it is not known"),
        ({"type": "array", "items": {"type": "integer", "multipleOf": 99991}}, "'multipleOf' at '#/items'"),
        ({"type": "array", "items": {"type": "object"}, "uniqueItems": True}, "'uniqueItems' at '#'"),
        ({"properties": {"a": {"type": "strnig"}}}, "'strnig' is no type"),
        ({"type": "string", "maxLenght": 3}, "'maxLenght' at '#': no such keyword. Closest: 'maxLength'"),
        ({"$dynamicRef": "#a"}, "'\\$dynamicRef' at '#'"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "draft 3"),
        ({"$ref": "http://example.org/x"}, "'\\$ref' at '#'"),
        ({"$ref": "#/$defs/none"}, "points at nothing"),
        ({"type": "string", "pattern": "a(?=b)"}, "'pattern' at '#'.*lookaround"),
        ({"type": "string", "format": "datetime"}, "'format' at '#'.*Closest: 'date-time'"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "'maxLength' at '#'"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "'maximum' at '#'"),
        ({"type": "number", "minimum": 0.1234567890123456}, "'minimum' at '#'"),
        ({"oneOf": [{"type": "integer"}, {"type": "integer"}]}, "no branch can be met"),
        ({"enum": []}, "'enum'"),
        ({"properties": {"a": False}, "required": ["a"]}, "can have no value"),
        ({"properties": {"a": {}}, "required": ["b"], "additionalProperties": False}, "can have no value"),
        ({"items": [{"type": "string"}]}, "'items' at '#'"),
        ({"enum": ["\ud800"]}, "not JSON"),
        ({"enum": [float("inf")]}, "not JSON"),
        (3, "expected an object"),
        ({"type": "string", "pattern": "^a$", "minLength": 2}, "no text fits"),
        ({"type": "string", "minLength": 10**9}, "'minLength' at '#'"),
    ],
)
def test_what_cannot_be_met_is_refused_by_name_and_place(schema, sentence):
    with pytest.raises(GrammarError, match=sentence):
        compiled(expression(schema))


def test_a_form_that_is_too_large_counts_and_nests_less():
    texts = {"type": "array", "items": {"type": "string", "maxLength": 390}, "minItems": 9, "maxItems": 9}
    with pytest.raises(TooLarge):
        compiled(expression(texts))
    smaller = automaton(texts)
    assert smaller.accepts(json.dumps(["a" * 40] * 9, separators=(",", ":")).encode())
    assert not smaller.accepts(json.dumps(["a" * 391] * 9, separators=(",", ":")).encode())


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
        {"type": "array", "items": {"type": "string", "minLength": 390}, "minItems": 99},
        {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
        {"type": "string", "pattern": "(a|b)*a(a|b){30}"},
        {"type": "string", "pattern": "((a{100}){100}){100}"},
        {"properties": {f"p{i}": {"type": "string"} for i in range(20_000)}},
        {"allOf": [{"properties": {f"p{i}": {"type": "integer"}}} for i in range(4_000)]},
        {"oneOf": [{"properties": {f"k{i}": {"const": i}}} for i in range(60)]},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}},
        {"oneOf": [{"properties": {f"k{i}": {}}, "required": [f"k{i}"]} for i in range(4_000)]},
    ],
    ids=lambda schema: str(type(schema)),
)
def test_hostile_schemas_are_refused_before_they_blow_up(schema):
    begun = time.process_time()
    with pytest.raises((SchemaError, GrammarError)):
        automaton(schema)
    assert time.process_time() - begun < 1  # against runaway growth, not a measure of speed


def test_a_pattern_beside_listed_values_takes_no_exponential_time():
    hard = "a" * 40 + "!"
    begun = time.perf_counter()
    with pytest.raises(SchemaError, match="no value is left"):
        automaton({"enum": [hard], "pattern": "^(a+)+$"})
    with pytest.raises(SchemaError, match="no value is left"):
        automaton({"enum": [{hard: 1}], "patternProperties": {"^(a+)+!$": False}})
    with pytest.raises(SchemaError, match="no value is left"):
        automaton({"enum": [{hard: 1}], "patternProperties": {"^(a+)+$": {}}, "additionalProperties": False})
    assert time.perf_counter() - begun < 20
    left = automaton({"enum": ["ab", "b", 3], "pattern": "^a"})
    assert [left.accepts(text) for text in (b'"ab"', b'"b"', b"3")] == [True, False, True]


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"dependentRequired": 5}, "dependentRequired"),
        ({"dependentRequired": {"a": 5}}, "dependentRequired"),
        ({"dependentSchemas": []}, "dependentSchemas"),
        ({"patternProperties": []}, "patternProperties"),
        ({"enum": [{"a": 1}], "patternProperties": []}, "patternProperties"),
        ({"enum": [{"a": 1}], "properties": {"a": {"$ref": "#/enum"}}}, "enum"),
        ({"enum": ["a"], "pattern": 5}, "pattern"),
        ({"type": "number", "minimum": 10**400}, "minimum"),
        ({"type": "integer", "maximum": -(10**400)}, "maximum"),
        ({"type": "string", "minLength": 10**400}, "minLength"),
        ({"type": "number", "multipleOf": 10**400}, "multipleOf"),
        ({"items": {"$ref": "#/enum/²"}, "type": "array"}, "$ref"),
        ({"$ref": "#/enum/²", "enum": [1, 2, 3]}, "$ref"),
        ({"not": {"patternProperties": []}}, "patternProperties"),
        ({"not": {"dependentRequired": 5}}, "dependentRequired"),
        ({"not": {"required": [5]}}, "required"),
        ({"oneOf": [{"required": 5}, {"type": "object"}]}, "required"),
        ({"oneOf": [{"anyOf": 5}, {"type": "object"}]}, "anyOf"),
        ({"if": {"enum": 1.5}, "then": {"type": "string"}}, "enum"),
        ({"format": {}}, "format"),
        ({"oneOf": [{"type": {}}, {"type": "object"}]}, "type"),
    ],
)
def test_a_keyword_of_another_kind_is_refused_by_name_and_place(schema, keyword):
    with pytest.raises(SchemaError, match=re.escape(f"'{keyword}' at '#")):
        automaton(schema)


@pytest.mark.parametrize(
    "beside", [{"maxLength": 0}, {"maxItems": 0}, {"maxProperties": 0}, {"additionalProperties": False}]
)
def test_a_keyword_that_is_nought_binds_listed_values_too(beside):
    values = ["a", "", [1], [], {"a": 1}, {}]
    left = automaton({"enum": values} | beside)
    wanted = [jsonschema.Draft202012Validator(beside).is_valid(value) for value in values]
    assert [
        left.accepts(json.dumps(value, separators=(",", ":")).encode()) for value in values
    ] == wanted and not all(wanted)
