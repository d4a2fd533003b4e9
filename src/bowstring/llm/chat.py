"""Chats as a model's template writes them: special tokens come from the template, never from what people say.

In what a person said the names of special tokens are broken before the template sees them and mended before
they are encoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .sandbox import TemplateError, rendered
from .tokenizer import ModelTokenizer
from .tools import Tools, checked_calls, style_of, told_plainly

ROLES = ("system", "user", "assistant", "tool")
LONGEST_TEMPLATE = 1 << 20


def render(template: str, messages: Sequence[Mapping[str, Any]], **more: Any) -> str:
    """A chat as the template writes it.

    Raises:
        TemplateError: it does not parse, fails, loops for too long or writes too much.
    """
    if len(template) > LONGEST_TEMPLATE:
        raise TemplateError(
            f"the template has {len(template)} characters; expected at most {LONGEST_TEMPLATE}"
        )
    return rendered(template, {"messages": list(messages), **more})


def checked_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """
    Raises:
        ValueError: not a list of messages with a known role and a text, or calls that are none.
    """
    made = []
    for i, message in enumerate(messages):
        role, content, calls = message.get("role"), message.get("content"), message.get("tool_calls")
        if calls and role == "assistant" and content is None:
            content = ""
        if role not in ROLES or not isinstance(content, str):
            raise ValueError(
                f"message {i} is {str(message)[:80]}; expected a role of {ROLES} and content as a string"
            )
        one: dict[str, Any] = {"role": str(role), "content": content}
        if calls and role == "assistant":
            one["tool_calls"] = checked_calls(calls, f"message {i}")
        if role == "tool":
            one |= {key: str(message[key]) for key in ("name", "tool_call_id") if message.get(key)}
        made.append(one)
    if not made:
        raise ValueError("there are no messages; give at least one of the user")
    return made


def chat_tokens(
    tokenizer: ModelTokenizer,
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Tools | None = None,
) -> list[int]:
    """Token ids of a chat that the assistant shall answer, perhaps by calls.

    Raises:
        ValueError: messages that are none. TemplateError: see `render`.
    """
    plain, specs = checked_messages(messages), list[dict[str, Any]]()
    if style_of(template) is None:
        plain = told_plainly(plain, tools)
    elif tools is not None:
        specs = tools.specs
    wedge = unused(json.dumps([plain, specs], ensure_ascii=False) + template)
    said, offered = (wedged(one, tokenizer, wedge) for one in (plain, specs))
    names = {f"{key}_token": "" for key in ("bos", "eos", "pad", "unk")}
    text = render(template, said, add_generation_prompt=True, tools=offered or None, **names)
    return [token for piece in pieces(text, tokenizer) for token in encoded(tokenizer, piece, wedge)]


def unused(text: str) -> str:
    """A private-use character that a text does not hold."""
    return next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)


def wedged(said: Any, tokenizer: ModelTokenizer, wedge: str) -> Any:
    """What was said, each name of a special token in it broken by a wedge behind its first character."""
    if isinstance(said, Mapping):
        return {wedged(key, tokenizer, wedge): wedged(one, tokenizer, wedge) for key, one in said.items()}
    if isinstance(said, list | tuple):
        return [wedged(one, tokenizer, wedge) for one in said]
    if not isinstance(said, str):
        return said
    for name in sorted(tokenizer.special, key=len, reverse=True):
        said = said.replace(name, name[0] + wedge + name[1:])
    return said


def pieces(text: str, tokenizer: ModelTokenizer) -> list[str]:
    """A rendered chat cut around the special tokens that the template wrote."""
    names = sorted(tokenizer.special, key=len, reverse=True)
    return re.split("(" + "|".join(map(re.escape, names)) + ")", text) if names else [text]


def encoded(tokenizer: ModelTokenizer, piece: str, wedge: str) -> list[int]:
    """Ids of a special token or of plain text, its wedges taken out."""
    if piece in tokenizer.special:
        return [tokenizer.special[piece]]
    return tokenizer.encode(piece.replace(wedge, "")) if piece else []
