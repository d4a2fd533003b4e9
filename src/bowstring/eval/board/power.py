"""What a power loss can leave of a store: images of its folder, each of them looked at.

All that a process does to files is recorded. At every act an image is what was synced, with some of what
was not: any write may be there, be missing, or be there in some of its sectors of 512 bytes; names that were
made, moved or deleted without a sync of their folder may be so or not, in their order. The index of SQLite's
log is memory, and lost.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ...memory.store import ArrowStorage
from .disk import Watcher, watched
from .writers import ACTS, base, contents, vector, within

SECTOR = 512
LOGS = ("-wal", "-journal")
Images = Iterator[tuple[int, dict[str, bytes]]]


@dataclass
class Recorder(Watcher):
    """All acts in a folder, in their order; `mark` says what was acknowledged in between."""

    folder: Path
    acts: list[tuple[Any, ...]] = field(default_factory=list)

    def done(self, act: str, path: Path, *what: Any) -> None:
        if path == self.folder:
            self.acts.append(("sync names",))
        elif path.parent == self.folder and not path.name.endswith("-shm"):
            last = tuple(one.name if isinstance(one, Path) else one for one in what)
            self.acts.append((act, path.name, *last))

    def mark(self, state: int) -> None:
        self.acts.append(("acknowledged", state))


@dataclass
class Inode:
    """A file: what is on the disk, and what has been done since."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and bytes, or a size

    def image(self, rng: random.Random) -> bytes:
        made = bytearray(self.synced)
        for offset, data in self.pending:
            fate = rng.random()
            if data is None:
                if fate < 0.5:
                    resize(made, offset)
            elif fate < 0.4:
                put(made, offset, data)
            elif fate < 0.7:
                for at in range(0, len(data), SECTOR):
                    if rng.random() < 0.5:
                        put(made, offset + at, data[at : at + SECTOR])
        return bytes(made)

    def sync(self) -> None:
        for offset, data in self.pending:
            resize(self.synced, offset) if data is None else put(self.synced, offset, data)
        self.pending.clear()


@dataclass
class Disk:
    """Names and files: as they are on the disk for certain, and what has been done to names since."""

    names: dict[str, Inode] = field(default_factory=dict)
    synced: dict[str, Inode] = field(default_factory=dict)
    pending: list[tuple[str, ...]] = field(default_factory=list)
    inodes: dict[int, Inode] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)  # SQLite's logs that were made and never synced

    def act(self, act: str, name: str = "", *what: Any) -> None:
        if act in ("create", "rename", "delete"):
            one = self.names.get(name) or Inode()
            self.inodes[id(one)] = one
            self.pending.append((act, name, *what, str(id(one))))
            apply(self.names, self.pending[-1], self.inodes)
            if act == "create" and name.endswith(LOGS):
                self.fresh.add(name)
        elif act == "sync names":
            self.sync_names()
        elif act == "sync":
            self.names[name].sync()
            if name in self.fresh:  # SQLite syncs the folder with the first sync of a log that it has made
                self.fresh.remove(name)
                self.sync_names()
        else:
            self.names[name].pending.append((what[0], what[1] if act == "write" else None))

    def sync_names(self) -> None:
        self.synced = dict(self.names)
        self.pending.clear()

    def image(self, rng: random.Random) -> dict[str, bytes]:
        names = dict(self.synced)
        for act in self.pending[: rng.randint(0, len(self.pending))]:
            apply(names, act, self.inodes)
        return {name: one.image(rng) for name, one in names.items()}


def apply(names: dict[str, Inode], act: tuple[str, ...], inodes: Mapping[int, Inode]) -> None:
    kind, name, *rest = act
    if kind == "create":
        names[name] = inodes[int(rest[-1])]
    elif kind == "delete":
        names.pop(name, None)
    elif name in names:
        names[rest[0]] = names.pop(name)


def put(file: bytearray, offset: int, data: bytes) -> None:
    if len(file) < offset + len(data):
        resize(file, offset + len(data))
    file[offset : offset + len(data)] = data


def resize(file: bytearray, size: int) -> None:
    del file[size:]
    file.extend(bytes(size - len(file)))


def worked(folder: Path, seed: int) -> tuple[list[tuple[Any, ...]], list[dict[str, str]]]:
    """Records a store's beginning and some changes: the acts, and the states that they lead through."""
    rng = random.Random(seed)
    recorder, states = Recorder(folder), [dict[str, str]()]
    folder.mkdir(parents=True, mode=0o700)

    def told(found: dict[str, str]) -> None:
        states.append(found)
        recorder.mark(len(states) - 1)

    def step(change: Callable[[ArrowStorage], Any]) -> None:
        with ArrowStorage(folder) as store:
            change(store)
            told(contents(store))

    with watched(recorder):
        base(folder, told)
        names = [name for name in ACTS if name != "add_many"]
        for i in range(8):
            name = rng.choice(names)
            step(partial(add, i) if name == "add" else ACTS[name])
    return recorder.acts, states


def add(number: int, store: ArrowStorage) -> str:
    return store.add(f"n{number}", vector=vector(number + 70))


def images(acts: list[tuple[Any, ...]], each: float, seed: int) -> Images:
    """What may be left after every act, about `each` ways of it: (last acknowledged state, files by name)."""
    rng, disk, state, due = random.Random(seed), Disk(), 0, 0.0
    for act in acts:
        if act[0] == "acknowledged":
            state = act[1]
        else:
            disk.act(*act)
        due += each
        while due >= 1:
            due -= 1
            yield state, disk.image(rng)


def fault_of(place: Path, files: Mapping[str, bytes], states: list[dict[str, str]], state: int) -> str | None:
    """What is wrong with an image: it must hold the last acknowledged state or the one in the making."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    for name, data in files.items():
        (place / name).write_bytes(data)
    try:
        with ArrowStorage(place) as store:
            found = contents(store)
            if found not in states[state : state + 2]:
                return f"after state {state}: {sorted(found.values())}"
            if any(fault.file == "memory.sqlite" for fault in store.verify()):
                return f"after state {state}: {store.verify()[0]}"
            id = store.add("still writes", vector=vector(7))
            if contents(store) != found | {id: "still writes"}:
                return f"after state {state}: it does not write on"
    except Exception as error:  # whatever it is, the image is a bad one
        return f"after state {state}: {type(error).__name__}: {error}"
    return None


def power_losses(folder: Path, count: int, seed: int = 0, seconds: float = math.inf) -> tuple[int, list[str]]:
    """Looks at `count` images at least: how many there were, and what is wrong with some."""
    tried, bad = 0, []
    for turn in within(seconds, 10**6):
        shutil.rmtree(folder / "recorded", ignore_errors=True)
        acts, states = worked(folder / "recorded", seed + turn)
        for state, files in images(acts, min(4.0, count / len(acts)), seed + turn):
            tried += 1
            if (fault := fault_of(folder / "image", files, states, state)) is not None:
                bad.append(fault)
        if tried >= count:
            break
    return tried, bad
