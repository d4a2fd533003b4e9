"""JSON schema as an expression over bytes. Each text that fits it is valid; what is not known is refused by
name and place, before any work.

Texts are JSON without spaces, as `json.dumps(value, ensure_ascii=False, separators=(",", ":"))` writes it.
What finitely many states cannot hold is written in part, never wrongly: properties stand in the declared
order and no others are written; items that must differ stand in a fixed order; schemas that lead back to
themselves nest to a few levels; bounds of length are counted to a few hundred characters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..automaton import Automaton, compiled
from ..expression import Node, TooLarge
from .keywords import DEEPEST, SchemaError
from .reader import Allowance, Reader

__all__ = ["SchemaError", "automaton", "expression"]
ALLOWANCES = (Allowance(3, 400), Allowance(2, 150), Allowance(1, 50), Allowance(0, 20))


def automaton(schema: Any) -> Automaton:
    """The texts that a schema allows, as many as the first allowance leaves that is not too large.

    Raises:
        SchemaError: a keyword that is not known or cannot be met.
        GrammarError: it is too large.
    """

    readers = list[Reader]()

    def read(allowance: Allowance) -> Node:
        readers.append(Reader(schema, allowance))
        return _read(readers[-1])

    return small_enough(read, lambda: readers[-1].allowed)


def small_enough(
    read: Callable[[Allowance], Node], less_may_help: Callable[[], bool] = lambda: True
) -> Automaton:
    """The automaton of an expression, by the first allowance under which it is not too large."""
    for allowance in ALLOWANCES[:-1]:
        try:
            return compiled(read(allowance))
        except TooLarge:
            if not less_may_help():
                raise
    return compiled(read(ALLOWANCES[-1]))


def expression(schema: Any, allowance: Allowance = ALLOWANCES[0]) -> Node:
    """The texts that a schema allows.

    Raises:
        SchemaError, GrammarError: as of `automaton`.
    """
    return _read(Reader(schema, allowance))


def _read(reader: Reader) -> Node:
    try:
        return reader.node(reader.root, "", 0)
    except RecursionError:
        raise SchemaError(f"the schema nests too deep; expected at most {DEEPEST} levels") from None
