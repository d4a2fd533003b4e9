"""How fast are searching and adding in a store of 100,000 vectors of 384 numbers, beside rivals in one run?

Ours is the whole call of `ArrowStorage.search`, records included; rivals give the numbers of rows. All use
one thread. Contenders take turns, each with a few queries at a time. `recall10` is against FP64 on all
vectors. Vectors of clusters have clusters of very different sizes; real ones are of texts, where a file of
them lies at `memory/vectors.npy` in the folder of the data.

`write_p99_ratio` is the 99th percentile of searches while another process adds 1,000 records a second, over
that of the same searches alone. `add_over_fsync_ms` is one durable `add` less one `fsync` of a file in the
same folder; near doubles are looked for in both ways of adding.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import _native
from ..memory.record import Embedder
from ..memory.store import ArrowStorage
from .results import Measured, Measurement, Setting, announce, jackknife
from .rivals.vectors import RIVALS, Find, here, lacking

WIDTH, COUNT, WANTED = 384, 100_000, 10
DRAWN = 10_000  # vectors that are drawn at once
BATCH = 1000  # entries of one transaction
NEAR = 0.97  # cosine of near doubles, as an embedder of texts has it
SPREAD = 0.75  # length of the noise about a cluster's centre of length 1
RARE = 100  # every so many records have the tag that the filter keeps
AT_A_TIME = 20  # queries of a turn
WRITES = 1000  # records a second that the other process adds
EQUAL = 0.99  # recall from which a rival counts as equal


@dataclass(frozen=True)
class Vectors:
    """Unit vectors that are kept, others of the same kind to ask with, and the rows that FP64 finds."""

    kept: np.ndarray
    asked: np.ndarray
    found: list[set[int]]

    @classmethod
    def of(cls, kept: np.ndarray, asked: np.ndarray) -> Vectors:
        wide = kept.astype(np.float64)
        nearest = (
            np.argpartition(-(wide @ query.astype(np.float64)), WANTED)[:WANTED].tolist() for query in asked
        )
        return cls(kept, asked, [*map(set, nearest)])


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, queries: int, seed: int = 0) -> Vectors:
    """Vectors about 1,000 centres, which lie about a common direction; sizes fall as 1 / rank."""
    every = clustered_vectors(count + queries, seed)
    return Vectors.of(every[:count], every[count:])


def clustered_vectors(count: int, seed: int) -> np.ndarray:
    """See `clustered`."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(1000, WIDTH)) + 0.5 * rng.normal(size=WIDTH))
    shares = 1 / np.arange(1, 1001)
    which = rng.choice(1000, count, p=shares / shares.sum())
    out = np.empty((count, WIDTH), np.float32)
    for start in range(0, count, DRAWN):
        some = which[start : start + DRAWN]
        noise = rng.normal(size=(len(some), WIDTH)) * (SPREAD / WIDTH**0.5)
        out[start : start + DRAWN] = unit(centres[some] + noise)
    return out


def real(path: Path, count: int, queries: int) -> Vectors | None:
    """Vectors of texts from a file, if it is there."""
    if not path.exists():
        return None
    every = np.load(path, allow_pickle=False)
    order = np.random.default_rng(0).permutation(len(every))[: count + queries]
    every = unit(np.asarray(every[np.sort(order)], np.float32)[np.argsort(np.argsort(order))])
    return Vectors.of(every[:-queries], every[-queries:])


def no_text(_: list[str]) -> Any:
    raise AssertionError("vectors are given here")


def opened(folder: Path) -> ArrowStorage:
    return ArrowStorage(folder, Embedder("given", "", WIDTH, no_text, near=NEAR))


def entries(vectors: np.ndarray, first: int = 0) -> Iterator[dict[str, Any]]:
    for i, vector in enumerate(vectors, first):
        yield {
            "text": f"record {i}",
            "vector": vector,
            "source": "bench",
            "tags": ["rare"] if i % RARE == 0 else [],
        }


