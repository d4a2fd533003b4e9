"""A file appears whole or not at all: it is written beside its place, synced, and moved there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """The path of a temporary file in the same folder, with the same ending; write to it inside the block.

    When the block ends well, the file is on the disk and has taken the place of `path`, whose permissions it
    keeps; when it fails, `path` is as it was and nothing is left beside it. A link's target is replaced, the
    link stays. Devices and pipes are written as they are.

    >>> from tempfile import mkdtemp
    >>> note = Path(mkdtemp()) / "note.txt"
    >>> with replacing(note) as partial:
    ...     _ = partial.write_text("done")
    >>> note.read_text(), len(list(note.parent.iterdir()))
    ('done', 1)
    """
    path = Path(path).resolve()
    if path.exists() and not path.is_file():
        yield path
        return
    partial = path.with_name(f".{path.stem[:64]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield partial
        if path.exists():
            partial.chmod(path.stat().st_mode & 0o7777)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
