"""Any value at all."""

from __future__ import annotations

import functools

from .. import regex
from ..expression import Node, chain, in_json, literal, loop, optional, repeat, union
from .numbers import free
from .texts import QUOTE

COMMA = literal(",")


@functools.cache
def anything(depth: int) -> Node:
    """Any value whose lists and objects nest so deep."""
    text = chain(QUOTE, repeat(in_json(regex.ALL), 0, None), QUOTE)
    plain = [text, free(), literal("true"), literal("false"), literal("null")]
    if not depth:
        return union(plain)
    inner = anything(depth - 1)
    array = chain(literal("["), separated(inner, 0, None), literal("]"))
    pair = chain(text, literal(":"), inner)
    return union([*plain, array, chain(literal("{"), separated(pair, 0, None), literal("}"))])


def separated(part: Node, least: int, most: int | None) -> Node:
    """A part some times, with commas."""
    if most == 0:
        return literal("")
    if most is None and least <= 1:
        return loop(part, COMMA) if least else optional(loop(part, COMMA))
    more = repeat(chain(COMMA, part), max(least - 1, 0), None if most is None else most - 1)
    whole = chain(part, more)
    return whole if least else optional(whole)