def filled(folder: Path, vectors: np.ndarray) -> tuple[ArrowStorage, dict[str, int], list[float]]:
    """A store of vectors, the row of each id, and records a second of each of the later half's batches."""
    store, rows, rates = opened(folder), dict[str, int](), []
    every = [*entries(vectors)]
    for start in range(0, len(every), BATCH):
        some = every[start : start + BATCH]
        began = time.perf_counter()
        ids = store.add_many(some)
        rates.append(len(some) / (time.perf_counter() - began))
        rows |= {id: start + i for i, id in enumerate(ids)}
    return store, rows, rates[len(rates) // 2 :]


def ours(store: ArrowStorage, rows: Mapping[str, int], where: Mapping[str, Any] | None = None) -> Find:
    """Rows by ids come after the clock has stopped, as `recall` asks for them."""

    def find(query: np.ndarray, k: int) -> Any:
        hits = store.search(query, k, where)
        return lambda: [rows.get(hit.memory.id, -1) for hit in hits]

    return find


@dataclass
class Asked:
    """Milliseconds of each query, and how many of the ten nearest each found."""

    milliseconds: list[float]
    shares: list[float]

    @property
    def p50(self) -> Measured:
        return Measured.median(self.milliseconds)

    @property
    def p99(self) -> Measured:
        return jackknife(lambda some: float(np.quantile(some, 0.99)), self.milliseconds)


def ask_in_turns(finds: Mapping[str, Find], vectors: Vectors) -> dict[str, Asked]:
    """Every contender finds the nearest of every query, a few at a time."""
    told = {name: Asked([], []) for name in finds}
    for start in range(0, len(vectors.asked), AT_A_TIME):
        for name, find in finds.items():
            find(vectors.asked[start - 1], WANTED)  # brings its own vectors back into the caches
            for i in range(start, min(start + AT_A_TIME, len(vectors.asked))):
                began = time.perf_counter()
                found = find(vectors.asked[i], WANTED)
                told[name].milliseconds.append(1e3 * (time.perf_counter() - began))
                told[name].shares.append(share(found, vectors.found[i]))
    return told


def share(found: Any, right: set[int]) -> float:
    return len({*map(int, found() if callable(found) else found)} & right) / len(right)


def against_rivals(
    store: ArrowStorage, rows: Mapping[str, int], vectors: Vectors, *, graphs: bool
) -> dict[str, Any]:
    """Ours beside rivals; `rivals_p50` and so on are by name."""
    finds, built = {"ours": ours(store, rows)}, {}
    for name in here(graphs=graphs):
        announce(f"building {name}")
        began = time.perf_counter()
        finds[name] = RIVALS[name].build(vectors.kept)
        built[name] = time.perf_counter() - began
    announce("asking in turns")
    told = ask_in_turns(finds, vectors)
    mine = told.pop("ours")
    rivals = {
        name: {"p50": one.p50, "recall": Measured.mean(one.shares), "build_s": Measured(built[name])}
        for name, one in told.items()
    }
    return {"p50": mine.p50, "p99": mine.p99, "recall10": Measured.mean(mine.shares), "rivals": rivals}


def is_fastest(found: Mapping[str, Any]) -> bool:
    """Whether no rival that needs no build has an equal recall in less time."""
    equal = (
        one
        for name, one in found["rivals"].items()
        if not RIVALS[name].graph and one["recall"].value >= EQUAL
    )
    return found["recall10"].value >= EQUAL and all(found["p50"].value < one["p50"].value for one in equal)


def filter_ratio(store: ArrowStorage, rows: Mapping[str, int], vectors: Vectors) -> Measured:
    """Median time with a filter that keeps 1 % over that without one."""
    finds = {"all": ours(store, rows), "few": ours(store, rows, {"tags": "rare"})}
    told = ask_in_turns(finds, vectors)
    return told["few"].p50.over(told["all"].p50)


@contextmanager
def writer(folder: Path, seconds: float) -> Iterator[None]:
    """Another process that adds records meanwhile."""
    command = [sys.executable, "-m", "bowstring.eval.memory_search", str(folder), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # it has begun
            yield
        finally:
            process.terminate()


def write_steadily(folder: Path, seconds: float) -> None:
    """Adds `WRITES` records a second, in twenty transactions."""
    rng, some = np.random.default_rng(time.time_ns()), WRITES // 20
    with opened(folder) as store:
        print("begun", flush=True)
        began = time.perf_counter()
        for turn in range(int(20 * seconds)):
            fresh = unit(rng.normal(size=(some, WIDTH)))
            store.add_many([{"vector": one, "text": f"{time.time_ns()} {i}"} for i, one in enumerate(fresh)])
            time.sleep(max(0.0, began + (turn + 1) / 20 - time.perf_counter()))


def write_ratio(store: ArrowStorage, rows: Mapping[str, int], vectors: Vectors) -> Measured:
    """The 99th percentile beside a writer over that without one."""
    alone = ask_in_turns({"ours": ours(store, rows)}, vectors)["ours"]
    with writer(store.folder, 60):
        beside = ask_in_turns({"ours": ours(store, rows)}, vectors)["ours"]
    return beside.p99.over(alone.p99)


def fsync_ms(folder: Path, times: int) -> list[float]:
    """Milliseconds of making a page of a file durable."""
    taken, path = [], folder / "probe"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for i in range(times):
            began = time.perf_counter()
            os.pwrite(handle, os.urandom(4096), 4096 * i)
            os.fsync(handle)
            taken.append(1e3 * (time.perf_counter() - began))
    finally:
        os.close(handle)
        path.unlink()
    return taken


def add_over_fsync(store: ArrowStorage, times: int) -> Measured:
    """Milliseconds of one durable `add` beyond those of the disk."""
    rng, taken = np.random.default_rng(1), []
    for i, vector in enumerate(unit(rng.normal(size=(times, WIDTH)))):
        began = time.perf_counter()
        store.add(f"one more {i}", vector=vector)
        taken.append(1e3 * (time.perf_counter() - began))
    disk = Measured.median(fsync_ms(store.folder.parent, times))
    return Measured.median([one - (disk.value or 0.0) for one in taken])


@contextmanager
def one_thread() -> Iterator[None]:
    _native.set_threads(1)
    try:
        yield
    finally:
        _native.set_threads(0)


def numbers_of(
    vectors: Vectors, others: Mapping[str, Vectors], *, graphs: bool, singles: int
) -> dict[str, Any]:
    """All numbers of this topic: of vectors of clusters, and of others by name."""
    with tempfile.TemporaryDirectory() as place, one_thread():
        announce(f"adding {len(vectors.kept)} vectors")
        store, rows, rates = filled(Path(place) / "clusters", vectors.kept)
        with store:
            found = against_rivals(store, rows, vectors, graphs=graphs)
            announce("the filter, the other process, single records")
            rest = {
                "filter_ratio": filter_ratio(store, rows, vectors),
                "write_p99_ratio": write_ratio(store, rows, vectors),
                "add_over_fsync_ms": add_over_fsync(store, singles),
                "add_batch_s": Measured.median(rates),
            }
        more = {}
        for name, some in others.items():
            announce(f"vectors of {name}")
            store, rows, _ = filled(Path(place) / name, some.kept)
            with store:
                more[name] = against_rivals(store, rows, some, graphs=graphs)
    fastest = all(map(is_fastest, (found, *more.values())))
    return {
        "p50_ms_100k": found["p50"],
        "p99_ms_100k": found["p99"],
        "recall10": found["recall10"],
        "rivals": found["rivals"],
        "fastest_at_recall": fastest,
        **rest,
        "other_vectors": more,
    }


def measure_search(setting: Setting) -> Measurement:
    """Searching and writing, for `bowstring bench memory`."""
    queries = 300 if setting.quick else 2000
    others, missing = {}, {}
    path = setting.data / "memory" / "vectors.npy"
    if (some := real(path, COUNT, queries)) is not None:
        others["texts"] = some
    else:
        missing["other_vectors.texts"] = "the folder of the data has no memory/vectors.npy"
    for name in RIVALS:
        if (why := lacking(name)) is not None:
            missing[f"rivals.{name}"] = why
    numbers = numbers_of(
        clustered(COUNT, queries), others, graphs=not setting.quick, singles=100 if setting.quick else 500
    )
    if setting.quick:
        missing |= dict.fromkeys(("p50_ms_1m", "rss_mb_1m"), "left out of --quick")
    else:
        announce("a million vectors")
        numbers |= million()
    return Measurement(numbers, missing=missing)


def resident_mb(kind: str) -> float:
    """Megabytes of this process: RssAnon are its own, RssFile those of mapped files that it has touched."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1000


def print_million(folder: Path, count: int, queries: int) -> None:
    """What `million` runs in its process: milliseconds of each query and the memory after them, as JSON."""
    every = clustered_vectors(count + queries, 0)
    kept, asked = every[:count], every[count:].copy()
    with ArrowStorage(folder) as store:
        for start in range(0, count, BATCH):
            store.add_many([*entries(kept[start : start + BATCH], start)])
    del every, kept
    gc.collect()
    _native.set_threads(1)
    taken = []
    with ArrowStorage(folder) as store:
        store.search(asked[0], WANTED)
        for query in asked:
            began = time.perf_counter()
            store.search(query, WANTED)
            taken.append(1e3 * (time.perf_counter() - began))
        print(json.dumps([taken, resident_mb("RssAnon") + resident_mb("RssFile")]))


def million(count: int = 1_000_000, queries: int = 1000) -> dict[str, Any]:
    """A store of a million vectors, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "bowstring.eval.memory_search", "million", f"{place}/store"]
        done = subprocess.run(
            [*command, str(count), str(queries)], stdout=subprocess.PIPE, check=True, text=True
        )
    taken, megabytes = json.loads(done.stdout)
    return {"p50_ms_1m": Measured.median(taken), "rss_mb_1m": Measured(megabytes)}


if __name__ == "__main__":
    if sys.argv[1] == "million":
        print_million(Path(sys.argv[2]), *map(int, sys.argv[3:]))
    else:
        write_steadily(Path(sys.argv[1]), float(sys.argv[2]))
