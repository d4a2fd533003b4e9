"""Files of vectors, ready for a scan and mapped into memory. They only copy what the database knows.

A segment has room for so many rows and is filled from the front; each array lies in one piece:

    header   64 bytes
    seqs     (n,) int64    the version a row belongs to; 0: still free. Written last
    checks   (n,) uint32   over all that a row holds
    sources  (n,) uint32   check of the vector as it was given, as the database has it
    scales   (n,) float32  exact (n, d) float32  values (n, d) int8  signs (n, d / 8) uint8, as in `Vectors`

A row whose check is wrong, after a power loss for example, is passed over and written again elsewhere.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.files import replacing
from .search import Vectors

MAGIC = b"BOWSEG01"
HEADER = struct.Struct("<8sIIII")  # magic, width, room, generation, number; then the check of these
HEADER_SIZE = 64
SMALLEST, LARGEST = 256, 65_536  # rows of a segment


@dataclass(frozen=True)
class Rows:
    """Rows that a segment holds or is to hold; all arrays have one entry per row."""

    seqs: np.ndarray
    sources: np.ndarray
    vectors: Vectors

    @classmethod
    def of(cls, seqs: np.ndarray, sources: np.ndarray, raw: np.ndarray) -> Rows:
        """Rows of vectors as they were given: scaled to length 1, so that products are cosines, and filled up
        with zeros to a multiple of 8."""
        wide = np.zeros((len(raw), padded(raw.shape[1])), np.float32)
        wide[:, : raw.shape[1]] = unit(raw)
        return cls(seqs.astype(np.int64), sources.astype(np.uint32), Vectors.of(wide))

    def arrays(self) -> dict[str, np.ndarray]:
        inner = {name: getattr(self.vectors, name) for name in ("scales", "exact", "values", "signs")}
        return {"seqs": self.seqs, "checks": self.checks(), "sources": self.sources, **inner}

    def checks(self) -> np.ndarray:
        """A weighted sum of each row; weights are odd, so that no single flipped bit leaves it unchanged."""
        vectors = self.vectors
        fields = (vectors.exact, vectors.values, vectors.signs, vectors.scales, self.seqs, self.sources)
        total = np.zeros(len(self.seqs), np.uint32)
        for number, array in enumerate(fields):
            words = array.reshape(len(array), -1)
            words = (
                words.view(np.uint32) if array.itemsize * words.shape[1] % 4 == 0 else words.view(np.uint8)
            )
            weights = np.arange(words.shape[1], dtype=np.uint32) * 2654435762 + 2 * number + 1
            total += (words * weights).sum(1, dtype=np.uint32)
        return total

    def part(self, start: int, end: int) -> Rows:
        """Some of the rows."""
        v = self.vectors
        few = Vectors(v.values[start:end], v.scales[start:end], v.signs[start:end], v.exact[start:end])
        return Rows(self.seqs[start:end], self.sources[start:end], few)

    def __len__(self) -> int:
        return len(self.seqs)


@dataclass(frozen=True)
class Segment:
    """A segment file and its arrays, mapped read-only."""

    path: Path
    room: int
    width: int
    arrays: dict[str, np.ndarray]

    @classmethod
    def create(cls, folder: Path, generation: int, number: int, width: int, room: int) -> Segment:
        """A new, empty segment."""
        path = segment_path(folder, generation, number)
        head = HEADER.pack(MAGIC, width, room, generation, number)
        with replacing(path) as partial:
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.pwrite(handle, head + struct.pack("<I", zlib.crc32(head)), 0)
                os.ftruncate(handle, size_of(width, room))
            finally:
                os.close(handle)
        return cls.open(path, generation, number, width)

    @classmethod
    def open(cls, path: Path, generation: int, number: int, width: int) -> Segment:
        """
        Raises:
            ValueError: a damaged header or another size. OSError: it cannot be read.
        """
        with open(path, "rb") as file:
            head = file.read(HEADER.size + 4)
            if len(head) < HEADER.size + 4 or zlib.crc32(head[:-4]) != struct.unpack("<I", head[-4:])[0]:
                raise ValueError(f"{path.name} has a damaged header")
            magic, found, room, *place = HEADER.unpack(head[:-4])
            if (magic, found, *place) != (MAGIC, width, generation, number):
                raise ValueError(f"{path.name} is no segment {number} of {width} numbers")
            if os.fstat(file.fileno()).st_size != size_of(width, room):
                raise ValueError(f"{path.name} has lost its end")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = {
            name: np.frombuffer(mapped, kind, math.prod(shape), offset).reshape(shape)
            for name, offset, kind, shape in layout(width, room)
        }
        return cls(path, room, width, arrays)

    def used(self) -> int:
        """Rows that are filled."""
        free = np.flatnonzero(self.arrays["seqs"] == 0)
        return int(free[0]) if len(free) else self.room

    def rows(self, start: int, end: int) -> Rows:
        a = {name: array[start:end] for name, array in self.arrays.items()}
        return Rows(a["seqs"], a["sources"], Vectors(a["values"], a["scales"], a["signs"], a["exact"]))

    def append(self, rows: Rows, start: int) -> None:
        """Fills rows from `start` on; they appear when their seqs are written.

        Raises:
            OSError: the disk is full. Nothing has appeared then.
        """
        arrays = rows.arrays()
        handle = os.open(self.path, os.O_RDWR)
        try:
            for name, offset, kind, shape in reversed([*layout(self.width, self.room)]):
                data = np.ascontiguousarray(arrays[name]).tobytes()
                if name == "seqs":  # what a power loss left behind must not reappear
                    data += bytes(8 * (self.room - start - len(rows)))
                write_all(handle, data, offset + start * kind.itemsize * math.prod(shape[1:]))
        finally:
            os.close(handle)


def write_all(handle: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(handle, left, offset)
        left, offset = left[done:], offset + done


def layout(width: int, room: int) -> Iterator[tuple[str, int, np.dtype, tuple[int, ...]]]:
    """Name, offset, type and shape of all arrays of a segment."""
    wide = padded(width)
    kinds = (
        ("seqs", np.int64, ()),
        ("checks", np.uint32, ()),
        ("sources", np.uint32, ()),
        ("scales", np.float32, ()),
        ("exact", np.float32, (wide,)),
        ("values", np.int8, (wide,)),
        ("signs", np.uint8, (wide // 8,)),
    )
    offset = HEADER_SIZE
    for name, dtype, row in kinds:
        kind = np.dtype(dtype)
        yield name, offset, kind, (room, *row)
        offset += room * kind.itemsize * math.prod(row)


def size_of(width: int, room: int) -> int:
    """Bytes of a segment."""
    wide = padded(width)
    return HEADER_SIZE + room * (8 + 4 + 4 + 4 + 4 * wide + wide + wide // 8)


def segment_path(folder: Path, generation: int, number: int) -> Path:
    return folder / f"vectors-{generation:06}-{number:04}.seg"


def segment_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("vectors-*.seg"))


def padded(width: int) -> int:
    return -(-width // 8) * 8


def unit(raw: np.ndarray) -> np.ndarray:
    """Each row at length 1; lengths that overflow FP32 when squared are none in FP64."""
    wide = raw.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def next_room(rows: int) -> int:
    """Room of the next segment after so many rows: as much again, so that files are few and small stores are
    small; a multiple of 256, so that arrays are aligned."""
    return min(-(-max(rows, 1) // SMALLEST) * SMALLEST, LARGEST)
