"""What a text must be: a JSON schema, a regular expression, one of a few texts, or calls of functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import calls, regex
from .automaton import Automaton, compiled
from .expression import GrammarError, Node, literal, union
from .schema import SchemaError, automaton

MOST_CHOICES = 10_000
Wanted = tuple[str, Any]  # kind and what was given


@dataclass(frozen=True, eq=False)
class Form:
    """kind: "schema", "regex", "choices" or "tools"; said: what was given."""

    kind: str
    said: Any
    automaton: Automaton


def requested(schema: Any = None, pattern: Any = None, choices: Any = None) -> tuple[str, Any] | None:
    """The one that is given, plain; None where none is.

    Raises:
        TypeError: a wrong kind. ValueError: more than one.
    """
    options = {"schema": schema, "regex": pattern, "choices": choices}
    given = {name: one for name, one in options.items() if one is not None}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} stand together; expected one of them")
    if schema is not None and not isinstance(schema, Mapping | bool):
        raise TypeError(
            f"schema is a {type(schema).__name__}; expected a dict, as JSON schema is read by json"
        )
    if pattern is not None and not isinstance(pattern, str):
        raise TypeError(f"regex is a {type(pattern).__name__}; expected a string")
    if choices is not None:
        given["choices"] = checked_choices(choices)
    return next(iter(given.items()), None)


def checked_choices(choices: Any) -> list[str]:
    if isinstance(choices, str) or not isinstance(choices, Iterable):
        raise TypeError(f"choices is a {type(choices).__name__}; expected a list of strings")
    found = list(choices)
    if not 1 <= len(found) <= MOST_CHOICES or not all(isinstance(one, str) and one for one in found):
        raise ValueError(
            f"choices are {len(found)} values; expected 1 to {MOST_CHOICES} strings with content"
        )
    return found


def key(kind: str, said: Any) -> str:
    """What tells one form from another.

    Raises:
        GrammarError: a schema that is no JSON.
    """
    try:
        return f"{kind} {json.dumps(said, ensure_ascii=True)}"
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaError(f"the schema is no JSON: {error or 'it nests too deep'}") from None


def form(kind: str, said: Any) -> Form:
    """
    Raises:
        GrammarError: what cannot be met, by name and place.
    """
    made = {"schema": automaton, "tools": calls.automaton}.get(kind)
    return Form(kind, said, compiled(node(kind, said)) if made is None else made(said))


def node(kind: str, said: Any) -> Node:
    if kind == "regex":
        return regex.full_match(said)
    try:
        return union(literal(one) for one in dict.fromkeys(said))
    except UnicodeEncodeError as error:
        raise GrammarError(f"a choice that no UTF-8 can hold: {error}") from None
