"""Untrusted chat templates: jinja2's sandbox, in which loops are counted and nothing grows beyond its bounds.

The sandbox keeps a template from the machine, not from its memory: a product or a doubled text could still
fill that. So every operation that can make something longer is checked before it is done, filters and methods
are those of a list, and `~` becomes a checked `+`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_STEPS = 200_000  # turns of loops
LARGEST = 4 << 20  # characters of a text, entries of a list
FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items last length list lower "
    "map max min "
    "reject rejectattr reverse round safe select selectattr sort string sum title trim unique upper"
).split()
METHODS = (
    "append capitalize copy count endswith find get index isalnum isalpha isdigit islower isspace "
    "isupper items keys "
    "lower lstrip removeprefix removesuffix replace rfind rsplit rstrip split splitlines startswith "
    "strip title upper values"
).split()


class TemplateError(ValueError):
    """A template that is faulty, or does what it must not."""


class Additions(NodeTransformer):
    """`a ~ b` as `a|string + b|string`."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        node = self.generic_visit(node)  # type: ignore[assignment]
        parts = [nodes.Filter(part, "string", [], [], None, None, lineno=node.lineno) for part in node.nodes]
        whole: nodes.Expr = parts[0]
        for part in parts[1:]:
            whole = nodes.Add(whole, part, lineno=node.lineno)
        return whole


def size(value: Any) -> int:
    return len(value) if isinstance(value, str | list | tuple | dict) else 1


def bounded(count: int) -> None:
    """
    Raises:
        TemplateError: more than a chat can need.
    """
    if count > LARGEST:
        raise TemplateError(f"the template makes something of {count} entries; expected at most {LARGEST}")


class Sandbox(ImmutableSandboxedEnvironment):
    """steps: turns of loops so far."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.steps = 0
        self.filters = {name: self.filters[name] for name in FILTERS}
        self.filters |= {"tojson": to_json, "join": joined, "replace": replaced}
        self.globals = {
            "range": self.counted,
            "namespace": self.globals["namespace"],
            "dict": dict,
            "raise_exception": refuse,
            "strftime_now": lambda form: datetime.datetime.now().strftime(str(form)[:100]),
        }

    def counted(self, *bounds: int) -> range:
        made = range(*bounds)
        self.step(len(made))
        return made

    def step(self, count: int = 1) -> None:
        """
        Raises:
            TemplateError: too many.
        """
        self.steps += count
        if self.steps > MOST_STEPS:
            raise TemplateError(f"the template loops more than {MOST_STEPS} times")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            numbers = [side if isinstance(side, int) else 1 for side in (left, right)]
            bounded(size(left) * size(right) * max(numbers) if size(left) * size(right) > 1 else 0)
        elif operator == "+":
            bounded(size(left) + size(right))
        elif operator == "**":
            bounded(abs(int(right)) << 16 if abs(int(left)) > 1 else 0)
        elif isinstance(left, str):
            raise TemplateError("the template formats with %, which is not offered")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if callable(value) and isinstance(obj, str | list | tuple | dict) and attr not in METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.step()
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str) and obj.__name__ == "replace":
            return replaced(owner, *args)
        return super().call(context, obj, *args, **kwargs)


def refuse(message: str) -> None:
    raise TemplateError(f"the template refuses the chat: {message}")


def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    bounded(0 if indent is None else int(indent) << 16)
    return json.dumps(value, ensure_ascii=False, indent=indent)


def joined(value: Iterable[Any], between: str = "") -> str:
    parts = [str(part) for part in value]
    bounded(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def replaced(text: str, old: str, new: str, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    bounded(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    return text.replace(old, new, count)


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """What a template writes.

    Raises:
        TemplateError: it does not parse, fails, loops for too long or writes too much.
    """
    environment = Sandbox()
    try:
        tree = Additions().visit(environment.parse(template))
        made, written = [], 0
        for piece in environment.from_string(tree).generate(values):
            environment.step()
            bounded(written := written + len(piece))
            made.append(piece)
    except TemplateError:
        raise
    except (
        JinjaError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        RecursionError,
        AttributeError,
    ) as error:
        raise TemplateError(f"the template fails: {error}") from None
    return "".join(made)


def variables(template: str) -> set[str]:
    """The names that a template expects to be given; none of one that does not parse."""
    try:
        return meta.find_undeclared_variables(Sandbox().parse(template))
    except (JinjaError, RecursionError):
        return set()
