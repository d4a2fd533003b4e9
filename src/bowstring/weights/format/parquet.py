"""Tensors in a Parquet file whose bytes can be used where they lie.

The profile: one row group per tensor, one row in it, five required columns (name, dtype, shape, hash,
data), each chunk a single data page v2, PLAIN, uncompressed. Any Parquet reader reads it. The bytes of
`data` begin at a multiple of 64, so that a mapped file is an array without a copy. Everything is checked
before anything is allocated: no gap of 64 bytes or more, no overlap, no size that its shape does not give;
contents are checked against their hash at first touch.

The file's key-value metadata hold one JSON object under the key `bowstring`: `{"format": 2, "metadata":
{...}}`, and the hash is XXH3 (see `hash`). Format 1 is read on: its metadata lie beside the format, its
hash is BLAKE2b with 16 bytes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...core.files import replacing
from .hash import digest, digests
from .index import (
    ALIGN,
    BYTE_ARRAY,
    COLUMNS,
    DATA_PAGE_V2,
    FAULTS,
    KEY,
    MAGIC,
    PLAIN,
    REQUIRED,
    UNCOMPRESSED,
    UTF8,
    index,
)
from .thrift import BINARY, I32, I64, Int, List, encode

FORMAT = 2
NUMPY = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"},
}  # and BF16, which numpy does not have
LARGEST_TENSOR = (1 << 31) - (1 << 16)  # page sizes are 32-bit


class WeightsError(ValueError):
    """The file is not a sound weights file; the sentence says where and what."""


@dataclass(frozen=True)
class Tensor:
    """An array to be written: raw little-endian bytes with their meaning."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    @classmethod
    def of(cls, array: np.ndarray) -> Tensor:
        """
        Raises:
            TypeError: a dtype that the profile does not have.
        """
        for name, numpy_name in NUMPY.items():
            if array.dtype == np.dtype(numpy_name):
                flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                return cls(name, array.shape, memoryview(flat))  # type: ignore[arg-type]  # numpy arrays are buffers
        raise TypeError(f"arrays of {array.dtype} are not stored; use one of {[*NUMPY]}")


def _page_header(size: int) -> bytes:
    page = {1: Int(1), 2: Int(0), 3: Int(1), 4: Int(PLAIN), 5: Int(0), 6: Int(0), 7: False}
    return encode({1: Int(DATA_PAGE_V2), 2: Int(size), 3: Int(size), 8: page})


def _write_chunk(file: BinaryIO, column: bytes, value: bytes | memoryview, align: bool) -> dict[int, Any]:  # noqa: FBT001
    size = len(value) + 4
    header = _page_header(size)
    if align:
        file.write(b"\0" * (-(file.tell() + len(header) + 4) % ALIGN))
    offset = file.tell()
    file.write(header)
    file.write(len(value).to_bytes(4, "little"))
    file.write(value)
    total = Int(len(header) + size, I64)
    encodings = List([Int(PLAIN)], I32)
    meta = {
        1: Int(BYTE_ARRAY),
        2: encodings,
        3: List([column], BINARY),
        4: Int(UNCOMPRESSED),
        5: Int(1, I64),
        6: total,
        7: total,
        9: Int(offset, I64),
    }
    return {2: Int(offset, I64), 3: meta}


def _schema() -> List:
    leaf = {1: Int(BYTE_ARRAY), 3: Int(REQUIRED)}
    columns = [leaf | {4: name} | ({} if name == b"data" else {6: Int(UTF8)}) for name in COLUMNS]
    return List([{4: b"tensors", 5: Int(len(COLUMNS))}, *columns])


