"""Stopping work that goes on in steps, from outside: between two steps, never within one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from .options import shown

Cancel = threading.Event | Callable[[], bool]  # set, or true: stop
Item = TypeVar("Item")


class Cancelled(Exception):
    """The caller asked for no more; what was made so far has been yielded."""


def stoppable(steps: Iterator[Item], cancel: Cancel | None) -> Iterator[Item]:
    """The same steps, until `cancel` is set (an event) or answers true (a function); it is asked before each.

    >>> stop = threading.Event()
    >>> steps = stoppable(iter(range(9)), stop)
    >>> next(steps), stop.set()
    (0, None)
    >>> next(steps)
    Traceback (most recent call last):
    bowstring.core.cancel.Cancelled: stopped before the next step, as asked

    Raises:
        Cancelled: it was asked to stop. TypeError: neither an event nor a function.
    """
    return steps if cancel is None else _asking(steps, _question(cancel))


def _asking(steps: Iterator[Item], asked: Callable[[], bool]) -> Iterator[Item]:
    while True:
        if asked():
            raise Cancelled("stopped before the next step, as asked")
        try:
            step = next(steps)
        except StopIteration:
            return
        yield step


def _question(cancel: Cancel) -> Callable[[], bool]:
    asked = getattr(cancel, "is_set", cancel)
    if not callable(asked):
        raise TypeError(f"cancel is {shown(cancel)}; expected a threading.Event, or a function of nothing")
    return asked
