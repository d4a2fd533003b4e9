"""A line for each operation that was acknowledged, so that `verify` sees when the database has lost one.

SQLite passes over the rest of its log from the first damaged frame on, and cannot know that there was more.
Lines are written after the operation is on the disk and are not synced: a missing one is no fault.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

FILE = "operations.log"
NAMED = 20  # records that a line names


def acknowledge(folder: Path, op: int, nonce: str, records: list[str]) -> None:
    line = " ".join([str(op), nonce, str(len(records)), *records[:NAMED]])
    handle = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{line} {zlib.crc32(line.encode()):08x}\n".encode())
    finally:
        os.close(handle)


def acknowledged(folder: Path) -> list[tuple[int, str, list[str]]]:
    """(operation, nonce, records) of each line; a damaged line is operation 0."""
    path = folder / FILE
    return [_line(one) for one in path.read_bytes().split(b"\n") if one] if path.exists() else []


def clear(folder: Path) -> None:
    """All that was acknowledged is in the database itself, and nothing in its log."""
    path = folder / FILE
    if path.exists():
        os.truncate(path, 0)


def _line(data: bytes) -> tuple[int, str, list[str]]:
    line, _, check = data.rpartition(b" ")
    if check != f"{zlib.crc32(line):08x}".encode():
        return 0, "", []
    op, nonce, _, *records = line.decode().split(" ")
    return int(op), nonce, records
