"""What a training shows while it runs and writes down: a line of JSON for every step."""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import IO, Any, Self

from .schedule import LOG, Moment, Run

SHOWN_EVERY = 0.5  # seconds


class TrainingLog:
    """The log of a run, as a context: it says where a training that was interrupted goes on.

    Raises:
        ValueError: at the end of a block without a step: the training had ended before, and its run does not
            write results anew.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.last, self.said = run, -1, -SHOWN_EVERY
        self.file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.run.out.mkdir(parents=True, exist_ok=True)
        self.file = (self.run.out / LOG).open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.file is not None
        self.file.close()
        if self.last >= 0 and sys.stderr.isatty():
            print(file=sys.stderr)
        if kind is KeyboardInterrupt:
            tell(f"stopped after step {self.last + 1}; the same command goes on from there")
        if isinstance(error, OSError):
            tell(f"the last checkpoint in {self.run.out} stays; the same command goes on from it")
        if kind is None and self.last < 0 and not self.run.rewrites:
            raise ValueError(
                f"{self.run.out} holds a finished training; to train anew, choose another --out or delete it"
            )

    def add(self, moment: Moment, row: dict[str, Any], note: str, phase: str = "") -> None:
        """One step that was made: its row of the log, and how far the training is."""
        assert self.file is not None
        self.last = moment.step
        self.file.write(json.dumps({"step": moment.step, "share": moment.share, **row}) + "\n")
        self.file.flush()
        if time.monotonic() - self.said >= SHOWN_EVERY and sys.stderr.isatty():
            self.said = time.monotonic()
            line = f"{100 * moment.share:5.1f} %  step {moment.step + 1}  {phase}  {note}"
            print(f"\r\x1b[K{line[:150]}", end="", file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """Says something about the work, on standard error."""
    print(text, file=sys.stderr)
