"""Ends a writer in the middle of its work, again and again, and looks at what is left. Loads no torch.

python tests/memory/crash.py kill FOLDER --cycles 10000    SIGKILL at random times
python tests/memory/crash.py points FOLDER                 around every write, sync and statement
python tests/memory/crash.py full FOLDER                   files may not grow beyond a limit
python tests/memory/crash.py hold FOLDER                   holds the lock until standard input ends
python tests/memory/crash.py batches FOLDER --cycles 20    adds 50 at a time
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

import numpy as np

from bowstring.memory import lock
from bowstring.memory.store import ArrowStorage

WIDTH = 24
CRASHED = 137
STATEMENTS = ("COMMIT", "VACUUM", "PRAGMA wal_checkpoint", "DELETE FROM meta", "BEGIN")
CALLS = ("pwrite", "fsync", "ftruncate", "truncate", "replace", "unlink", "open", "write")
SECRET = "zyzzyva"


def vector(seed):
    return np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)


def contents(store):
    """All that is in force, and a proof that vectors, of many a few, are found."""
    memories = store.list()
    found = {one.id: one.text for one in memories}
    for one in memories[:: 1 + len(memories) // 20]:
        if one.vector is not None:
            hit = store.search(one.vector, 1)[0]
            assert hit.memory.id == one.id and hit.similarity > 0.999999, one
    return found


def wait_for(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work):
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


def kill(folder, cycles, seed=0):
    """Kills a writer at random times; everything it was told is there, and nothing else is changed."""
    rng = random.Random(seed)
    told = {}
    for cycle in range(cycles):
        ear, mouth = os.pipe()
        child = in_child(lambda c=cycle, m=mouth: write_forever(folder, c, m))
        os.close(mouth)
        time.sleep(rng.uniform(0.01, 0.12))
        os.kill(child, signal.SIGKILL)
        wait_for(child)
        begun = {}
        with os.fdopen(ear, "rb") as said:
            for line in said.read().split(b"\n")[:-1]:
                act, id, text = line.decode().split(" ", 2)
                (begun if act == "begins" else told)[id] = text
        began = time.monotonic()
        with ArrowStorage(folder) as store:
            found = {one.id: one.text for one in store.list()}
            assert time.monotonic() - began < 5, "opening took long"
            for id, text in told.items():
                there = found.get(id, "")
                assert there == text or there == begun.get(id, text), (id, text, there)
                told[id] = there
            assert store.verify() == []
    return len(told)


def write_forever(folder, cycle, mouth):
    """Says what is done; of a change to what it has told of, it says first that it begins."""

    def say(act, id, text=""):
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

    def __init__(self, at):
        self.left = at

    def before(self, call):
        def wrapped(*arguments, **options):
            if self.left == 0:
                os._exit(CRASHED)
            self.left -= 1
            return call(*arguments, **options)

        return wrapped

    def arm(self):
        for name in CALLS:
            setattr(os, name, self.before(getattr(os, name)))
        crash, connect = self, sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, sql, *rest):
                run = super().execute
                return (crash.before(run) if sql.startswith(STATEMENTS) else run)(sql, *rest)

        sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)


ACTS = {
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


def base(folder):
    with ArrowStorage(folder) as store:
        for i in range(4):
            store.add(f"{SECRET}{i}", vector=vector(i), source="a" if i % 2 else "b", payload=b"p" * 100)


def act_on(folder, act, at):
    if at is not None:
        Crash(at).arm()
    with ArrowStorage(folder) as store:
        ACTS[act](store)


def points(folder, acts=tuple(ACTS)):
    """Crashes at every point of every act: what is left is the old state or the new one."""
    counted = {}
    base(folder / "base")
    with ArrowStorage(folder / "base") as store:
        old = contents(store)
    for act in acts:
        for at in range(10_000):
            place = folder / "place"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(folder / "base", place)
            code = wait_for(in_child(lambda a=act, n=at, p=place: act_on(p, a, n)))
            assert code in (0, CRASHED), (act, at, code)
            look_at(place, act, old, at, done=code == 0)
            if code == 0:
                break
        counted[act] = at
    return counted


def look_at(place, act, old, at, *, done):
    with ArrowStorage(place) as store:
        found = contents(store)
        changed = {"add": 1, "add_many": 300, "forget": -2, "erase": -2, "undo": -1}.get(act, 0)
        assert len(found) - len(old) in ((changed,) if done else (0, changed)), (act, at, len(found))
        if act == "edit" and done:
            assert "edited" in found.values()
        kept = {id: text for id, text in found.items() if id in old and text != "edited"}
        assert all(old[id] == text for id, text in kept.items()), (act, at)
        assert store.verify() == [], (act, at, store.verify())
        store.add("still writes", vector=vector(7))
    if act == "erase" and len(found) < len(old):
        for path in place.iterdir():
            assert SECRET + "1" not in path.read_bytes().decode("latin-1"), (act, at, path)


def full(folder):
    """No file may grow beyond a limit: each call works whole, or says so and changes nothing."""
    said = 0
    for limit in range(4096, 600_000, 24 * 1024):
        place = folder / str(limit)
        base(place)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        ids = []
        with ArrowStorage(place) as store:
            before = contents(store)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                for i in range(40):
                    ids.append(store.add(f"t{i}", vector=vector(50 + i), payload=bytes(20_000)))
            except OSError as error:
                said += 1
                assert str(place) in str(error), error
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert contents(store).keys() == {*before, *ids}
            store.add("works again", vector=vector(5))
        with ArrowStorage(place) as store:
            assert len(contents(store)) == len(before) + len(ids) + 1 and store.verify() == []
        shutil.rmtree(place)
    return said


def hold(folder):
    with lock.one_writer(folder / "lock"):
        print("held", flush=True)
        sys.stdin.read()


def batches(folder, cycles):
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
    work = {
        "kill": lambda: kill(chosen.folder, chosen.cycles, chosen.seed),
        "points": lambda: points(chosen.folder, chosen.acts),
        "full": lambda: full(chosen.folder),
        "hold": lambda: hold(chosen.folder),
        "batches": lambda: batches(chosen.folder, chosen.cycles),
    }
    print(work[chosen.what]())
