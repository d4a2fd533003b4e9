"""Ends a writer in the middle of its work, again and again, and looks at what is left. Loads no torch.

    python -m bowstring.eval.board.writers kill FOLDER --cycles 10000    SIGKILL at random times
    python -m bowstring.eval.board.writers points FOLDER                 around each write, sync and statement
    python -m bowstring.eval.board.writers full FOLDER                   files may not grow beyond a limit
    python -m bowstring.eval.board.writers hold FOLDER                   the lock, until standard input ends
    python -m bowstring.eval.board.writers batches FOLDER --cycles 20    adds 50 at a time

What was tried and what failed comes as JSON: [tries, [failures]].
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from ...memory import lock
from ...memory.store import ArrowStorage

WIDTH = 24
CRASHED = 137
STATEMENTS = ("COMMIT", "VACUUM", "PRAGMA wal_checkpoint", "DELETE FROM meta", "BEGIN")
CALLS = ("pwrite", "fsync", "ftruncate", "truncate", "replace", "unlink", "open", "write")
SECRET = "zyzzyva"
FRESH = 25  # cycles after which a new store is begun, since it grows
Outcome = tuple[int, list[str]]  # tries and failures


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)


def contents(store: ArrowStorage) -> dict[str, str]:
    """All that is in force, and a proof that vectors, of many a few, are found."""
    memories = store.list()
    found = {one.id: one.text or "" for one in memories}
    for one in memories[:: 1 + len(memories) // 20]:
        if one.vector is not None:
            hit = store.search(one.vector, 1)[0]
            assert hit.memory.id == one.id and (hit.similarity or 0) > 0.999999, one
    return found


def wait_for(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], Any]) -> int:
    """Runs `work` in a copy of this process, which must not outlive it."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def kill(folder: Path, cycles: int, seed: int = 0, seconds: float = math.inf) -> Outcome:
    """Kills a writer at random times; everything it was told is there, and nothing else is changed."""
    rng, faults, done = random.Random(seed), list[str](), 0
    told: dict[str, str] = {}
    for cycle in within(seconds, cycles):
        if cycle % FRESH == 0:
            shutil.rmtree(folder, ignore_errors=True)
            told = {}
        begun = killed_once(folder, cycle, rng.uniform(0.002, 0.06), told)
        try:
            compare(folder, told, begun)
        except Exception as error:
            faults.append(f"cycle {cycle}: {error!r}")
        done += 1
    return done, faults


def within(seconds: float, count: int) -> Iterator[int]:
    """Numbers below `count`, until the seconds are over."""
    begun = time.monotonic()
    return takewhile(lambda _: time.monotonic() - begun < seconds, range(count))


def killed_once(folder: Path, cycle: int, seconds: float, told: dict[str, str]) -> dict[str, str]:
    """Lets a writer work for so long; what it said is done goes into `told`, what it began comes back."""
    ear, mouth = os.pipe()
    child = in_child(lambda: write_forever(folder, cycle, mouth))
    os.close(mouth)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    wait_for(child)
    begun: dict[str, str] = {}
    with os.fdopen(ear, "rb") as said:
        for line in said.read().split(b"\n")[:-1]:
            act, id, text = line.decode().split(" ", 2)
            (begun if act == "begins" else told)[id] = text
    return begun


def compare(folder: Path, told: dict[str, str], begun: Mapping[str, str]) -> None:
    """What is there is what was told, or for a change that had begun, what that would have made."""
    began = time.monotonic()
    with ArrowStorage(folder) as store:
        found = {one.id: one.text or "" for one in store.list()}
        assert time.monotonic() - began < 5, "opening took long"
        for id, text in told.items():
            there = found.get(id, "")
            assert there == text or there == begun.get(id, text), (id, text, there)
            told[id] = there
        assert store.verify() == []


def write_forever(folder: Path, cycle: int, mouth: int) -> None:
    """Says what is done; of a change to what it has told of, it says first that it begins."""

    def say(act: str, id: str, text: str = "") -> None:
        os.write(mouth, f"{act} {id} {text}\n".encode())

    store = ArrowStorage(folder)
    for i in range(10**6):
        text = f"cycle {cycle} entry {i}"
        id = store.add(text, vector=vector(1000 * cycle + i))
        say("done", id, text)
        if i % 5 == 3:
            say("begins", id, text + " edited")
            store.edit(id, text=text + " edited", vector=vector(1000 * cycle + i))
            say("done", id, text + " edited")
        if i % 7 == 5:
            say("begins", id)
            store.forget(id, erase=i % 2 == 0)
            say("done", id)


