"""Texts of a form by imported models: always valid, in both ways of writing, at any number of steps."""

import dataclasses
import json
import re

import jsonschema
import pytest
from typer.testing import CliRunner

from bowstring.cli import app
from bowstring.decode.config import Blocks
from bowstring.decode.decoder import Decoder
from bowstring.grammar.checking import fits
from bowstring.grammar.expression import GrammarError
from bowstring.llm.folder import Model
from bowstring.llm.importing import GGUFSource, import_model
from bowstring.llm.pipeline import LanguageModel

from .gguf_files import gguf, small_llama

SCHEMAS = [
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
            "kind": {"enum": ["cat", "dog", None]},
        },
        "required": ["name", "kind"],
        "additionalProperties": False,
    },
    {"type": "array", "items": {"type": "number"}, "minItems": 2},
    {"anyOf": [{"type": "boolean"}, {"type": "object", "additionalProperties": {"type": "string"}}]},
    {},
]
HOT = {"temperature": 5.0, "top_k": 0, "top_p": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "small.gguf").write_bytes(gguf(*small_llama("Q8_0")))
    import_model(GGUFSource(folder / "small.gguf"), folder / "small")
    return folder / "small"


@pytest.fixture(scope="module")
def model(folder):
    return LanguageModel.load(folder)


def in_blocks(model, size=4, *, shifted=False):
    """The same weights as a block-diffusion model, a special token being its mask."""
    old = model.decoder
    config = dataclasses.replace(old.config, blocks=Blocks(size, 1, shifted))
    decoder = Decoder(config, *(getattr(old, name) for name in ("embedding", "layers", "norm", "head")))
    parts = {"decoder": decoder, "tokenizer": model.tokenizer, "template": model.template}
    return LanguageModel(Model(**parts), "blocks")


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
@pytest.mark.parametrize("max_tokens", [30, 90])
def test_json_always_fits_the_schema(model, schema, max_tokens):
    for seed in range(12):
        made = model.generate("the", schema=schema, max_tokens=max_tokens, seed=seed, **HOT)
        assert jsonschema.Draft202012Validator(schema).is_valid(json.loads(made.text)), made.text
        assert len(made.tokens) <= max_tokens


@pytest.mark.parametrize("steps", [None, 1, 2, 4])
@pytest.mark.parametrize("prompt", ["the", "the cat sat"])
def test_blocks_fit_at_any_number_of_steps(model, steps, prompt):
    for shifted in (False, True):
        blocks = in_blocks(model, shifted=shifted)
        for seed, schema in enumerate(SCHEMAS):
            made = blocks.generate(prompt, schema=schema, max_tokens=46, steps=steps, seed=seed, **HOT)
            assert jsonschema.Draft202012Validator(schema).is_valid(json.loads(made.text)), made.text


def test_a_full_context_ends_a_text_and_does_not_break_it(model):
    """Blocks of 3 leave one of the context's 256 tokens unused; a prompt leaves a few of them."""
    schema = {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 2}
    for one, length in ((model, 247), (in_blocks(model, 3), 243), (in_blocks(model, 3), 244)):
        for seed in range(4):
            made = one.generate("a" * length, schema=schema, max_tokens=99, seed=seed, **HOT)
            assert jsonschema.Draft202012Validator(schema).is_valid(json.loads(made.text)), made.text


def test_patterns_choices_and_chats(model):
    for seed in range(8):
        options = {"seed": seed, "max_tokens": 40, **HOT}
        assert re.fullmatch(
            r"\d{3}-[a-zäöü]+!", model.generate("the", regex=r"\d{3}-[a-zäöü]+!", **options).text
        )
        assert model.generate("the", choices=["yes", "no", "né 😀"], **options).text in ("yes", "no", "né 😀")
        *pieces, result = model.chat_stream("the", schema={"enum": ["a", 1]}, **options)
        assert "".join(pieces) == result.text and result.text in ('"a"', "1")
        assert result.finish_reason == "stop"


def test_greedy_draws_are_the_likeliest_that_fit(model):
    """A form that everything fits changes nothing."""
    options = {"temperature": 0, "max_tokens": 12}
    free = model.generate("the", **options)
    assert free.text.isascii() is not None
    again = model.generate("the", regex=r"[\u0000-\uffff]*", **options)
    if free.text.isprintable() and "�" not in free.text:
        assert again.text == free.text
    assert again.settings["regex"] == r"[\u0000-\uffff]*"


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"schema": {"not": {}}}, GrammarError, "'not' at '#'"),
        (
            {"schema": {"minItems": 40, "items": {"const": 5}}, "max_tokens": 20},
            GrammarError,
            "at least 81 tokens",
        ),
        ({"schema": True, "regex": "a"}, ValueError, "schema and regex stand together"),
        ({"schema": "{}"}, TypeError, "schema is a str"),
        ({"choices": []}, ValueError, "choices are 0"),
        ({"choices": "yes"}, TypeError, "choices is a str"),
        ({"regex": "a("}, GrammarError, "without an end"),
        ({"regex": "a+", "stop": "b"}, ValueError, "stop would cut"),
        ({"choices": ["\ud800"]}, GrammarError, "UTF-8"),
    ],
)
def test_what_cannot_be_met_is_refused_before_any_work(model, options, error, sentence, monkeypatch):
    monkeypatch.setattr(Decoder, "forward", lambda *_: pytest.fail("it reads"))
    with pytest.raises(error, match=sentence):
        model.stream("the", **options)


def test_the_last_look_sees_what_does_not_fit():
    assert not fits('{"a":1}', "schema", {"required": ["b"]}) and fits("[]", "schema", True)
    assert not fits("ab", "regex", "a") and not fits("c", "choices", ["a"])


def test_the_command_takes_a_file_a_pattern_and_choices(folder, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(SCHEMAS[0]))
    (tmp_path / "bad.json").write_text("{")
    run = lambda *more: CliRunner().invoke(app, ["run", "the", "--model", str(folder), *more])
    made = run("--schema", str(tmp_path / "s.json"), "--max-tokens", "60", "--json")
    assert set(json.loads(json.loads(made.stdout)["text"])) >= {"name", "kind"}
    assert run("--choices", "yes", "--choices", "no").stdout.strip() in ("yes", "no")
    chat = CliRunner().invoke(app, ["chat", "hi", "--model", str(folder), "--regex", "[ab]{3}c"])
    assert re.fullmatch("[ab]{3}c", chat.stdout.strip())
    assert isinstance(run("--schema", str(tmp_path / "bad.json")).exception, (ValueError, SystemExit))
