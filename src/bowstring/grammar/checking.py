"""A last look at texts that must fit a form, by readers that had no part in writing them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from . import calls


def checked_text(text: str, kind: str, said: Any) -> None:
    """
    Raises:
        AssertionError: a text does not fit, which no draw can lead to.
    """
    if not fits(text, kind, said):
        raise AssertionError(f"a text does not fit its {kind}: {text[:200]!r}; please report this")


def fits(text: str, kind: str, said: Any) -> bool:
    """Whether a text is JSON of a schema, a match of a whole pattern, one of some texts, or calls."""
    if kind == "schema":
        return meets(json.loads(text), said)
    if kind == "tools":
        return are_calls(text, said)
    if kind == "regex":
        return re.fullmatch(said, text) is not None
    return text in said


def meets(value: Any, schema: Any) -> bool:
    """Whether a value is of a JSON schema, by the draft that it names."""
    from jsonschema.validators import Draft202012Validator, validator_for

    return bool(validator_for(schema, Draft202012Validator)(schema).is_valid(value))


def are_calls(text: str, said: Mapping[str, Any]) -> bool:
    """Whether an answer's calls are of functions that the choice leaves, with arguments of their schemas."""
    found = calls.calls_in(text, said["style"])
    schemas = {one["name"]: one["parameters"] for one in calls.wanted(said["functions"], said["choice"])}
    return (bool(found) or said["choice"] == calls.AUTO) and all(
        name in schemas and meets(arguments, schemas[name]) for name, arguments in found
    )
