"""The process that learns: reads a job, learns, has the gate judge, leaves an adapter where it is better."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core import files
from .learners import learner_of
from .learning import tried
from .lesson import Example, Lesson
from .levels import checked_level
from .worker import behave, tell

ADAPTER = "adapter.safetensors"
KEYS = {"model", "domain", "level", "seconds", "seed", "train", "held_out", "out"}


def job_of(
    model: Path, domain: str, level: str, seconds: float, seed: int, lesson: Lesson, out: Path
) -> dict[str, Any]:
    """A job as JSON."""
    sides = {
        name: [[one.prompt, one.answer] for one in getattr(lesson, name)] for name in ("train", "held_out")
    }
    said = {"model": str(model), "domain": domain, "level": level, "seconds": seconds, "seed": seed}
    return said | sides | {"out": str(out)}


def run(job: Mapping[str, Any]) -> None:
    """Does a job; what it found is told as the result."""
    if set(job) != KEYS:
        raise ValueError(f"the job has the keys {sorted(job)}; expected {sorted(KEYS)}")
    sides = ([Example(*pair) for pair in job[name]] for name in ("train", "held_out"))
    lesson = Lesson(*map(tuple, sides))
    learner, level = learner_of(Path(job["model"])), checked_level(job["level"])
    learned, verdict = tried(
        learner, lesson, level, float(job["seconds"]), int(job["seed"]), lambda said: tell(**said)
    )
    if verdict.kept:
        data = learner.to_bytes(learned, job["domain"], verdict.gain)
        files.write(Path(job["out"]) / ADAPTER, data)
    tell(
        result={
            "verdict": asdict(verdict),
            "steps": learned.steps,
            "seconds": learned.seconds,
            "share": learned.share,
            "kind": learner.kind,
        }
    )


if __name__ == "__main__":
    behave()
    run(json.loads(Path(sys.argv[1]).read_text("utf-8")))
