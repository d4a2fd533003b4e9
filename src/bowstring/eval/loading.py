"""How long does it take until every tensor of a file is there, checked and read, beside safetensors?

Ours is what loading a model does: open the file, check every tensor's hash, which reads all its bytes, take
every tensor. safetensors' `load_file` checks nothing: for torch it maps the file and reads nothing either, so
all it maps is then read once; for numpy it copies. pyarrow maps its own reading of our file, which is read
once, too. Each load is a process of its own and the file lies in the system's cache. The time of `load_file`
for torch without any reading is told beside: no reader of 200 MB can reach it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..weights.convert import to_safetensors
from ..weights.format.parquet import Tensor, WeightsFile, write
from .results import Measured
from .rivals.turns import ratio_of_turns

TENSORS, BYTES = 100, 2_000_000  # of the file: 200 MB
CACHE_LINE = 64  # bytes that a processor reads at once


def ours(path: Path) -> Mapping[str, np.ndarray]:
    file = WeightsFile(path)
    file.verify()
    return {name: np.asarray(file[name]) for name in file}


def ours_unchecked(path: Path) -> Mapping[str, np.ndarray]:
    file = WeightsFile(path)
    return {name: np.frombuffer(file.raw(name, verify=False), np.uint8) for name in file}


def safetensors(path: Path) -> Mapping[str, np.ndarray]:
    from safetensors.torch import load_file

    return {name: tensor.numpy() for name, tensor in load_file(path).items()}


def safetensors_numpy(path: Path) -> Mapping[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(path)


def pyarrow(path: Path) -> Mapping[str, np.ndarray]:
    from pyarrow import parquet

    table = parquet.read_table(path, memory_map=True)
    chunks = [chunk for column in table.columns for chunk in column.chunks]
    buffers = [part for chunk in chunks for part in chunk.buffers() if part is not None]
    return {str(i): np.frombuffer(part, np.uint8) for i, part in enumerate(buffers)}


LOADERS: dict[str, Callable[[Path], Mapping[str, np.ndarray]]] = {
    "bowstring": ours,
    "bowstring_unchecked": ours_unchecked,
    "safetensors": safetensors,
    "safetensors_numpy": safetensors_numpy,
    "pyarrow": pyarrow,
}


def read_all(arrays: Mapping[str, np.ndarray]) -> int:
    """Reads something of every cache line."""
    return sum(
        int(np.frombuffer(a.data, np.uint8)[::CACHE_LINE].sum(dtype=np.int64)) for a in arrays.values()
    )


def private_mb() -> float:
    """Memory that is this process's alone, MB."""
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def load_once(kind: str, path: Path) -> dict[str, float]:
    """Milliseconds of loading, of loading and reading all, and the private memory that it took."""
    LOADERS[kind](path.with_name("tiny" + path.suffix))  # imports, and what else happens only once
    before, began = private_mb(), time.perf_counter()
    arrays = LOADERS[kind](path)
    loaded = time.perf_counter()
    if kind != "bowstring":  # whose bytes were read to be checked
        read_all(arrays)
    done = time.perf_counter()
    return {
        "ms": 1e3 * (done - began),
        "ms_loaded": 1e3 * (loaded - began),
        "private_mb": private_mb() - before,
    }


def written_pair(path: Path, tensors: int, size: int) -> None:
    """The same random tensors as Parquet and as safetensors, side by side."""
    rng = np.random.default_rng(0)
    write(path, ((f"layer.{i}", Tensor.of(rng.integers(0, 256, size, np.uint8))) for i in range(tensors)), {})
    to_safetensors(path, path.with_suffix(".safetensors"))


def loading(rounds: int, tensors: int = TENSORS) -> dict[str, Any]:
    """Medians of all loaders in turns, and ours over safetensors', round by round."""
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.parquet"
        written_pair(path, tensors, BYTES)
        written_pair(path.with_name("tiny.parquet"), 1, 1000)
        for number in range(rounds + 1):
            for kind in LOADERS:
                file = path.with_suffix(".safetensors") if kind.startswith("safetensors") else path
                command = [sys.executable, "-m", "bowstring.eval.loading", kind, str(file)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode and kind == "pyarrow":  # it is not installed
                    continue
                done.check_returncode()
                if number:  # the first round warms the system's cache
                    runs.setdefault(kind, []).append(json.loads(done.stdout))
    found = {
        kind: {key: Measured.median([run[key] for run in some]) for key in some[0]}
        for kind, some in runs.items()
    }
    times = {kind: [run["ms"] for run in some] for kind, some in runs.items()}
    return {
        "load_over_safetensors": ratio_of_turns(times["bowstring"], times["safetensors"]),
        "load_over_safetensors_unread": ratio_of_turns(
            times["bowstring"], [run["ms_loaded"] for run in runs["safetensors"]]
        ),
        "loading_200mb": found,
    }


if __name__ == "__main__":
    print(json.dumps(load_once(sys.argv[1], Path(sys.argv[2]))))
