"""What a measurement says and what it was made with: the only writer of results files.

A number is a `Measured`: a value, its standard error and how many things it was taken over. A file holds one
topic on one machine, whole; values, errors and counts lie in three trees of one form, so that a value is read
by its key and the others by the same key under "se" and "n".
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from .. import _native
from ..core.files import replacing

RESULTS = Path("bench/results")
JACKKNIFE_PARTS = 20  # of a sample, each left out once, to tell how much a statistic of the whole varies
FACTS = ("topic", "version", "commit", "changed", "weights", "cpu", "cores", "instructions", "load_before",
         "load_after", "date", "quick", "seconds", "missing")  # fmt: skip  # what `about` of a file says


@dataclass(frozen=True)
class Measured:
    """A value, its standard error and the number of things it was taken over.

    None is a value that could not be measured here; an error is None where `n` is 1.
    """

    value: float | None
    se: float | None = None
    n: int = 1

    @classmethod
    def mean(cls, values: Sequence[float] | np.ndarray) -> Measured:
        """The mean of independent values.

        >>> Measured.mean([1.0, 3.0])
        Measured(value=2.0, se=1.0, n=2)
        """
        n = len(values)
        se = statistics.stdev(map(float, values)) / math.sqrt(n) if n > 1 else None
        return cls(statistics.fmean(map(float, values)), se, n)

    @classmethod
    def median(cls, values: Sequence[float]) -> Measured:
        """The median; its error is what the median of as many normal values of this spread would have."""
        middle = statistics.median(values)
        spread = 1.4826 * statistics.median([abs(value - middle) for value in values])
        return cls(middle, 1.2533 * spread / math.sqrt(len(values)) if len(values) > 1 else None, len(values))

    @classmethod
    def ratio(
        cls, above: Sequence[float], below: Sequence[float], groups: Sequence[str] | None = None
    ) -> Measured:
        """Sum over sum, as of nats over bytes; pairs of one group (pieces of one work) are not independent.

        >>> Measured.ratio([2.0, 4.0], [1.0, 2.0])
        Measured(value=2.0, se=0.0, n=2)
        """
        a, b = np.asarray(above, float), np.asarray(below, float)
        value = a.sum() / b.sum()
        _, which = np.unique(range(len(a)) if groups is None else groups, return_inverse=True)
        rest = np.bincount(which, a - value * b)
        n = len(rest)
        se = math.sqrt(n / (n - 1) * np.square(rest).sum()) / b.sum() if n > 1 else None
        return cls(float(value), None if se is None else float(se), len(a))

    def mapped(self, function: Callable[[float], float], slope: Callable[[float], float]) -> Measured:
        """A smooth function of it; the error goes with the slope."""
        if self.value is None:
            return self
        se = None if self.se is None else abs(slope(self.value)) * self.se
        return Measured(function(self.value), se, self.n)

    def over(self, other: Measured) -> Measured:
        """This one over an independent other one."""
        if not self.value or not other.value:
            return Measured(
                None if self.value is None or not other.value else 0.0, None, min(self.n, other.n)
            )
        value = self.value / other.value
        parts = [m.se / m.value for m in (self, other) if m.se is not None and m.value]
        return Measured(value, abs(value) * math.hypot(*parts) if parts else None, min(self.n, other.n))


def jackknife(statistic: Callable[[list[Any]], float], rows: Sequence[Any]) -> Measured:
    """A statistic of a whole sample; its error from leaving out each of at most twenty parts.

    Source: Efron and Stein 1981.
    """
    whole, count = [*rows], min(JACKKNIFE_PARTS, len(rows))
    left = [statistic([row for i, row in enumerate(whole) if i % count != part]) for part in range(count)]
    return Measured(
        statistic(whole), math.sqrt((count - 1) * float(np.var(left))) if count > 1 else None, len(whole)
    )


@dataclass(frozen=True)
class Setting:
    """What a topic is measured with. quick: a fixed subset in under five minutes. data: folder of the
    corpora. baseline, model: folders of models; None is the topic's own.
    """

    quick: bool = False
    data: Path = Path("runs/data")
    baseline: Path = Path("bench/baseline")
    model: Path | None = None


@dataclass
class Measurement:
    """What a topic found. numbers: a tree with `Measured`, whole numbers, truths, words and lists of them as
    leaves. weights: the files of weights that took part. missing: what is None in it, and why.
    """

    numbers: dict[str, Any]
    weights: Sequence[Path] = ()
    missing: dict[str, str] = field(default_factory=dict)


def tree_of(numbers: Any, part: str, where: str = "") -> Any:
    """One of "value", "se" and "n" of every leaf; the last two leave out what is exact.

    Raises:
        TypeError: a float that does not say how many things it was taken over.
    """
    if isinstance(numbers, Measured):
        number = getattr(numbers, part)
        return None if isinstance(number, float) and not math.isfinite(number) else number
    if isinstance(numbers, Mapping):
        found = {key: tree_of(value, part, f"{where}.{key}") for key, value in numbers.items()}
        return found if part == "value" else {k: v for k, v in found.items() if v is not None and v != {}}
    if isinstance(numbers, float):
        raise TypeError(f"{where.strip('.')} is the bare number {numbers}; say its n and error with Measured")
    return numbers if part == "value" else None


def commit() -> tuple[str | None, bool | None]:
    """The commit that this source is of, and whether files that matter differ from it; None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return None, None
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ":/src", ":/native"],
        capture_output=True,
        text=True,
        check=False,
    )
    return head.stdout.strip(), bool(changed.stdout.strip())


