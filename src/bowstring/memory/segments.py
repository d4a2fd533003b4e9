"""Files of vectors, ready for a search and mapped into memory. They only copy what the database knows.

A segment has room for so many rows and is filled from the front; each array lies in one piece:

    header   64 bytes
    centre   (D,) float32  rotated; of the vectors that were known when the segment was made
    seqs     (n,) int64    the version a row belongs to; 0: still free. Written last
    checks   (n,) uint32   over all that a row holds
    sources  (n,) uint32   check of the vector as it was given, as the database has it
    scales   (n,) float32  biases (n,) float32  factors (n,) float32
    exact (n, d) float32   values (n, d) int8   codes (n / 8, D / 64, 8) uint64, as in `Vectors`

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
from .search import BLOCK, Vectors, bits_of, by_row, rotated

MAGIC = b"BOWSEG02"
HEADER = struct.Struct("<8sIIIII")  # magic, width, room, generation, number, check of the centre
HEADER_SIZE = 64
SMALLEST, LARGEST = 256, 65_536  # rows of a segment
PLAIN = ("scales", "biases", "factors", "exact", "values")  # arrays of `Vectors` with one entry per row


@dataclass(frozen=True)
class Rows:
    """Rows that a segment holds or is to hold; all arrays have one entry per row, and bits `(n, D / 64)`."""

    seqs: np.ndarray
    sources: np.ndarray
    arrays: dict[str, np.ndarray]

    @classmethod
    def of(cls, seqs: np.ndarray, sources: np.ndarray, raw: np.ndarray, centre: np.ndarray) -> Rows:
        """Rows of vectors as they were given, of length 1 then, with signs about a centre."""
        vectors = Vectors.of(wide_unit(raw), centre)
        few = {name: getattr(vectors, name)[: len(raw)] for name in PLAIN}
        bits = by_row(vectors.codes)[: len(raw)]
        return cls(seqs.astype(np.int64), sources.astype(np.uint32), few | {"bits": bits})

    def checks(self) -> np.ndarray:
        """A weighted sum of each row; weights are odd, so that no single flipped bit leaves it unchanged."""
        total = np.zeros(len(self.seqs), np.uint32)
        fields = (*(self.arrays[name] for name in (*PLAIN, "bits")), self.seqs, self.sources)
        for number, array in enumerate(fields):
            words = np.ascontiguousarray(array).reshape(len(array), -1)
            words = (
                words.view(np.uint32) if array.itemsize * words.shape[1] % 4 == 0 else words.view(np.uint8)
            )
            weights = np.arange(words.shape[1], dtype=np.uint32) * 2654435762 + 2 * number + 1
            total += (words * weights).sum(1, dtype=np.uint32)
        return total

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
    def create(
        cls, folder: Path, generation: int, number: int, width: int, room: int, centre: np.ndarray
    ) -> Segment:
        """A new, empty segment."""
        path = segment_path(folder, generation, number)
        middle = centre.astype("<f4").tobytes()
        head = HEADER.pack(MAGIC, width, room, generation, number, zlib.crc32(middle))
        with replacing(path) as partial:
            handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.pwrite(handle, head + struct.pack("<I", zlib.crc32(head)), 0)
                os.pwrite(handle, middle, HEADER_SIZE)
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
            magic, found, room, *place, check = HEADER.unpack(head[:-4])
            if (magic, found, *place) != (MAGIC, width, generation, number):
                raise ValueError(f"{path.name} is no segment {number} of {width} numbers")
            if os.fstat(file.fileno()).st_size != size_of(width, room):
                raise ValueError(f"{path.name} has lost its end")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = {
            name: np.frombuffer(mapped, kind, math.prod(shape), offset).reshape(shape)
            for name, offset, kind, shape in layout(width, room)
        }
        if zlib.crc32(arrays["centre"].tobytes()) != check:
            raise ValueError(f"{path.name} has a damaged centre")
        return cls(path, room, width, arrays)

    def used(self, start: int = 0) -> int:
        """Rows that are filled, of which `start` are known to be."""
        seqs = self.arrays["seqs"]
        if start < self.room and not seqs[start]:  # most often there is nothing new
            return start
        free = np.flatnonzero(seqs[start:] == 0)
        return start + int(free[0]) if len(free) else self.room

    def rows(self, start: int, end: int) -> Rows:
        few = {name: self.arrays[name][start:end] for name in PLAIN}
        first, last = start // BLOCK, -(-end // BLOCK)
        bits = by_row(self.arrays["codes"][first:last])[start - first * BLOCK : end - first * BLOCK]
        return Rows(self.arrays["seqs"][start:end], self.arrays["sources"][start:end], few | {"bits": bits})

    def vectors(self, end: int) -> Vectors:
        """The first rows, up to a whole block."""
        whole = -(-end // BLOCK) * BLOCK
        few = {name: self.arrays[name][:whole] for name in PLAIN}
        return Vectors(**few, codes=self.arrays["codes"][: whole // BLOCK], centre=self.arrays["centre"])

    def append(self, seqs: np.ndarray, sources: np.ndarray, raw: np.ndarray, start: int) -> None:
        """Fills rows from `start` on; they appear when their seqs are written.

        Raises:
            OSError: the disk is full. Nothing has appeared then.
        """
        rows = Rows.of(seqs, sources, raw, self.arrays["centre"])
        plain = {"checks": rows.checks(), "sources": rows.sources, **{n: rows.arrays[n] for n in PLAIN}}
        places = {name: (offset, kind, shape) for name, offset, kind, shape in layout(self.width, self.room)}

        def put(name: str, data: np.ndarray, row: int) -> None:
            offset, kind, shape = places[name]
            each = kind.itemsize * math.prod(shape[1:])
            write_all(handle, np.ascontiguousarray(data, kind).tobytes(), offset + row * each)

        handle = os.open(self.path, os.O_RDWR)
        try:
            put("codes", self._blocks(rows.arrays["bits"], start), start // BLOCK)
            for name, data in plain.items():
                put(name, data, start)
            put("seqs", np.pad(rows.seqs, (0, self._left_behind(start + len(rows)))), start)
        finally:
            os.close(handle)

    def _left_behind(self, end: int) -> int:
        """How many later rows a power loss may have left seqs in, which must not appear."""
        later = np.flatnonzero(self.arrays["seqs"][end:])
        return int(later[-1]) + 1 if len(later) else 0

    def _blocks(self, bits: np.ndarray, start: int) -> np.ndarray:
        """Whole blocks of codes from the one that `start` lies in on, with the rows before it."""
        before = by_row(self.arrays["codes"][start // BLOCK :][:1])[: start % BLOCK]
        words = np.concatenate([before, bits])
        words = np.pad(words, ((0, -len(words) % BLOCK), (0, 0)))
        return words.reshape(-1, BLOCK, words.shape[1]).transpose(0, 2, 1)


def write_all(handle: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        done = os.pwrite(handle, left, offset)
        left, offset = left[done:], offset + done


def layout(width: int, room: int) -> Iterator[tuple[str, int, np.dtype, tuple[int, ...]]]:
    """Name, offset, type and shape of all arrays of a segment."""
    wide, words = padded(width), bits_of(width) // 64
    kinds = (
        ("centre", np.float32, (64 * words,)),
        ("seqs", np.int64, (room,)),
        ("checks", np.uint32, (room,)),
        ("sources", np.uint32, (room,)),
        ("scales", np.float32, (room,)),
        ("biases", np.float32, (room,)),
        ("factors", np.float32, (room,)),
        ("exact", np.float32, (room, wide)),
        ("values", np.int8, (room, wide)),
        ("codes", np.uint64, (room // BLOCK, words, BLOCK)),
    )
    offset = HEADER_SIZE
    for name, dtype, shape in kinds:
        kind = np.dtype(dtype)
        yield name, offset, kind, shape
        offset += kind.itemsize * math.prod(shape)


def size_of(width: int, room: int) -> int:
    """Bytes of a segment."""
    *_, (_, offset, kind, shape) = layout(width, room)
    return offset + kind.itemsize * math.prod(shape)


def segment_path(folder: Path, generation: int, number: int) -> Path:
    return folder / f"vectors-{generation:06}-{number:04}.seg"


def segment_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("vectors-*.seg"))


def padded(width: int) -> int:
    return -(-width // 8) * 8


def wide_unit(raw: np.ndarray) -> np.ndarray:
    """Each row at length 1, so that products are cosines, filled up with zeros to whole blocks; lengths that
    overflow FP32 when squared are none in FP64."""
    out = np.zeros((-(-len(raw) // BLOCK) * BLOCK, padded(raw.shape[1])), np.float32)
    wide = raw.astype(np.float64)
    out[: len(raw), : raw.shape[1]] = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return out


def centre_of(raw: np.ndarray) -> np.ndarray:
    """The rotated mean of vectors at length 1."""
    mean = wide_unit(raw).sum(0, dtype=np.float64) / len(raw)
    return rotated(mean[None].astype(np.float32))[0]


def next_room(rows: int) -> int:
    """Room of the next segment after so many rows: as much again, so that files are few and small stores are
    small; a multiple of 256, so that arrays are aligned."""
    return min(-(-max(rows, 1) // SMALLEST) * SMALLEST, LARGEST)
