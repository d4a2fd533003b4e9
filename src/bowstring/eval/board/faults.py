"""A disk that fails at its n-th act, bits that flip, and two processes at one store."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...memory import lock
from ...memory.store import ArrowStorage
from .disk import Watcher, watched
from .writers import ACTS, Outcome, base, contents, look_at

FAILING = ("add", "edit", "erase", "undo", "compact")
REFUSED = (OSError, ValueError)  # how a store says that it cannot be read or written


@dataclass
class Failing(Watcher):
    """Refuses the n-th act in a folder, and all later ones if it lasts."""

    folder: Path
    left: int
    lasting: bool
    met: bool = False

    def allows(self, act: str, path: Path) -> bool:
        if path.parent != self.folder or path.name.endswith("-shm"):
            return True
        self.left -= 1
        fails = self.left < 0 if self.lasting else self.left == -1
        self.met |= fails
        return not fails


def failing_disk(folder: Path, acts: Sequence[str] = FAILING, stride: int = 1) -> Outcome:
    """Every act at the n-th error of the disk, once and for good: the old state or the new one is left."""
    tried, faults = 0, []
    shutil.rmtree(folder, ignore_errors=True)
    base(folder / "base")
    with ArrowStorage(folder / "base") as store:
        old = contents(store)
    for act in acts:
        for lasting in (False, True):
            for at in range(0, 10_000, stride):
                place = folder / "place"
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(folder / "base", place)
                failing = Failing(place, at, lasting)
                tried += 1
                try:
                    done = acted(place, act, failing)
                    look_at(place, act, old, done=done)
                except Exception as error:
                    faults.append(f"{act}, error {at}{' and all later' if lasting else ''}: {error!r}")
                if not failing.met:
                    break
    return tried, faults


def acted(place: Path, act: str, failing: Failing) -> bool:
    """Whether an act said that it was done, on a disk that fails."""
    with watched(failing):
        try:
            with ArrowStorage(place) as store:
                ACTS[act](store)
                return True
        except REFUSED:
            return False


def flipped_bits(folder: Path, count: int, seed: int = 0) -> Outcome:
    """Flips `count` bits of each file, one at a time: it is found, with the memory's name where one is hit,
    or nothing is changed by it: bits that nobody wrote may flip."""
    rng, tried, faults = random.Random(seed), 0, []
    shutil.rmtree(folder, ignore_errors=True)
    base(folder)
    with ArrowStorage(folder) as store:
        before = contents(store)
    files = {path: path.read_bytes() for path in folder.iterdir() if path.stat().st_size}
    for path, data in files.items():
        for _ in range(count):
            at, bit = rng.randrange(len(data)), rng.randrange(8)
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            tried += 1
            if not is_found(folder, before):
                faults.append(f"{path.name}, byte {at}, bit {bit}")
            for other, whole in files.items():
                other.write_bytes(whole)
    return tried, faults


def is_found(folder: Path, before: dict[str, str]) -> bool:
    """Whether a flipped bit is told of, or does nothing."""
    try:
        with ArrowStorage(folder) as store:
            if store.verify():
                return True
            return contents(store) == before and all(store.get(id).parts for id in before)
    except ValueError as error:
        return "memory.sqlite" in str(error) or "damaged" in str(error)


def flipped_bits_of_records(folder: Path, count: int, seed: int = 0) -> Outcome:
    """Flips bits of texts, vectors and parts in the database: the memory is named."""
    rng, faults = random.Random(seed), []
    shutil.rmtree(folder, ignore_errors=True)
    base(folder)
    with ArrowStorage(folder) as store:
        memories = [store.get(one.id) for one in store.list()]
    path = folder / "memory.sqlite"
    data = path.read_bytes()
    for _ in range(count):
        one = rng.choice(memories)
        assert one.text is not None and one.vector is not None
        wanted = rng.choice([one.text.encode(), one.vector.tobytes()])
        at = data.index(wanted) + rng.randrange(len(wanted))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        with ArrowStorage(folder) as store:
            if one.id not in {fault.record for fault in store.verify()}:
                faults.append(f"{one.id}, byte {at}")
        path.write_bytes(data)
    return count, faults


def erased_bytes(folder: Path) -> Outcome:
    """Looks in every file for what was erased."""
    shutil.rmtree(folder, ignore_errors=True)
    store = ArrowStorage(folder)
    words = [f"secret{name}" for name in ("text", "older", "source", "tag", "key", "part")]
    part = words[5].encode() * 2000
    seen = store.add(words[1], source=words[2], tags=[words[3]], key=words[4], payload=part)
    id = store.edit(seen, vector=[float(i) for i in range(1, 25)])
    store.edit(id, text=words[0])
    store.add("something else", vector=[1.0] * 24)
    there = [word for word in words if held(folder, word)]
    store.forget(id, erase=True)
    left = [word for word in words if held(folder, word)]
    store.close()
    left += [word for word in words if held(folder, word)]
    hidden = [f"{word} was never found" for word in set(words) - set(there)]
    return len(words), [*hidden, *(f"{word} is still there" for word in left)]


def held(folder: Path, word: str) -> bool:
    return any(word.encode() in path.read_bytes() for path in folder.iterdir())


def script(*arguments: object) -> subprocess.Popen[str]:
    """A writer in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "bowstring.eval.board.writers", *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def two_processes(folder: Path) -> Outcome:
    """A second writer is refused with a sentence, and a reader sees whole transactions of 50 only."""
    faults = []
    shutil.rmtree(folder, ignore_errors=True)
    with ArrowStorage(folder) as store, script("hold", folder) as other:
        assert other.stdout is not None and other.stdin is not None
        other.stdout.readline()
        began = time.monotonic()
        try:
            store.add("x")
            faults.append("a second writer was let in")
        except TimeoutError as error:
            if "another process has been writing" not in str(error):
                faults.append(f"a second writer was told {error}")
        if time.monotonic() - began < lock.PATIENCE:
            faults.append("a second writer did not wait")
        other.stdin.close()
        other.wait(10)
    with ArrowStorage(folder) as reader, script("batches", folder, "--cycles", 12) as writer:
        seen = [0]
        while seen[-1] < 600 and writer.poll() in (None, 0):
            seen.append(len(reader.list()))
    if any(count % 50 for count in seen) or seen != sorted(seen) or seen[-1] != 600:
        faults.append(f"a reader saw {[count for count in seen if count % 50][:5]} of 600 records")
    return 1 + len(seen), faults


def lost_lock(folder: Path) -> Outcome:
    """A writer that is killed while it holds the lock lets the next one in at once."""
    shutil.rmtree(folder, ignore_errors=True)
    with ArrowStorage(folder) as store, script("hold", folder) as other:
        assert other.stdout is not None
        other.stdout.readline()
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
        began = time.monotonic()
        store.add("x")
        late = time.monotonic() - began > lock.PATIENCE / 2
    return 1, ["the lock outlived its holder"] if late else []
