"""Python functions as the JSON schemas that chat templates expect, by type hints and docstrings.

The convention is that of `transformers.utils.get_json_schema`: Google's form of a docstring, a description of
every argument, `(choices: [...])` at the end of one for its values.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
PLAIN = {**{kind: {"type": name} for kind, name in SCALARS.items()}, list: {"type": "array"}}
PLAIN |= {tuple: {"type": "array"}, dict: {"type": "object"}, Any: {}}
SECTION = re.compile(r"^[ \t]*(Args|Returns|Raises):[ \t]*\n?", re.MULTILINE)
ARGUMENT = re.compile(r"([ \t]*)(\w+)(?:[ \t]*\([^()\n]*\))?:[ \t]*(.*)")
CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.DOTALL | re.IGNORECASE)


def described(function: Callable[..., Any]) -> dict[str, Any]:
    """A function's name, description and parameters.

    Raises:
        ValueError: no docstring, an argument without a type or a description, a type that JSON does not have.
    """
    name = str(getattr(function, "__name__", "function"))
    doc = inspect.getdoc(function)
    if not doc:
        raise ValueError(f"function {name!r} has no docstring; say in it what it does and what its Args mean")
    parts = sections(doc.strip())
    notes = arguments(parts.get("Args", ""))
    properties, required = parameters(function, name)
    for key, schema in properties.items():
        if key not in notes:
            raise ValueError(
                f"argument {key!r} of function {name!r} has no description; add it to Args: of the docstring"
            )
        properties[key] = with_choices(schema, notes[key], f"argument {key!r} of function {name!r}")
    inside: dict[str, Any] = {"type": "object", "properties": properties}
    return {
        "name": name,
        "description": parts[""].strip(),
        "parameters": inside | ({"required": required} if required else {}),
    }


def sections(doc: str) -> dict[str, str]:
    """The parts of a docstring by their headings; the first has none."""
    marks = [*SECTION.finditer(doc)]
    ends = [*(mark.start() for mark in marks), len(doc)]
    found = {"": doc[: ends[0]]}
    for mark, end in zip(marks, ends[1:], strict=True):
        found.setdefault(mark[1], doc[mark.end() : end])
    return found


def arguments(lines: str) -> dict[str, str]:
    """Descriptions by name; lines that stand deeper than the first go on with what is above them."""
    found: dict[str, str] = {}
    name, indent = "", None
    for line in filter(str.strip, lines.split("\n")):
        head = ARGUMENT.fullmatch(line)
        if head and (indent is None or len(head[1]) <= indent):
            name, indent = head[2], len(head[1])
            found[name] = head[3].strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def with_choices(schema: Mapping[str, Any], note: str, where: str) -> dict[str, Any]:
    """A schema with its description and the values that this lists.

    Raises:
        ValueError: choices that are no list of JSON.
    """
    listed = CHOICES.search(note)
    if listed is None:
        return {**schema, "description": note}
    try:
        values = json.loads(listed[1])
    except ValueError as error:
        raise ValueError(f"{where} has choices {listed[1]!r}; expected a list of JSON: {error}") from None
    return {**schema, "enum": values, "description": note[: listed.start()].strip()}


def parameters(function: Callable[..., Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """Schemas of the arguments by name, and which have no default.

    Raises:
        ValueError: an argument without a type, or of one that JSON does not have.
    """
    hints, properties, required = get_type_hints(function), dict[str, Any](), list[str]()
    for i, (key, one) in enumerate(inspect.signature(function).parameters.items()):
        if i == 0 and key in ("self", "cls") and one.annotation is one.empty:
            continue
        if one.annotation is one.empty:
            raise ValueError(f"argument {key!r} of function {name!r} has no type; add one, as {key}: str")
        properties[key] = schema_of(hints[key], f"argument {key!r} of function {name!r}")
        if one.default is one.empty:
            required.append(key)
    return properties, required


def schema_of(hint: Any, where: str) -> dict[str, Any]:
    """The JSON schema of a type.

    Raises:
        ValueError: JSON has no such type.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is None and isinstance(hint, type) and issubclass(hint, Enum):
        return listed([member.value for member in hint], hint, where)
    if origin is None and hint in PLAIN:
        return dict(PLAIN[hint])
    if origin is Literal:
        return listed(inner, hint, where)
    if origin in (Union, types.UnionType):
        return any_of(inner, where)
    if origin is list:
        return {"type": "array", "items": schema_of(inner[0], where)}
    if origin is tuple and len(inner) > 1 and ... not in inner:
        return {"type": "array", "prefixItems": [schema_of(one, where) for one in inner]}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inner[1], where)}
    raise ValueError(
        f"{where} is of type {hint}; expected int, float, str, bool, None, Any, an Enum, Literal, or list, "
        "tuple, dict and unions of these. Give a JSON schema instead of the function for more"
    )


def listed(values: Sequence[Any], hint: Any, where: str) -> dict[str, Any]:
    """A schema of a few values.

    Raises:
        ValueError: there are none, or one that JSON has no word for.
    """
    if not values or any(type(value) not in SCALARS for value in values):
        raise ValueError(
            f"{where} is one of {hint}, whose values are {values}; expected numbers, strings or None"
        )
    kinds = list(dict.fromkeys(SCALARS[type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": [*values]}


def any_of(hints: Sequence[Any], where: str) -> dict[str, Any]:
    """A schema of one of several types; None makes it nullable, as templates have it."""
    kinds = [schema_of(one, where) for one in hints if one is not type(None)]
    made: dict[str, Any] = {"anyOf": kinds}
    if len(kinds) == 1:
        made = kinds[0]
    elif all(kind.keys() == {"type"} and isinstance(kind["type"], str) for kind in kinds):
        names = sorted({kind["type"] for kind in kinds})
        made = {"type": names[0] if len(names) == 1 else names}
    return made | ({"nullable": True} if type(None) in hints else {})
