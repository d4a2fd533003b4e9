"""Tools in a chat: which functions a model may call, how it is told of them, and how calls come and go.

A template that takes tools tells the model of them and of their calls in the model's own way. Where it takes
none, or writes calls in a way that is not known here, a system message does, and calls and results are text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..grammar.calls import AUTO, REQUIRED, STYLES, calls_in
from ..text.result import ToolCall
from .functions import described
from .sandbox import variables

Tool = Mapping[str, Any] | Callable[..., Any]
NONE = "none"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST = 128
KEYS = {"name", "description", "parameters", "strict", "return", "returns"}
PREAMBLE = """You may call functions. These are there, each as a JSON schema:
{functions}

To call one, answer with its name and arguments, JSON as well, between these marks:
{example}
Its result comes back between <tool_response> and </tool_response>."""


@dataclass(frozen=True)
class Tools:
    """What a chat may call. functions: name, description and parameters of each. choice: "auto", "required"
    or a function's name.
    """

    functions: tuple[dict[str, Any], ...]
    choice: str

    @property
    def specs(self) -> list[dict[str, Any]]:
        """As templates expect them."""
        return [{"type": "function", "function": one} for one in self.functions]

    def form(self, style: str) -> dict[str, Any]:
        """What an answer must be, for `grammar.calls`."""
        return {"functions": list(self.functions), "choice": self.choice, "style": style}


def requested_tools(tools: Sequence[Tool] | None, tool_choice: str | Mapping[str, Any]) -> Tools | None:
    """The tools of a chat; None where nothing may be called.

    Raises:
        TypeError, ValueError: tools or a choice that are none.
    """
    if tools is None:
        if tool_choice not in (AUTO, NONE):
            raise ValueError(f"tool_choice is {tool_choice!r}, and there are no tools; give tools=[...], too")
        return None
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise TypeError(f"tools are a {type(tools).__name__}; expected a list of JSON schemas or functions")
    if not 1 <= len(tools) <= MOST:
        raise ValueError(f"tools are {len(tools)}; expected 1 to {MOST}")
    functions = tuple(checked_function(one, f"tool {i}") for i, one in enumerate(tools))
    try:
        json.dumps(functions)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"the tools are no JSON: {error}") from None
    names = [one["name"] for one in functions]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"several tools are named {min(twice)!r}; give each a name of its own")
    choice = checked_choice(tool_choice, names)
    return None if choice == NONE else Tools(functions, choice)


def checked_function(tool: Tool, where: str) -> dict[str, Any]:
    """A tool's function as JSON.

    Raises:
        TypeError, ValueError: it is none.
    """
    function = unwrapped(tool, where)
    if unknown := set(function) - KEYS:
        raise ValueError(
            f"{where} has the key {min(map(str, unknown))!r}; known are {', '.join(sorted(KEYS))}"
        )
    name, parameters = function.get("name"), function.get("parameters", {})
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{where} is named {name!r}; expected 1 to 64 of A-Z, a-z, 0-9, _ and -")
    if not isinstance(function.get("description", ""), str):
        raise TypeError(f"{where}, {name!r}, has a description that is no string")
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise ValueError(
            f'{where}, {name!r}, has parameters {str(parameters)[:80]}; expected a schema of "type": "object"'
        )
    inside = {"type": "object", "properties": {}} | dict(parameters)
    return {**function, "parameters": inside}


def unwrapped(tool: Tool, where: str) -> Mapping[str, Any]:
    """The function inside of what was given.

    Raises:
        TypeError, ValueError: there is none.
    """
    if not isinstance(tool, Mapping):
        if not callable(tool):
            raise TypeError(f"{where} is a {type(tool).__name__}; expected a dict or a function")
        return described(tool)
    if "function" not in tool and "type" not in tool:
        return tool
    inside = tool.get("function")
    if tool.get("type") != "function" or not isinstance(inside, Mapping) or len(tool) > 2:
        raise ValueError(
            f'{where} is {str(tool)[:80]}; expected {{"type": "function", "function": {{"name": ...}}}}'
        )
    return inside


def checked_choice(choice: str | Mapping[str, Any], names: Sequence[str]) -> str:
    """
    Raises:
        ValueError: neither one of the words nor one of the functions.
    """
    if choice in (AUTO, NONE, REQUIRED):
        return str(choice)
    inside = (
        choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    )
    name = inside.get("name") if isinstance(inside, Mapping) else None
    if name not in names:
        raise ValueError(
            f'tool_choice is {choice!r}; expected "auto", "none", "required" or {{"type": "function", '
            f'"function": {{"name": ...}}}} with one of {", ".join(names)}'
        )
    return str(name)


@lru_cache(8)
def style_of(template: str) -> str | None:
    """How a template writes calls; None where it takes no tools, or in a way that is not known."""
    if "tools" not in variables(template):
        return None
    if "<tool_call>" in template:
        return None if "<function=" in template else "hermes"
    return "llama" if '{"name": ' in template and '"parameters": ' in template else None


def checked_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Calls of a message, as templates expect them.

    Raises:
        ValueError: they are none.
    """
    if isinstance(calls, str | Mapping) or not isinstance(calls, Sequence):
        raise ValueError(f"{where} has tool_calls {str(calls)[:80]}; expected a list")
    return [checked_call(one.to_json() if isinstance(one, ToolCall) else one, where) for one in calls]


def checked_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    name, arguments = (
        (function.get("name"), function.get("arguments")) if isinstance(function, Mapping) else ("", 0)
    )
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            arguments = None
    if not isinstance(name, str) or not NAME.fullmatch(name) or not isinstance(arguments, Mapping):
        raise ValueError(
            f"{where} has the call {str(call)[:80]}; expected "
            '{"function": {"name": ..., "arguments": {...}}}'
        )
    made = {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
    return made | ({"id": str(call["id"])} if "id" in call else {})


def told_plainly(messages: Sequence[Mapping[str, Any]], tools: Tools | None) -> list[dict[str, Any]]:
    """A chat for a template without tools: the system message tells of them, calls and results are text."""
    made: list[dict[str, Any]] = []
    for one in messages:
        content = one["content"]
        if one["role"] == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
            if made and made[-1]["content"].startswith("<tool_response>"):
                made[-1]["content"] += "\n" + content
                continue
        calls = [written(call["function"]) for call in one.get("tool_calls", ())]
        role = "user" if one["role"] == "tool" else one["role"]
        made.append(
            {"role": role, "content": "\n".join([*([content] if content or not calls else []), *calls])}
        )
    if tools is None:
        return made
    before, rest = ([made[0]["content"], ""], made[1:]) if made[0]["role"] == "system" else ([], made)
    return [{"role": "system", "content": "\n".join([*before, preamble(tools)])}, *rest]


def preamble(tools: Tools) -> str:
    functions = "\n".join(json.dumps(one, ensure_ascii=False) for one in tools.functions)
    return PREAMBLE.format(functions=functions, example=STYLES["hermes"].call("...", "{...}"))


def written(function: Mapping[str, Any]) -> str:
    """A call as a model without a way of its own writes it."""
    return STYLES["hermes"].call(function["name"], json.dumps(function["arguments"], ensure_ascii=False))


def called(text: str, style: str, messages: Sequence[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    """The calls of an answer, numbered on from those that the chat has had.

    Raises:
        ValueError: a call that is not whole.
    """
    first = sum(len(one.get("tool_calls") or ()) for one in messages)
    return tuple(
        ToolCall(name, arguments, f"call_{first + i}")
        for i, (name, arguments) in enumerate(calls_in(text, style))
    )
