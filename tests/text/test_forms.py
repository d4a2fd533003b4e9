"""Our own text model held to a form: always valid, whatever its weights think of JSON."""

import json

import jsonschema
import pytest

from bowstring import ArrowEngine
from bowstring.grammar.expression import GrammarError

FOX = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "legs": {"type": "integer", "minimum": 0, "maximum": 8},
        "red": {"type": "boolean"},
    },
    "required": ["name", "legs"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine():
    return ArrowEngine.load("text-int4")


def test_a_text_is_json_of_the_schema_and_forced_tokens_cost_nothing(engine):
    for seed in range(3):
        made = engine.generate("a fox", schema=FOX, max_tokens=50, seed=seed, temperature=3.0, top_p=1.0)
        assert jsonschema.Draft202012Validator(FOX).is_valid(json.loads(made)), made
        assert made.nfe < len(made.tokens) and set(made.nats) == {"nll"}
        assert made.settings["schema"] == FOX


def test_choices_and_patterns_come_by_the_stream(engine):
    *frames, first, second = engine.stream("a fox", choices=["red", "grey"], n=2, max_tokens=9)
    assert {str(first), str(second)} <= {"red", "grey"} and frames
    assert engine.generate("a fox", "ar", regex="[ab]{4}c?", max_tokens=5).rstrip("c").strip("ab") == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"schema": FOX, "max_tokens": 3}, "at least"),
        ({"schema": {"not": {}}}, "'not' at '#'"),
        ({"regex": "a", "mode": "diffusion"}, "mode 'ar' alone"),
        ({"regex": "a", "stop": "a"}, "without stop"),
    ],
)
def test_what_cannot_be_met_is_refused(engine, options, sentence):
    with pytest.raises((GrammarError, ValueError), match=sentence):
        engine.generate("a fox", **options)