def cpu_name() -> str:
    """The processor, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        return found[1].strip()
    return platform.processor() or platform.machine()


def file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown_path(path: Path) -> str:
    """Which model it is of, and not where that lies: from the model's own folder on."""
    model = next((p for p in path.parents if (p / "metadata.json").exists()), path.parent)
    return str(path.relative_to(model.parent))


def record(topic: str, measure: Callable[[Setting], Measurement], setting: Setting) -> dict[str, Any]:
    """Measures, and says with it what it was measured with."""
    load, began = os.getloadavg()[0], time.perf_counter()
    found = measure(setting)
    head, changed = commit()
    about = {
        "topic": topic,
        "version": version("bowstring"),
        "commit": head,
        "changed": changed,
        "weights": {shown_path(path): file_hash(path) for path in found.weights},
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "instructions": _native.isa() if not _native.missing() else None,
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "quick": setting.quick,
        "seconds": round(time.perf_counter() - began),
        "missing": found.missing,
    }
    parts = {part: tree_of(found.numbers, part) for part in ("value", "se", "n")}
    return {"about": about, **parts["value"], "se": parts["se"], "n": parts["n"]}


def file_name(result: Mapping[str, Any]) -> str:
    """Topic and machine.

    >>> file_name({"about": {"topic": "text", "cpu": "AMD EPYC 9B14 96-Core Processor"}})
    'text-amd-epyc-9b14.json'
    """
    about = result["about"]
    machine = re.sub(r"\b(\d+-Core )?Processor\b|\(R\)|\(TM\)|\bCPU\b|@.*", " ", about["cpu"])
    return f"{about['topic']}-{'-'.join(re.findall(r'[a-z0-9]+', machine.lower()))}.json"


def write_result(result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Writes a results file, in place of the last one of the same topic and machine.

    Raises:
        ValueError: it does not say what it was measured with.
    """
    if missing := [name for name in FACTS if name not in result.get("about", {})]:
        raise ValueError(f"a result does not say {missing}; make it with `record`")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file_name(result)
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return path


def read_results(folder: Path, topic: str) -> list[dict[str, Any]]:
    """All machines' results of a topic, by file name."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    return [one for one in found if one.get("about", {}).get("topic") == topic]


def announce(phase: str) -> None:
    """Says on the error stream what is measured next: the output stream is for the numbers."""
    print(f"{datetime.now(UTC):%H:%M:%S} {phase}", file=sys.stderr, flush=True)
