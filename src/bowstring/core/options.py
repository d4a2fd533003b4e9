"""Every public option is checked here: what numpy, torch and people pass becomes a plain Python value.

Plain values keep results printable as JSON, whatever type a number came in. What cannot be meant is refused
in one sentence that says the option's name, what came and what is expected: a wrong kind is a TypeError, a
value out of range a ValueError. Nothing here imports numpy or torch: a scalar array is known by `ndim` and
`item`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST_SHOWN = 60  # characters of a refused value in its sentence
LARGEST_SEED = 2**64 - 1
SMALLEST_SEED = -(2**63)


def whole(value: Any, name: str, low: int | None = None, high: int | None = None, *, advice: str = "") -> int:
    """A whole number in low..high, ends included; None leaves an end open.

    Reals with nothing behind the point are taken, as spreadsheets and JSON write whole numbers so.

    >>> whole(2.0, "steps", 1, 1000)
    2
    >>> whole(0, "steps", 1, 1000)
    Traceback (most recent call last):
    ValueError: steps is 0; expected a whole number from 1 to 1000
    """
    expected = f"a whole number{_range(low, high)}{advice and '; ' + advice}"
    number = _number(value, name, expected)
    if not (isinstance(number, int) or number.is_integer()) or not _inside(int(number), low, high):
        raise ValueError(f"{name} is {shown(value)}; expected {expected}")
    return int(number)


def real(
    value: Any,
    name: str,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    advice: str = "",
) -> float:
    """A finite number in low..high, ends included; `above` in place of `low` leaves the lower end out.

    >>> real(1, "strength", above=0, high=1)
    1.0
    >>> real(float("nan"), "temperature", 0, 2)
    Traceback (most recent call last):
    ValueError: temperature is nan; expected a number from 0 to 2
    """
    span = (
        _range(low, high)
        if above is None
        else f" above {above:g}" + ("" if high is None else f", up to {high:g}")
    )
    expected = f"a number{span}{advice and '; ' + advice}"
    number = _float(_number(value, name, expected))
    if not math.isfinite(number) or not _inside(number, low, high) or (above is not None and number <= above):
        raise ValueError(f"{name} is {shown(value)}; expected {expected}")
    return number


def seed(value: Any, name: str = "seed") -> int:
    """A seed: 0 to 2**64 - 1, each with its own random numbers.

    As with `torch.manual_seed`, -1 down to -2**63 count back from 2**64, so that -1 is the last one.

    >>> seed(7), seed(-1) == 2**64 - 1
    (7, True)
    """
    number = whole(value, name, SMALLEST_SEED, LARGEST_SEED, advice="the same seed gives the same output")
    return number % (LARGEST_SEED + 1)


def flag(value: Any, name: str) -> bool:
    """True or False; a number or a word is refused, because "no" and 0.5 would both count as true.

    >>> flag(False, "picture")
    False
    """
    found = _scalar(value)
    if not isinstance(found, bool):
        raise TypeError(f"{name} is {shown(value)}; expected True or False")
    return found


def text(value: Any, name: str, *, blank: bool = True) -> str:
    """A string, unchanged; `blank=False` refuses one of nothing but white space.

    >>> text("a fox", "prompt")
    'a fox'
    """
    if not isinstance(value, str):
        advice = "; decode it first" if isinstance(value, bytes | bytearray) else ""
        raise TypeError(f"{name} is {_kind(value)}; expected a string{advice}")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{name} holds bytes that are no UTF-8: {shown(value)}; expected Unicode text")
    if not blank and not value.strip():
        raise ValueError(f"{name} is empty; expected some text")
    return str(value)


def texts(value: Any, name: str, *, blank: bool = True) -> tuple[str, ...]:
    """Several strings; a string alone is one.

    >>> texts("a fox", "prompt"), texts(["a fox", "a cat"], "prompt")
    (('a fox',), ('a fox', 'a cat'))
    """
    if isinstance(value, str):
        return (text(value, name, blank=blank),)
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | dict):
        raise TypeError(f"{name} is {_kind(value)}; expected a string or a list of strings")
    return tuple(text(one, f"{name}[{i}]", blank=blank) for i, one in enumerate(value))


def choice(value: Any, name: str, options: Iterable[str]) -> str:
    """One of a few words.

    >>> choice("noot", "style", ["flat", "noto"])
    Traceback (most recent call last):
    ValueError: style is 'noot'; expected 'flat' or 'noto'. Closest: 'noto'
    """
    allowed = list(options)
    expected = listed([repr(one) for one in allowed])
    if not isinstance(value, str):
        raise TypeError(f"{name} is {shown(value)}; expected {expected}")
    if value not in allowed:
        near = difflib.get_close_matches(value.lower(), allowed, 1)
        raise ValueError(
            f"{name} is {shown(value)}; expected {expected}" + (f". Closest: {near[0]!r}" if near else "")
        )
    return str(value)


def either(value: Any, default: Any, name: str, other: Any, alias: str) -> Any:
    """The value of an option that has a second name, which is None unless it was given.

    >>> either(16, 16, "steps", 4, "num_inference_steps")
    4
    """
    if other is None:
        return value
    if value != default:
        raise TypeError(f"{name} and {alias} are one option, and both were given; leave one out")
    return other


def settle(parameters: Any, **checked: Any) -> None:
    """Puts checked values into a frozen dataclass, from its `__post_init__`."""
    for name, value in checked.items():
        object.__setattr__(parameters, name, value)


def on_host(value: Any) -> Any:
    """A tensor, wherever it lies and with or without a gradient, as an array; anything else as it is."""
    if not (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value
    plain = value.detach().cpu()
    return (plain.float() if "bfloat16" in str(plain.dtype) else plain).numpy()  # numpy has no brain floats


def listed(words: Sequence[str], last: str = "or") -> str:
    """Words as a person lists them.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b or c', 'a')
    """
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def shown(value: Any) -> str:
    """A value short enough for a sentence."""
    try:
        found = " ".join(repr(value).split())
    except ValueError:  # a whole number with more digits than Python prints
        return f"a whole number of {value.bit_length()} bits"
    if getattr(value, "ndim", 0):
        return f"an array of shape {tuple(value.shape)}"
    return found if len(found) <= LONGEST_SHOWN else f"{found[:LONGEST_SHOWN]}..."


def _kind(value: Any) -> str:
    """What a value is, for a sentence: None, or its type."""
    return "None" if value is None else f"of type {type(value).__name__}"


def _scalar(value: Any) -> Any:
    """The Python value in a scalar of numpy or torch; anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _number(value: Any, name: str, expected: str) -> int | float:
    """An int where the value is one exactly, else a float; not a truth value, a string or an array."""
    found = _scalar(value)
    if isinstance(found, int) and not isinstance(found, bool):
        return int(found)
    is_array = bool(getattr(found, "ndim", 0))
    if isinstance(found, bool | complex | type) or is_array or not hasattr(found, "__float__"):
        raise TypeError(f"{name} is {shown(value)}; expected {expected}")
    return _float(found)


def _float(number: Any) -> float:
    """As a float; beyond the largest one it is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def _inside(number: float, low: float | None, high: float | None) -> bool:
    return (low is None or number >= low) and (high is None or number <= high)


def _range(low: float | None, high: float | None) -> str:
    """Both ends of a range in words; powers of two as such, because nobody counts 20 digits."""
    if low is None:
        return "" if high is None else f" up to {_end(high)}"
    return f" of at least {_end(low)}" if high is None else f" from {_end(low)} to {_end(high)}"


def _end(number: float) -> str:
    for offset, tail in ((0, ""), (1, " - 1")):
        size = abs(number) + offset
        if isinstance(size, int) and size > 2**40 and size & (size - 1) == 0:
            return f"{'-' if number < 0 else ''}2**{size.bit_length() - 1}{tail}"
    return str(number) if isinstance(number, int) else f"{number:g}"
