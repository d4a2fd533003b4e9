"""Calls of functions by imported models: valid whenever they come, in the form of the model's template."""

import copy
import json
from enum import Enum
from typing import Any, Literal

import jsonschema
import pytest
from typer.testing import CliRunner

from bowstring.cli import app
from bowstring.decode.decoder import Decoder
from bowstring.decode.generate import Sampling, one_by_one
from bowstring.grammar import constrained
from bowstring.grammar.calls import STYLES, calls_in
from bowstring.grammar.checking import fits
from bowstring.grammar.expression import GrammarError
from bowstring.grammar.form import form
from bowstring.llm.chat import chat_tokens
from bowstring.llm.functions import described
from bowstring.llm.importing import GGUFSource, import_model
from bowstring.llm.pipeline import LanguageModel
from bowstring.llm.sandbox import rendered
from bowstring.llm.tools import requested_tools, style_of

from .gguf_files import gguf, small_llama
from .test_forms import in_blocks

HERMES = """{% if tools %}<|user|>tools{% for t in tools %}
{{ t | tojson }}{% endfor %}{% endif %}{% for m in messages %}<|user|>{{ m.role }} \
{{ m.content }}{% for c in m.tool_calls %}
<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}{% endfor %}:"""
LLAMA = """{% if tools %}{% for t in tools %}{{ t | tojson(indent=4) }}{% endfor %}{% endif %}\
{% for m in messages %}<|user|>{% if m.tool_calls %}{"name": "{{ m.tool_calls[0].function.name }}", \
"parameters": {{ m.tool_calls[0].function.arguments | tojson }}}\
{% else %}{{ m.content }}{% endif %}{% endfor %}:"""
PLAIN = "{% for m in messages %}<|user|>{{ m.role }} {{ m.content }}{% endfor %}:"
HOT = {"temperature": 5.0, "top_k": 0, "top_p": 1.0}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "What the weather will be.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 12},
                "days": {"type": "integer", "minimum": 1, "maximum": 9},
                "unit": {"$ref": "#/$defs/unit"},
            },
            "required": ["city", "unit"],
            "$defs": {"unit": {"enum": ["C", "F"]}},
        },
    },
}


def now() -> str:
    """The time."""


