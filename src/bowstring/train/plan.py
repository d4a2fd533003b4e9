"""Several trainings in a planned order: each is done once, with a budget, and what was done is skipped.

A stage leaves a note `NAME.done.json` beside its folder when it has ended; without the note it is begun
again, and goes on from its own checkpoint; if that was its last, it writes its result where it can, and else
says what to delete. This module knows no stage.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.files import write
from ..core.options import listed, real
from .progress import tell
from .schedule import CPU, Run


@dataclass(frozen=True)
class Stage:
    """A part of a plan.

    minutes: how long its training may take; what it reads and draws before comes on top. work: does it in the
    run that it is given. needs: what has to be there before anything begins, and how it is made.
    """

    name: str
    minutes: float
    work: Callable[[Run], Any]
    about: str = ""
    needs: tuple[tuple[Path, str], ...] = ()

    def lacks(self) -> list[str]:
        """What is missing, with the way to make it."""
        return [f"{path} is missing: {way}" for path, way in self.needs if not path.exists()]


def note_of(out: Path, stage: str) -> Path:
    return out / f"{stage}.done.json"


def taken(out: Path, stage: str) -> float | None:
    """Minutes that a stage took; None where it is not done."""
    path = note_of(out, stage)
    return json.loads(path.read_text("utf-8"))["minutes"] if path.exists() else None


def chosen(stages: Sequence[Stage], only: Collection[str]) -> list[Stage]:
    """The stages of these names, in their order; all where none is named.

    Raises:
        ValueError: a name that no stage has.
    """
    names = [one.name for one in stages]
    if unknown := [name for name in only if name not in names]:
        raise ValueError(f"there is no stage {unknown[0]!r}; expected {listed(names)}")
    return [one for one in stages if not only or one.name in only]


def within(stages: Sequence[Stage], minutes: float | None) -> list[Stage]:
    """The stages with budgets that take so many minutes together, each its share.

    >>> [one.minutes for one in within([Stage("a", 1, print), Stage("b", 3, print)], 8)]
    [2.0, 6.0]
    """
    if minutes is None:
        return [*stages]
    total = sum(one.minutes for one in stages)
    share = real(minutes, "minutes", above=0) / total
    return [replace(one, minutes=share * one.minutes) for one in stages]


def shown(stages: Iterable[Stage], out: Path) -> dict[str, str]:
    """What a plan does, stage by stage: what each may take, whether it is done, what it lacks."""
    rows = {}
    for one in stages:
        done = taken(out, one.name)
        state = f"done in {done:.1f}" if done is not None else "; ".join(one.lacks()) or "to do"
        rows[one.name] = f"{one.minutes:6.1f} min  {state}" + (f"  ({one.about})" if one.about else "")
    return rows


def carry_out(
    stages: Sequence[Stage],
    out: Path,
    device: Any = CPU,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, float]:
    """Does what is not yet done, in order, and returns the minutes of every stage.

    Raises:
        FileNotFoundError: something that a stage needs is missing; nothing was begun. Whatever a stage
        raises: what was done before stays done.
    """
    left = [one for one in stages if taken(out, one.name) is None]
    if lacking := [fault for one in left for fault in one.lacks()]:
        raise FileNotFoundError(" / ".join(dict.fromkeys(lacking)))
    for one in left:
        tell(f"{one.name}: {one.minutes:.1f} minutes" + (f", {one.about}" if one.about else ""))
        began = clock()
        one.work(Run(out / one.name, device, 60 * one.minutes, rewrites=True))
        minutes = (clock() - began) / 60
        write(note_of(out, one.name), json.dumps({"minutes": minutes, "budget": one.minutes}).encode())
    return {one.name: taken(out, one.name) or 0.0 for one in stages}
