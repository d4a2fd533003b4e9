"""`bowstring selftest --board`: rows of what was tried and what failed, made into docs/BOARD.md."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import adaptations, disk, faults, power, writers
from .writers import Outcome

SHOWN = 3  # failures that a row tells of


@dataclass(frozen=True)
class Row:
    """What is tried, and what it promises. run: from a folder and whether it may take long; of an endless
    one, also from the seconds after which it ends.
    """

    what: str
    promise: str
    run: Callable[..., Outcome]
    on_disk: bool = False
    watches: bool = False  # needs SQLite in a file of its own
    endless: bool = False


@dataclass(frozen=True)
class Tried:
    """What came of a row. missing: why it could not be tried."""

    row: Row
    tries: int
    failures: list[str]
    missing: str | None = None


ROWS = (
    Row(
        "memory: a writer is killed at a random time",
        "what `add` returned is there, nothing else is changed",
        lambda folder, long, seconds=math.inf: writers.kill(folder, 10_000 if long else 500, seconds=seconds),
        on_disk=True,
        endless=True,
    ),
    Row(
        "memory: the process ends before each write, sync, rename and statement",
        "the old state or the new one",
        lambda folder, long: writers.points(folder, () if long else ("add", "erase", "compact")),
    ),
    Row(
        "memory: images of power losses: writes missing, torn at 512 bytes, reordered",
        "the last acknowledged state or the one in the making",
        lambda folder, long, seconds=math.inf: power.power_losses(
            folder, 100_000 if long else 2000, seconds=seconds
        ),
        watches=True,
        endless=True,
    ),
    Row(
        "memory: files may not grow beyond a limit",
        "a call works whole or says so; it works on when there is space",
        lambda folder, long: writers.full(folder, 4096 if long else 24 * 1024),
    ),
    Row(
        "memory: the n-th act of the disk fails, once or for good",
        "the old state or the new one, and a sentence",
        lambda folder, long: faults.failing_disk(folder, stride=1 if long else 5),
        watches=True,
    ),
    Row(
        "memory: one bit flips, in every file",
        "it is found, or changes nothing that was written",
        lambda folder, long: faults.flipped_bits(folder, 1000 if long else 200),
    ),
    Row(
        "memory: one bit flips in a text or a vector",
        "the record is named",
        lambda folder, long: faults.flipped_bits_of_records(folder, 1000 if long else 100),
    ),
    Row(
        "memory: erased bytes are looked for",
        "no file has them",
        lambda folder, long: faults.erased_bytes(folder),
    ),
    Row(
        "memory: two processes",
        "a second writer is told so, a reader sees whole transactions",
        lambda folder, long: faults.two_processes(folder),
    ),
    Row(
        "memory: the holder of the lock is killed",
        "the next writer goes on at once",
        lambda folder, long: faults.lost_lock(folder),
    ),
    Row(
        "adaptations: a process that judges and keeps them is killed at a random time",
        "what is in force passed the gate, is whole, and no acknowledged one is lost",
        lambda folder, long, seconds=math.inf: adaptations.killed(
            folder, 1000 if long else 20, seconds=seconds
        ),
        on_disk=True,
        endless=True,
    ),
)


@contextmanager
def workplace(*, on_disk: bool) -> Iterator[Path]:
    """A folder of its own; in memory where that is meant, since only processes die there."""
    memory = Path("/dev/shm")
    place = tempfile.mkdtemp(dir=None if on_disk or not memory.is_dir() else memory)
    try:
        yield Path(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def tried(row: Row, *, long: bool, minutes: float | None = None) -> Tried:
    """Tries a row; minutes: at most so many of one that goes on as long as it may, when it may be long."""
    if sys.platform == "win32":
        return Tried(row, 0, [], "signals and limits of Unix")
    if row.watches and disk.library() is None:
        return Tried(row, 0, [], "SQLite is part of this Python's own file and cannot be watched")
    with workplace(on_disk=row.on_disk) as place:
        if long and minutes is not None and row.endless:
            return Tried(row, *row.run(place / "store", long, 60 * minutes))
        return Tried(row, *row.run(place / "store", long))


def board(*, long: bool = False, minutes: float | None = None) -> Iterator[Tried]:
    """All rows, one after the other."""
    return (tried(row, long=long, minutes=minutes) for row in ROWS)


def markdown(found: list[Tried], *, long: bool, minutes: float | None = None) -> str:
    """docs/BOARD.md."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    command = "bowstring selftest --board" + (" --long" if long else "")
    command += "" if minutes is None else f" --minutes {minutes:g}"
    lines = [
        "# What the engine survives",
        "",
        f"Written by `{command} --write` on {when} UTC; {machine}, Python {platform.python_version()}.",
        "",
        "| tried | tries | failures | promise |",
        "| --- | --- | --- | --- |",
    ]
    for one in found:
        tries = one.missing or f"{one.tries:,}"
        failures = "–" if one.missing else f"{len(one.failures):,}"
        lines.append(f"| {one.row.what} | {tries} | {failures} | {one.row.promise} |")
    return "\n".join(lines) + "\n"
