"""A last look at texts that must fit a form, by readers that had no part in writing them."""

from __future__ import annotations

import json
import re
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
        from jsonschema.validators import Draft202012Validator, validator_for

        return bool(validator_for(said, Draft202012Validator)(said).is_valid(json.loads(text)))
    if kind == "tools":
        return calls.fits(text, said)
    if kind == "regex":
        return re.fullmatch(said, text) is not None
    return text in said
