"""Calls of functions as a form: which texts are calls, in the way of writing that a model learned.

Arguments are JSON of a function's schema. Where a text may stand before calls or instead of them, it is any
text that does not hold their opening: whoever writes that goes on with a whole call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .automaton import Automaton
from .expression import GrammarError, Node, chain, literal, loop, optional, table, union
from .schema import Allowance, expression, small_enough

AUTO, REQUIRED = "auto", "required"  # what a choice may be beside a function's name


@dataclass(frozen=True)
class CallStyle:
    """How a model writes a call: opening, name, middle, arguments, closing. marker: the part of the opening
    that no text holds. among_text: whether text may stand before it, and further calls behind it.
    """

    opening: str
    middle: str
    closing: str
    marker: str
    among_text: bool

    def call(self, name: str, arguments: str) -> str:
        return f"{self.opening}{name}{self.middle}{arguments}{self.closing}"

    def content(self, data: bytes) -> bytes:
        """What is said beside calls."""
        at = data.find(self.marker.encode())
        if at < 0 or (at and not self.among_text):
            return data
        return data[:at].removesuffix(b"\n")

    def spoken(self, data: bytes) -> int:
        """How many bytes of a text that grows are said for certain."""
        marker, said = self.marker.encode(), len(self.content(data))
        if said < len(data):
            return said
        if not self.among_text:
            return 0 if marker.startswith(data) else said
        return said - max(held(data, marker), held(data, b"\n" + marker))


def held(data: bytes, marker: bytes) -> int:
    """How many bytes at the end may be a marker's beginning.

    >>> held(b"one <to", b"<tool>")
    3
    """
    return next((n for n in range(len(marker) - 1, 0, -1) if data.endswith(marker[:n])), 0)


STYLES = {
    "hermes": CallStyle(
        '<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "<tool_call>", among_text=True
    ),
    "llama": CallStyle('{"name": "', '", "parameters": ', "}", '{"name": "', among_text=False),
}


def automaton(said: Mapping[str, Any]) -> Automaton:
    """The answers that functions and a choice allow, as `{"functions", "choice", "style"}`.

    Raises:
        GrammarError: arguments that cannot be met, by function, keyword and place; or too large.
    """
    return small_enough(lambda allowance: node(said, allowance))


def node(said: Mapping[str, Any], allowance: Allowance) -> Node:
    """The answers as an expression."""
    style, choice = STYLES[said["style"]], said["choice"]
    calls = one_of(wanted(said["functions"], choice), style, allowance)
    if choice in (AUTO, REQUIRED) and style.among_text:
        calls = loop(calls, literal("\n"))
    if choice != AUTO:
        return calls
    if style.among_text:
        return chain(without(style.marker.encode()), optional(calls))
    return union([not_begun_by(style.marker.encode()), calls])


def wanted(functions: Sequence[Mapping[str, Any]], choice: str) -> list[Mapping[str, Any]]:
    """The functions that a choice leaves."""
    return [one for one in functions if choice in (AUTO, REQUIRED, one["name"])]


def one_of(functions: Sequence[Mapping[str, Any]], style: CallStyle, allowance: Allowance) -> Node:
    """One call of one of these."""
    bodies = []
    for one in functions:
        try:
            arguments = expression(one["parameters"], allowance)
        except GrammarError as error:
            raise type(error)(f"function {one['name']!r}: {error}") from None
        bodies.append(chain(literal(one["name"] + style.middle), arguments))
    return chain(literal(style.opening), union(bodies), literal(style.closing))


def without(marker: bytes) -> Node:
    """Any bytes that do not hold a marker (Knuth, Morris, Pratt 1977): a state for each of its beginnings."""
    rows = []
    for size in range(len(marker)):
        row = {byte: next_size(marker, marker[:size] + bytes([byte])) for byte in range(256)}
        rows.append({byte: state for byte, state in row.items() if state < len(marker)})
    return table(rows, [True] * len(rows))


def next_size(marker: bytes, data: bytes) -> int:
    """The longest beginning of a marker that ends here."""
    return next(n for n in range(len(data), -1, -1) if data.endswith(marker[:n]))


def not_begun_by(marker: bytes) -> Node:
    """Any bytes that do not begin with a marker."""
    free = len(marker)
    rows = [dict.fromkeys(range(256), free) for _ in range(free + 1)]
    for at, byte in enumerate(marker):
        rows[at][byte] = at + 1
    del rows[free - 1][marker[-1]]
    return table(rows, [True] * len(rows))


def calls_in(text: str, style: str) -> list[tuple[str, dict[str, Any]]]:
    """The names and arguments of the calls that a text ends with.

    >>> calls_in('Yes.<tool_call>\\n{"name": "add", "arguments": {"a":1}}\\n</tool_call>', "hermes")
    [('add', {'a': 1})]

    Raises:
        ValueError: a call that is not whole.
    """
    return list(_calls(text, STYLES[style]))


def _calls(text: str, style: CallStyle) -> Iterator[tuple[str, dict[str, Any]]]:
    at = text.find(style.marker)
    if at < 0 or (at and not style.among_text):
        return
    while at < len(text):
        if not text.startswith(style.opening, at):
            raise ValueError(f"a call begins with {text[at : at + 40]!r}; expected {style.opening!r}")
        begins = text.index(style.middle, at)
        name = text[at + len(style.opening) : begins]
        arguments, ends = json.JSONDecoder().raw_decode(text, begins + len(style.middle))
        if not text.startswith(style.closing, ends):
            raise ValueError(f"a call ends with {text[ends : ends + 40]!r}; expected {style.closing!r}")
        yield name, arguments
        at = ends + len(style.closing) + 1  # a line's end stands between calls
