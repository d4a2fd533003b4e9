"""A supervised process that learns: at low priority, with progress, a time limit, and an end when asked.

The process writes one JSON object a line; the last one is its result. It ends with its parent, whose end of
the pipe it reads from. What it was writing when it ended is of no use to anybody: only a result counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ..core.cancel import Cancel, Cancelled, stoppable

NICE = 10
GRACE = 5.0  # seconds from asking a process to end to ending it
Progress = Callable[[Mapping[str, Any]], None]


class LearningFailed(RuntimeError):
    """The process ended without a result, or did not end in time."""


def supervised(
    module: str,
    job: Path,
    limit_s: float,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Mapping[str, Any]:
    """Runs `python -m module job` and returns its result.

    Args:
        limit_s: seconds after which it is ended.
        progress: is called with what the process tells on its way.

    Raises:
        LearningFailed: it failed, was killed or took too long. Cancelled: it was asked to stop.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(job)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    told = Told(process)
    try:
        return _followed(told, limit_s, progress, cancel)
    finally:
        ended(process)
        told.join()


class Told:
    """What a process has told so far; both its pipes are read by threads, so that neither fills up."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        pairs = ((process.stdout, self.lines), (process.stderr, self.errors))
        self.threads = [threading.Thread(target=_read, args=pair, daemon=True) for pair in pairs]
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        """All has been read that a process which is over has told."""
        for thread in self.threads:
            thread.join(GRACE)


def _read(pipe: IO[str], lines: list[str]) -> None:
    with pipe:
        for line in pipe:
            lines.append(line)


def _followed(
    told: Told, limit_s: float, progress: Progress | None, cancel: Cancel | None
) -> Mapping[str, Any]:
    result: Mapping[str, Any] | None = None
    for said in stoppable(_said(told, time.monotonic() + limit_s), cancel):
        if said is None:
            continue
        if "result" in said:
            result = said["result"]
        elif progress is not None:
            progress(said)
    if result is None or told.process.returncode != 0:
        last = "".join(told.errors).strip().splitlines()[-1:] or ["it said nothing"]
        raise LearningFailed(f"learning ended with code {told.process.returncode}: {last[0]}")
    return result


def _said(told: Told, until: float) -> Iterator[Mapping[str, Any] | None]:
    """What the process tells; None while it tells nothing new."""
    done = 0
    while True:
        over = told.process.poll() is not None
        if over:
            told.join()
        for line in told.lines[done:]:
            done += 1
            if (said := _object(line)) is not None:
                yield said
        if over:
            return
        if time.monotonic() > until:
            raise LearningFailed("learning took longer than it was given, and was ended")
        yield None
        time.sleep(0.05)


def _object(line: str) -> Mapping[str, Any] | None:
    """The JSON object of a line; other lines (warnings of libraries) are nobody's."""
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def ended(process: subprocess.Popen[str]) -> None:
    """Sees to it that a process is over."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert process.stdin is not None
    process.stdin.close()


def behave() -> None:
    """In the process: low priority, and an end when the parent ends."""
    os.nice(NICE)

    def watch() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def tell(**said: Any) -> None:
    """In the process: tells the parent something."""
    print(json.dumps(said), flush=True)


__all__ = ["Cancelled", "LearningFailed", "behave", "supervised", "tell"]
