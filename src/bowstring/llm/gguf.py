"""GGUF files, read without trust: metadata and tensors where they lie in the mapped file.

Counts and lengths are checked against what the file still holds before anything is made of them; long lists
are read only when asked for. Source: the GGUF specification, version 3 (ggml, docs/gguf.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .blocks import BLOCKS, Kind

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
LONGEST_NAME = 256
MOST_DIMENSIONS = 4


class GGUFError(ValueError):
    """A file that is no GGUF file, or says what cannot be."""


@dataclass(frozen=True)
class Values:
    """A list in the metadata, read when it is walked."""

    data: memoryview
    kind: int
    count: int
    start: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        cursor = Cursor(self.data, self.start)
        for _ in range(self.count):
            yield cursor.value(self.kind)


class Cursor:
    """A place in the header; every read is checked against the end of the file."""

    def __init__(self, data: memoryview, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, size: int) -> memoryview:
        if size > len(self.data) - self.at:
            raise GGUFError(f"the header wants {size} bytes at {self.at}, the file ends at {len(self.data)}")
        part = self.data[self.at : self.at + size]
        self.at += size
        return part

    def scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def string(self) -> str:
        raw = self.take(self.scalar("Q"))
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            return str(raw, "utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.values()
        raise GGUFError(
            f"the metadata have a value of kind {kind}; known are {sorted((*SCALARS, STRING, ARRAY))}"
        )

    def values(self) -> Values:
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind == ARRAY:
            raise GGUFError("the metadata have a list of lists, which no model needs")
        least = struct.calcsize("<" + SCALARS[kind]) if kind in SCALARS else 8
        if count > (len(self.data) - self.at) // least:
            raise GGUFError(
                f"a list claims {count} entries, the file holds {len(self.data) - self.at} bytes more"
            )
        found = Values(self.data, kind, count, self.at)
        if kind in SCALARS:
            self.take(count * least)
        elif kind == STRING:
            for _ in range(count):
                self.take(self.scalar("Q"))
        else:
            raise GGUFError(f"the metadata have a list of kind {kind}")
        return found


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies. shape: rows first, as in numpy."""

    kind: Kind
    shape: tuple[int, ...]
    offset: int

    @property
    def count(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) if self.shape else 1

    @property
    def size(self) -> int:
        return self.count // self.kind.values * self.kind.bytes


class GGUFFile:
    """metadata: by key. entries: tensors by name.

    Raises:
        FileNotFoundError: there is no file. GGUFError: it is none of this kind, or says what cannot be.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"there is no file {self.path}")
        size = self.path.stat().st_size
        if size < 24:
            raise GGUFError(f"{self.path} has {size} bytes; a GGUF file has at least 24")
        self.bytes = np.memmap(self.path, np.uint8, "r")
        try:
            self._read(Cursor(self.bytes.data))
        except GGUFError as error:
            raise GGUFError(f"{self.path}: {error}") from None

    def _read(self, cursor: Cursor) -> None:
        if bytes(cursor.take(4)) != MAGIC:
            raise GGUFError("this is no GGUF file: it does not begin with 'GGUF'")
        version, tensors, keys = cursor.scalar("I"), cursor.scalar("Q"), cursor.scalar("Q")
        if version not in VERSIONS:
            raise GGUFError(f"version {version}; versions {VERSIONS} of the little-endian kind are read")
        left = len(cursor.data) - cursor.at
        if tensors > left // 24 or keys > left // 13:
            raise GGUFError(f"{tensors} tensors and {keys} keys do not fit into {left} bytes")
        self.metadata: dict[str, Any] = {}
        for _ in range(keys):
            key = cursor.string()
            if key in self.metadata:
                raise GGUFError(f"key {key[:LONGEST_NAME]!r} stands there twice")
            self.metadata[key] = cursor.value(cursor.scalar("I"))
        described = [self._entry(cursor) for _ in range(tensors)]
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16 or alignment & (alignment - 1):
            raise GGUFError(f"general.alignment is {alignment!r}; expected a power of two up to 65,536")
        start = -(-cursor.at // alignment) * alignment
        self.entries: dict[str, Entry] = {}
        for name, entry in described:
            placed = Entry(entry.kind, entry.shape, start + entry.offset)
            if name in self.entries:
                raise GGUFError(f"tensor {name!r} stands there twice")
            if entry.offset % alignment or placed.offset + placed.size > len(self.bytes):
                raise GGUFError(
                    f"tensor {name!r} of {placed.size} bytes lies at {placed.offset}, beyond the file's end"
                )
            self.entries[name] = placed
        ordered = sorted(self.entries.items(), key=lambda item: item[1].offset)
        for (one, a), (other, b) in pairwise(ordered):
            if a.offset + a.size > b.offset:
                raise GGUFError(f"tensors {one!r} and {other!r} overlap")

    @staticmethod
    def _entry(cursor: Cursor) -> tuple[str, Entry]:
        name, dimensions = cursor.string(), cursor.scalar("I")
        if len(name) > LONGEST_NAME or not 0 < dimensions <= MOST_DIMENSIONS:
            raise GGUFError(
                f"tensor {name[:LONGEST_NAME]!r} has {dimensions} dimensions; expected 1 to {MOST_DIMENSIONS}"
            )
        shape = tuple(cursor.scalar("Q") for _ in range(dimensions))[::-1]
        number, offset = cursor.scalar("I"), cursor.scalar("Q")
        if number not in BLOCKS:
            known = ", ".join(kind.name for kind in BLOCKS.values())
            raise GGUFError(f"tensor {name!r} has type {number}, which is not read; known are {known}")
        kind = BLOCKS[number]
        cells = 1
        for length in shape:
            cells *= length
        if not cells or cells > 1 << 40 or shape[-1] % kind.values:
            raise GGUFError(
                f"tensor {name!r} has shape {shape}; {kind.name} wants rows of whole groups of {kind.values}"
            )
        return name, Entry(kind, shape, offset)

    def raw(self, name: str) -> np.ndarray:
        """A tensor's blocks `(rows, blocks, bytes)` over the mapped file."""
        entry = self.entries[name]
        flat = self.bytes[entry.offset : entry.offset + entry.size]
        return flat.reshape(-1, entry.shape[-1] // entry.kind.values, entry.kind.bytes)

    def __getitem__(self, name: str) -> np.ndarray:
        """A tensor as FP32."""
        entry = self.entries[name]
        return entry.kind.values_of(self.raw(name)).reshape(entry.shape)