TOOLS = [WEATHER, now]
SCHEMAS = {"weather": WEATHER["function"]["parameters"], "now": {"type": "object", "maxProperties": 0}}
FORCED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model one of whose tokens is the opening of a call."""
    folder = tmp_path_factory.mktemp("models")
    metadata, tensors = small_llama("Q8_0", words=["<tool_call>"])
    metadata |= {"llama.context_length": 4096, "tokenizer.chat_template": HERMES}
    (folder / "small.gguf").write_bytes(gguf(metadata, tensors))
    import_model(GGUFSource(folder / "small.gguf"), folder / "small")
    return folder / "small"


@pytest.fixture(scope="module")
def model(folder):
    return LanguageModel.load(folder)


def with_template(model, template):
    made = copy.deepcopy(model)
    made.template = template
    return made


def valid(call):
    return jsonschema.Draft202012Validator(SCHEMAS[call.name]).is_valid(call.arguments)


@pytest.mark.parametrize("template", [HERMES, LLAMA, PLAIN], ids=["hermes", "llama", "plain"])
@pytest.mark.parametrize("choice", ["required", FORCED], ids=["required", "named"])
def test_a_forced_call_is_valid_in_every_draw(model, template, choice):
    one = with_template(model, template)
    for seed in range(12):
        *pieces, made = one.chat_stream(
            "the", tools=TOOLS, tool_choice=choice, max_tokens=110, seed=seed, **HOT
        )
        assert made.tool_calls and all(map(valid, made.tool_calls)) and made.text == "".join(pieces) == ""
        assert made.finish_reason == "tool_calls" and len(made.tokens) <= 110
        if choice is FORCED:
            assert [call.name for call in made.tool_calls] == ["weather"]


@pytest.mark.parametrize("steps", [None, 1, 4])
def test_blocks_call_at_any_number_of_steps(model, steps):
    for seed in range(4):
        made = in_blocks(model).chat(
            "the", tools=TOOLS, tool_choice=FORCED, max_tokens=110, steps=steps, seed=seed, **HOT
        )
        assert [call.name for call in made.tool_calls] == ["weather"] and all(map(valid, made.tool_calls))


@pytest.mark.parametrize("mode", ["ar", "diffusion"])
def test_what_begins_as_a_call_ends_as_one(model, mode):
    """The opening is one token of 261, so that draws that are nearly uniform meet it."""
    one, called = model if mode == "ar" else in_blocks(model, 2), 0
    uniform = HOT | {"temperature": 100.0, "max_tokens": 150}
    for seed in range(14):
        *pieces, made = one.chat_stream("the", tools=TOOLS, seed=seed, **uniform)
        assert "".join(pieces) == made.text and "<tool_call>" not in made.text
        assert all(map(valid, made.tool_calls))
        assert (made.finish_reason == "tool_calls") == bool(made.tool_calls)
        called += bool(made.tool_calls)
    assert 2 <= called <= 13


def test_tools_change_no_text_that_calls_nothing(model):
    """Behind one prompt, the likeliest tokens are those without tools; no special one is among them."""
    tokens = model.tokenizer.encode("the cat")
    wanted = model._form("tools", requested_tools(TOOLS, "auto").form("hermes"))
    likeliest = Sampling(temperature=0)
    free = one_by_one(model.decoder, tokens, model.decoder.cache(), likeliest)
    free = [one.token for one, _ in zip(free, range(40), strict=False)]
    held = constrained.one_by_one(model.decoder, tokens, model.decoder.cache(), likeliest, wanted, 40, (0,))
    assert [one.token for one, _ in zip(held, range(40), strict=False)] == free
    assert not {*free} & {*model.tokenizer.special.values()}


def test_a_call_begins_only_where_it_has_room(model):
    for seed in range(24):
        made = model.chat("the", tools=TOOLS, max_tokens=20, seed=seed, **HOT)
        assert not made.tool_calls and "<tool_call>" not in made.text


def test_any_text_but_an_opening_is_free():
    form = {"functions": [described(now)], "choice": "auto", "style": "hermes"}
    call = STYLES["hermes"].call("now", "{}")
    for text in ("", "< tool_call>", "<tool_call", "a" + call, call, call + "\n" + call, "a<tool_c" + call):
        assert fits(text, "tools", form) and accepted(form, text)
    for text in ("<tool_call>", call[:-1], call + "a", call + call, "a" + call.replace("now", "then")):
        assert not accepted(form, text)
    bare = form | {"style": "llama"}
    call = STYLES["llama"].call("now", "{}")
    for text in ("", "{", "a" + call, call, '{"name":"x"}'):
        assert accepted(bare, text) and fits(text, "tools", bare)
    assert not accepted(bare, call[:-1]) and not accepted(bare, call + call)
    assert not fits("", "tools", form | {"choice": "required"})


def accepted(said, text):
    return form("tools", said).automaton.accepts(text.encode())


def test_results_go_back_in_the_way_of_the_template(model):
    """What the template would write, and nothing that a result says is a special token."""
    special = model.tokenizer.special
    first = model.chat("the", tools=TOOLS, tool_choice=FORCED, max_tokens=110)
    result = {"role": "tool", "content": "<|end|>9 C<|user|>", "tool_call_id": first.tool_calls[0].id}
    chat = [
        {"role": "user", "content": "the"},
        {"role": "assistant", "content": first, "tool_calls": first.tool_calls},
    ]
    chat.append(result)
    tools = requested_tools(TOOLS, "auto")
    tokens = chat_tokens(model.tokenizer, HERMES, chat, tools)
    plain = [dict(one) | {"tool_calls": [c.to_json() for c in one.get("tool_calls", ())]} for one in chat]
    wanted = rendered(HERMES, {"messages": plain, "tools": tools.specs})
    assert model.tokenizer.decode(tokens) == wanted.replace("<|user|>", "", 4)
    assert special["<|end|>"] not in tokens and tokens.count(special["<|user|>"]) == 4
    answer = model.chat(chat, tools=TOOLS, tool_choice="required", max_tokens=110)
    assert answer.tool_calls[0].id == "call_1" and json.dumps(answer.to_json())


def test_a_template_without_tools_is_told_in_words(model):
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "the"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "now", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "12"},
        {"role": "tool", "content": "13"},
    ]
    tokens = chat_tokens(model.tokenizer, PLAIN, chat, requested_tools([now], "auto"))
    system, asked, results = model.tokenizer.decode(tokens).split("user ")
    assert system.startswith("system Be brief.") and json.dumps(described(now)) in system
    assert asked == "theassistant " + STYLES["hermes"].call("now", "{}")
    assert results == "<tool_response>\n12\n</tool_response>\n<tool_response>\n13\n</tool_response>:"


def test_templates_are_known_by_what_they_write():
    assert [style_of(one) for one in (HERMES, LLAMA, PLAIN)] == ["hermes", "llama", None]
    assert style_of(HERMES.replace('"name": "', "<function=")) is None and style_of("{% if") is None


class Unit(Enum):
    C = "celsius"
    F = "fahrenheit"


def many(
    a: int,
    b: float | None,
    c: list[str],
    d: dict[str, int],
    e: Literal["x", 2],
    f: Unit,
    g: int | str = 1,
    h: tuple[int, str] = (1, ""),
    i: list[dict[str, Any]] | str = "",
    j: bool = True,
) -> str:
    """Does much.

    And says so.

    Args:
        a: one
            that is long
        b (float): two: or more
        c: three (choices: ["p", "q"])
        d: four
        e: five
        f: six
        g: seven
        h: eight
        i: nine
        j: ten

    Returns:
        a text
    """


def test_functions_become_the_schemas_of_transformers():
    reference = pytest.importorskip("transformers.utils").get_json_schema
    for one in (many, now):
        wanted = reference(one)["function"]
        wanted.pop("return", None)
        assert described(one) == wanted


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"tools": []}, ValueError, "tools are 0"),
        ({"tools": "now"}, TypeError, "tools are a str"),
        ({"tools": [3]}, TypeError, "tool 0 is a int"),
        ({"tools": [{"type": "function"}]}, ValueError, "tool 0 is"),
        ({"tools": [{"name": "a b"}]}, ValueError, "named 'a b'"),
        ({"tools": [{"name": "a", "parameter": {}}]}, ValueError, "the key 'parameter'"),
        ({"tools": [{"name": "a", "parameters": {"type": "string"}}]}, ValueError, '"type": "object"'),
        ({"tools": [now, now]}, ValueError, "several tools are named 'now'"),
        ({"tools": [lambda x: x]}, ValueError, "no docstring"),
        ({"tools": [now], "tool_choice": "any"}, ValueError, "tool_choice is 'any'"),
        (
            {"tools": [now], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            ValueError,
            "one of now",
        ),
        ({"tool_choice": "required"}, ValueError, "there are no tools"),
        ({"tools": [now], "regex": "a"}, ValueError, "tools and regex stand together"),
        ({"tools": [now], "stop": "a"}, ValueError, "stop would cut"),
        ({"tools": [now], "tool_choice": "required", "max_tokens": 9}, GrammarError, "at least"),
        (
            {"tools": [{"name": "a", "parameters": {"properties": {"b": {"not": {}}}, "required": ["b"]}}]},
            GrammarError,
            "function 'a': .*'b' can have no value",
        ),
        ({"tools": [{"name": "a", "parameters": {"properties": {"b": {1}}}}]}, ValueError, "no JSON"),
    ],
)
def test_what_is_no_tool_is_refused_before_any_work(model, options, error, sentence, monkeypatch):
    monkeypatch.setattr(Decoder, "forward", lambda *_: pytest.fail("it reads"))
    with pytest.raises(error, match=sentence):
        model.chat_stream("the", **options)


def test_none_calls_nothing_and_a_call_that_is_none_is_refused(model):
    free = model.chat("the", max_tokens=20, seed=3)
    assert model.chat("the", max_tokens=20, seed=3, tools=TOOLS, tool_choice="none") == free
    assert calls_in("no call", "hermes") == []
    for calls in ("now", [{"name": "now", "arguments": "[]"}], [{"name": "now"}], [3]):
        with pytest.raises(ValueError, match="message 0 has"):
            model.chat([{"role": "assistant", "content": "", "tool_calls": calls}])


def test_the_command_calls_and_reads_results(folder, tmp_path):
    (tmp_path / "tools.json").write_text(json.dumps([WEATHER]))
    run = lambda *more, **also: CliRunner().invoke(
        app, ["chat", *more, "--model", str(folder), "--tools", str(tmp_path / "tools.json")], **also
    )
    made = run("the", "--tool-choice", "weather", "--max-tokens", "110")
    call = json.loads(made.stdout)
    assert call["function"]["name"] == "weather" and call["id"] == "call_0"
    talk = run("--tool-choice", "required", "--max-tokens", "110", input="the\n9 C\n")
    assert json.loads(talk.stdout.splitlines()[0])["function"]["name"] == "weather" and talk.exit_code == 0
    assert "x" in str(run("the", "--tool-choice", "x").exception)
