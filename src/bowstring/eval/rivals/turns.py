"""Contenders take turns: each runs once in every round, and every round begins with another one.

So a machine that slows down or speeds up meanwhile does so for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..results import Measured

TURN_PAUSE = 0.005  # seconds before a turn, in which the threads of the last contender stop waiting for work


def seconds_in_turns(
    runs: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each contender in each round; in its turn it runs twice, and only the second run counts, for
    the first one brings its weights back into the caches.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    order = [*runs.items()]
    for _ in range(rounds):
        for name, run in order:
            time.sleep(TURN_PAUSE)
            run()
            began = clock()
            run()
            taken[name].append(clock() - began)
        order = [*order[1:], order[0]]
    return taken


def medians_in_turns(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Measured]:
    """Median seconds of each."""
    return {name: Measured.median(seconds) for name, seconds in seconds_in_turns(runs, rounds).items()}


def ratio_of_turns(above: list[float], below: list[float]) -> Measured:
    """Median over rounds of one contender's number over the other's in the same round."""
    return Measured.median([a / b for a, b in zip(above, below, strict=True)])