class Crash:
    """Ends the process before the n-th call. Between two calls nothing reaches a file, so that this is also
    the state after the one before it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if self.left == 0:
                os._exit(CRASHED)
            self.left -= 1
            return call(*arguments, **options)

        return wrapped

    def arm(self) -> None:
        for name in CALLS:
            setattr(os, name, self.before(getattr(os, name)))
        crash, connect = self, sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
                run = super().execute
                return (crash.before(run) if sql.startswith(STATEMENTS) else run)(sql, *rest)

        sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)  # type: ignore[assignment]


ACTS: dict[str, Callable[[ArrowStorage], Any]] = {
    "add": lambda store: store.add("new", vector=vector(99)),
    "add_many": lambda store: store.add_many(
        [{"text": f"n{i}", "vector": vector(200 + i)} for i in range(300)]
    ),
    "edit": lambda store: store.edit(store.list()[-1].id, text="edited", vector=vector(98)),
    "forget": lambda store: store.forget(source="a"),
    "erase": lambda store: store.forget(source="a", erase=True),
    "undo": lambda store: store.undo(),
    "compact": lambda store: store.compact(),
}


def base(folder: Path, told: Callable[[dict[str, str]], Any] | None = None) -> None:
    """Four memories; after each, what there is is told."""
    with ArrowStorage(folder) as store:
        for i in range(4):
            store.add(f"{SECRET}{i}", vector=vector(i), source="a" if i % 2 else "b", payload=b"p" * 100)
            if told is not None:
                told(contents(store))


def act_on(folder: Path, act: str, at: int | None) -> None:
    if at is not None:
        Crash(at).arm()
    with ArrowStorage(folder) as store:
        ACTS[act](store)


def points(folder: Path, acts: Sequence[str] = ()) -> Outcome:
    """Crashes at every point of every act: what is left is the old state or the new one."""
    tried, faults = 0, []
    shutil.rmtree(folder / "base", ignore_errors=True)
    base(folder / "base")
    with ArrowStorage(folder / "base") as store:
        old = contents(store)
    for act in acts or ACTS:
        for at in range(10_000):
            place = folder / "place"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(folder / "base", place)
            code = wait_for(in_child(lambda act=act, at=at, place=place: act_on(place, act, at)))  # type: ignore[misc]
            tried += 1
            try:
                assert code in (0, CRASHED), code
                look_at(place, act, old, done=code == 0)
            except Exception as error:
                faults.append(f"{act}, point {at}: {error!r}")
            if code != CRASHED:
                break
    return tried, faults


def look_at(place: Path, act: str, old: Mapping[str, str | None], *, done: bool) -> None:
    """
    Raises:
        AssertionError: neither the old state nor the new one.
    """
    with ArrowStorage(place) as store:
        found = contents(store)
        changed = {"add": 1, "add_many": 300, "forget": -2, "erase": -2, "undo": -1}.get(act, 0)
        assert len(found) - len(old) in ((changed,) if done else (0, changed)), len(found)
        if act == "edit" and done:
            assert "edited" in found.values()
        kept = {id: text for id, text in found.items() if id in old and text != "edited"}
        assert all(old[id] == text for id, text in kept.items())
        assert store.verify() == [], store.verify()
        store.add("still writes", vector=vector(7))
    if act == "erase" and len(found) < len(old):
        for path in place.iterdir():
            assert SECRET + "1" not in path.read_bytes().decode("latin-1"), path


def full(folder: Path, step: int = 24 * 1024) -> Outcome:
    """No file may grow beyond a limit: each call works whole, or says so and changes nothing."""
    limits = range(4096, 600_000, step)
    faults, said = [], 0
    for limit in limits:
        try:
            said += filled(folder / str(limit), limit)
        except Exception as error:
            faults.append(f"{limit} bytes: {error!r}")
        shutil.rmtree(folder / str(limit), ignore_errors=True)
    if not said:
        faults.append("no limit was ever reached")
    return len(limits), faults


def filled(place: Path, limit: int) -> bool:
    """Adds until a limit is met, if it is; whether it was."""
    base(place)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ids: list[str] = []
    met = False
    with ArrowStorage(place) as store:
        before = contents(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            for i in range(40):
                ids.append(store.add(f"t{i}", vector=vector(50 + i), payload=bytes(20_000)))
        except OSError as error:
            met = True
            assert str(place) in str(error), error
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(store).keys() == {*before, *ids}
        store.add("works again", vector=vector(5))
    with ArrowStorage(place) as store:
        assert len(contents(store)) == len(before) + len(ids) + 1 and store.verify() == []
    return met


def hold(folder: Path) -> None:
    with lock.one_writer(folder / "lock"):
        print("held", flush=True)
        sys.stdin.read()


def batches(folder: Path, cycles: int) -> None:
    with ArrowStorage(folder) as store:
        for i in range(cycles):
            store.add_many([{"text": f"{i} {j}", "vector": vector(100 * i + j)} for j in range(50)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acts", nargs="*", default=[*ACTS])
    chosen = parser.parse_args()
    work: dict[str, Callable[[], Outcome | None]] = {
        "kill": lambda: kill(chosen.folder, chosen.cycles, chosen.seed),
        "points": lambda: points(chosen.folder, chosen.acts),
        "full": lambda: full(chosen.folder),
        "hold": lambda: hold(chosen.folder),
        "batches": lambda: batches(chosen.folder, chosen.cycles),
    }
    print(json.dumps(work[chosen.what]()))
