"""How long a training is and what is due at each moment of it.

Every rate and every choice of a task is a function of the step and of the share of the training that is over.
A training of so many steps counts them; one with a wall-clock budget reads the clock, writes each share to
its log, and takes the shares that the log has when it goes on, so that the log alone decides what was done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

LOG = "log.jsonl"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Run:
    """Where a training computes and keeps its checkpoint and log, and how many seconds it may take; None is
    as many as the steps of its recipe take. rewrites: one that had ended before writes its result anew;
    otherwise that is an error.
    """

    out: Path
    device: torch.device = CPU
    seconds: float | None = None
    every_seconds: float = 240.0  # between checkpoints
    rewrites: bool = False


@dataclass(frozen=True)
class Moment:
    """A step about to be made, and the share of the training that is over before it."""

    step: int
    share: float


def moments(
    steps: int,
    start: int,
    seconds: float | None = None,
    logged: Sequence[float] = (),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Moment]:
    """The moments from step `start` on: `steps` in all or, with a budget, as long as another step fits in.

    Args:
        logged: the share before each step that was made already.

    >>> [moment.share for moment in moments(4, 2)]
    [0.5, 0.75]

    Raises:
        ValueError: with a budget, the log ends before `start`.
    """
    if seconds is None:
        yield from (Moment(step, step / steps) for step in range(start, steps))
        return
    if len(logged) < start:
        raise ValueError(
            f"the log has {len(logged)} steps, the checkpoint {start}; a training with a budget goes on from "
            f"checkpoint and {LOG} together"
        )
    yield from (Moment(step, logged[step]) for step in range(start, len(logged)))
    step, over = len(logged), logged[-1] if logged else 0.0
    over, began = over + (over / (step - 1) if step > 1 else 0.0), clock()
    while (share := over + (clock() - began) / seconds) + (share / step if step else 0.0) <= 1:
        yield Moment(step, share)
        step += 1


def logged_shares(folder: Path) -> list[float]:
    """The share before each step, from the log in a folder; a step that was made twice had the same share."""
    path, shares = folder / LOG, list[float]()
    if not path.exists():
        return shares
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["step"] == len(shares) and "share" in row:
            shares.append(row["share"])
    return shares


def warm_up_share(moment: Moment, steps: int, warm_up: int) -> float:
    """Share of the full rate during a linear warm-up of `warm_up` of `steps` steps, which a training that
    makes fewer steps passes faster.
    """
    return min(1.0, max(moment.step + 1, moment.share * steps) / warm_up)


@dataclass(frozen=True)
class TaskSchedule:
    """Which task each step improves: of each stage, `(share of the training at its end, cycle of tasks)`, the
    cycle over and over; how fast; and how much a task's gradient counts: before momentum mixes them, each is
    brought to this norm in the trunk (1 by default).
    """

    stages: tuple[tuple[float, tuple[str, ...]], ...]
    steps: int
    rate: float = 1.5e-3
    warm_up: int = 60
    constant: float = 0.4  # share of the training before the rate falls
    weights: tuple[tuple[str, float], ...] = ()
    modulation: float = 1.0  # share of the rate at which the time modulation learns
    seed: int = 0

    def rate_at(self, moment: Moment) -> float:
        fall = min(1.0, (1 - moment.share) / (1 - self.constant))
        return self.rate * min(warm_up_share(moment, self.steps, self.warm_up), fall)

    def task_at(self, moment: Moment) -> str:
        cycle = next((cycle for end, cycle in self.stages if moment.share < end), self.stages[-1][1])
        return cycle[moment.step % len(cycle)]
