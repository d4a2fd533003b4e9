"""Listed values that are valid beside other keywords, which no regular text asks for.

Patterns are searched by our own automata, because Python's `re` may take exponential time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from ..expression import GrammarError
from .keywords import Schema, SchemaError, refuse
from .merging import hits


def valid(values: list[Any], schema: Schema, place: str) -> Iterator[Any]:
    """
    Raises:
        SchemaError: keywords that are not sound, a pattern that is not known here, or a reference inside.
    """
    from jsonschema import FormatChecker
    from jsonschema import SchemaError as Unsound
    from referencing.exceptions import Unresolvable

    said = dict(schema)
    try:
        checker().check_schema(said, FormatChecker(()))
    except Unsound as error:
        refuse(place, str(next(iter(error.path), "enum")), error.message[:200])
    try:
        yield from (value for value in values if checker()(said).is_valid(value))
    except SchemaError:
        raise
    except GrammarError as error:
        refuse(place, "pattern", str(error))
    except (Unresolvable, RecursionError, OverflowError) as error:
        refuse(place, "enum", f"its values cannot be compared with what stands beside it: {error}")


@cache
def checker() -> Any:
    """A validator whose patterns are automata."""
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[Any]:
        if isinstance(value, str) and not hits(pattern, value):
            yield ValidationError("no match")

    def by_patterns(validator: Any, patterns: Schema, value: Any, _: Any) -> Iterator[Any]:
        for one, inner in patterns.items() if isinstance(value, dict) else ():
            for name in value:
                if hits(one, name):
                    yield from validator.descend(value[name], inner)

    def others(validator: Any, inner: Any, value: Any, schema: Schema) -> Iterator[Any]:
        for name in value if isinstance(value, dict) else ():
            patterned = any(hits(one, name) for one in schema.get("patternProperties", {}))
            if name not in schema.get("properties", {}) and not patterned:
                yield from validator.descend(value[name], inner)

    def unevaluated(_: Any, __: Any, value: Any, ___: Any) -> Iterator[Any]:
        refuse("", "unevaluatedProperties", "it is not known beside listed values; use additionalProperties")

    return extend(
        Draft202012Validator,
        {
            "pattern": pattern,
            "patternProperties": by_patterns,
            "additionalProperties": others,
            "unevaluatedProperties": unevaluated,
        },
    )