def write(path: Path, tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, Any]) -> None:
    """Writes a weights file; a crash leaves the old one.

    Raises:
        ValueError: a name given twice, or a tensor of 2 GiB or more.
    """
    groups, names = [], set()
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(MAGIC)
        for name, tensor in tensors:
            if name in names or len(tensor.data) > LARGEST_TENSOR:
                raise ValueError(
                    f"tensor {name!r} is "
                    f"{'given twice' if name in names else 'too large: split it below 2 GiB'}"
                )
            names.add(name)
            start = file.tell()
            texts = (name, tensor.dtype, json.dumps(list(tensor.shape)), digest(tensor.data))
            chunks = [
                _write_chunk(file, column, text.encode(), align=False)
                for column, text in zip(COLUMNS, texts, strict=False)
            ]
            chunks.append(_write_chunk(file, b"data", tensor.data, align=True))
            groups.append({1: List(chunks), 2: Int(file.tell() - start, I64), 3: Int(1, I64)})
        pair = {1: KEY, 2: json.dumps({"format": FORMAT, "metadata": dict(metadata)}).encode()}
        footer = encode(
            {
                1: Int(2),
                2: _schema(),
                3: Int(len(groups), I64),
                4: List(groups),
                5: List([pair]),
                6: b"bowstring",
            }
        )
        file.write(footer + len(footer).to_bytes(4, "little") + MAGIC)


class WeightsFile:
    """A mapped weights file: `file["name"]` is an array over the file's own bytes, read-only.

    Raises:
        WeightsError: the file breaks the profile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 12:
                raise WeightsError(f"{path}: {size} bytes are too few for a weights file; is it complete?")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        try:
            self.format, self.entries, self.metadata = index(self._view)
        except FAULTS as error:
            raise WeightsError(f"{path}: {_reason(error)}") from None
        self._checked: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def raw(self, name: str, *, verify: bool = True) -> memoryview:
        """The bytes of a tensor, checked against their hash when first touched.

        Raises:
            KeyError: no tensor has this name.
            WeightsError: the contents were changed.
        """
        if name not in self.entries:
            raise KeyError(
                f"{self.path} has no tensor {name!r}; it has {len(self.entries)}, for example "
                f"{next(iter(self.entries), None)!r}"
            )
        if verify and name not in self._checked:
            self.verify([name])
        entry = self.entries[name]
        return self._view[entry.offset : entry.offset + entry.size]

    def __getitem__(self, name: str) -> np.ndarray:
        """The array, over the file's own bytes; BF16, which numpy does not have, as a new one in FP32."""
        data, entry = self.raw(name), self.entries[name]
        if entry.dtype == "BF16":
            wide = np.frombuffer(data, "<u2").astype(np.uint32) << 16
            return wide.view(np.float32).reshape(entry.shape)
        return np.frombuffer(data, NUMPY[entry.dtype]).reshape(entry.shape)

    def verify(self, names: Iterable[str] | None = None) -> None:
        """Checks tensors, all by default, against their hashes, in one pass on all threads.

        Raises:
            WeightsError: the first that does not match.
        """
        todo = [name for name in (self.entries if names is None else names) if name not in self._checked]
        places = [(entry.offset, entry.size) for entry in map(self.entries.__getitem__, todo)]
        for name, found in zip(todo, HASHES[self.format](self._view, places), strict=True):
            if found != self.entries[name].hash:
                raise WeightsError(
                    f"{self.path}: the contents of {name!r} do not match their hash; the file is "
                    "damaged, get it again"
                )
        self._checked.update(todo)


class WeightsFiles:
    """Several weights files read as one.

    Raises:
        WeightsError: two of them have a tensor of the same name.
    """

    def __init__(self, files: Sequence[WeightsFile]) -> None:
        self.files = files
        self.path = " and ".join(str(file.path) for file in files)
        self._owner = {name: file for file in files for name in file}
        self.entries = {name: entry for file in files for name, entry in file.entries.items()}
        if len(self.entries) != sum(map(len, files)):
            raise WeightsError(f"{self.path} name a tensor twice; they are not of one model")

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._owner[name][name]

    def verify(self) -> None:
        """As `WeightsFile.verify`, for all."""
        for file in self.files:
            file.verify()


def blake2b(data: memoryview, places: Iterable[tuple[int, int]]) -> list[str]:
    """The hashes of format 1."""
    return [hashlib.blake2b(data[at : at + size], digest_size=16).hexdigest() for at, size in places]


HASHES = {1: blake2b, 2: digests}


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the metadata lacks field {error}"
    return str(error)
