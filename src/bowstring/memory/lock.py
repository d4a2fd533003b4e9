"""One writer at a time: a lock on a file, which the system releases when its process ends, in any way."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if os.name == "nt":
    import msvcrt
else:
    import fcntl

PATIENCE = 5.0  # seconds that a writer waits for another
PAUSE = 0.01  # seconds between two tries


@contextmanager
def one_writer(path: Path, patience: float | None = None) -> Iterator[None]:
    """Holds the lock inside the block.

    Raises:
        TimeoutError: another writer held it for all of `patience` seconds, by default `PATIENCE`.
    """
    patience = PATIENCE if patience is None else patience
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        until = time.monotonic() + patience
        while not _taken(handle):
            if time.monotonic() > until:
                raise TimeoutError(
                    f"another process has been writing to {path.parent} for {patience:g} s; "
                    "try again when it is done"
                )
            time.sleep(PAUSE)
        yield
    finally:
        os.close(handle)  # releases it, too


def _taken(handle: int) -> bool:
    try:
        if os.name == "nt":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
