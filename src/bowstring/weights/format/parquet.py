"""Tensors in a Parquet file whose bytes can be used where they lie.

The profile: one row group per tensor, one row in it, five required columns (name, dtype, shape, hash,
data), each chunk a single data page v2, PLAIN, uncompressed. Any Parquet reader reads it. The bytes of
`data` begin at a multiple of 64, so that a mapped file is an array without a copy. `metadata` is a JSON
object in the file's key-value metadata. Everything is checked before anything is allocated: no gap of 64
bytes or more, no overlap, no size that its shape does not give; contents are checked against their hash at
first touch.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .thrift import BINARY, I32, I64, Int, List, Reader, encode

MAGIC = b"PAR1"
ALIGN = 64
COLUMNS = (b"name", b"dtype", b"shape", b"hash", b"data")
KEY = b"bowstring"
FORMAT = 1
WIDTH = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
NUMPY = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
}
LARGEST_FOOTER = 1 << 26
LARGEST_TENSOR = (1 << 31) - (1 << 16)  # page sizes are 32-bit
BYTE_ARRAY, REQUIRED, UTF8, PLAIN, DATA_PAGE_V2, UNCOMPRESSED = 6, 0, 0, 0, 3, 0


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
            if name != "BF16" and array.dtype == np.dtype(numpy_name):
                flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                return cls(name, array.shape, memoryview(flat))  # type: ignore[arg-type]  # numpy arrays are buffers
        raise TypeError(f"arrays of {array.dtype} are not stored; use one of {sorted(set(WIDTH) - {'BF16'})}")


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    hash: str


def digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


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
    """Writes a weights file beside `path`, then moves it there, so that a crash leaves the old one.

    Raises:
        ValueError: a name given twice, or a tensor of 2 GiB or more.
    """
    groups, names = [], set()
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
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
        pair = {1: KEY, 2: json.dumps({"format": FORMAT, **metadata}).encode()}
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
    partial.replace(path)


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
            self.entries, self.metadata = _index(self._view)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
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
        entry = self.entries[name]
        data = self._view[entry.offset : entry.offset + entry.size]
        if verify and name not in self._checked:
            if digest(data) != entry.hash:
                raise WeightsError(
                    f"{self.path}: the contents of {name!r} do not match their hash; the file is "
                    "damaged, get it again"
                )
            self._checked.add(name)
        return data

    def __getitem__(self, name: str) -> np.ndarray:
        entry_bytes = self.raw(name)
        entry = self.entries[name]
        return np.frombuffer(entry_bytes, NUMPY[entry.dtype]).reshape(entry.shape)

    def verify(self) -> None:
        """Checks every tensor against its hash.

        Raises:
            WeightsError: the first that does not match.
        """
        for name in self.entries:
            self.raw(name)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"the metadata lacks field {error}"
    return str(error)


def _expect(got: Any, wanted: Any, what: str) -> None:
    if got != wanted or type(got) is not type(wanted):
        raise ValueError(f"{what} is {got!r}, expected {wanted!r}")


def _index(view: memoryview) -> tuple[dict[str, Entry], dict[str, Any]]:
    if bytes(view[:4]) != MAGIC or bytes(view[-4:]) != MAGIC:
        raise ValueError(
            f"begins with {bytes(view[:4])!r} and ends with {bytes(view[-4:])!r}, not with {MAGIC!r}: "
            "not a weights file, or cut off"
        )
    length = int.from_bytes(view[-8:-4], "little")
    if not 0 < length <= min(len(view) - 12, LARGEST_FOOTER):
        raise ValueError(f"claims a footer of {length} bytes in a file of {len(view)}")
    reader = Reader(view[len(view) - 8 - length : -8])
    meta = reader.struct()
    if reader.at != length:
        raise ValueError(f"has {length - reader.at} bytes after its footer")
    _check_schema(meta[2])
    _expect(meta[3], len(meta[4]), "the row count")
    metadata = _metadata(meta.get(5, []))
    entries: dict[str, Entry] = {}
    end = 4
    for group in meta[4]:
        name, entry, end = _entry(view, group, end)
        if name in entries:
            raise ValueError(f"names {name!r} twice")
        entries[name] = entry
    _expect(end, len(view) - 8 - length, "the end of the last tensor")
    return entries, metadata


def _check_schema(schema: list[dict[int, Any]]) -> None:
    found = [(element.get(4), element.get(1), element.get(3)) for element in schema[1:]]
    wanted = [(name, BYTE_ARRAY, REQUIRED) for name in COLUMNS]
    if found != wanted or schema[0].get(5) != len(COLUMNS):
        raise ValueError(
            f"has the columns {[name for name, _, _ in found]}, expected required byte arrays {list(COLUMNS)}"
        )


def _metadata(pairs: list[dict[int, Any]]) -> dict[str, Any]:
    _expect([pair[1] for pair in pairs], [KEY], "the list of metadata keys")
    metadata = json.loads(pairs[0][2])
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no JSON object")
    _expect(metadata.pop("format", None), FORMAT, "the format version")
    return metadata


def _entry(view: memoryview, group: dict[int, Any], end: int) -> tuple[str, Entry, int]:
    _expect(group[3], 1, "the row count of a row group")
    _expect(len(group[1]), len(COLUMNS), "the number of columns in a row group")
    values, start = [], 0
    for column, chunk in zip(COLUMNS, group[1], strict=True):
        start, stop = _page(view, column, chunk, end)
        values.append(view[start:stop])
        end = stop
    name, dtype, shape_text, hashed = (bytes(value).decode("utf-8") for value in values[:4])
    shape = json.loads(shape_text)
    if dtype not in WIDTH or not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(
            f"tensor {name!r} has dtype {dtype!r} and shape {shape_text}; "
            f"expected one of {sorted(WIDTH)} and non-negative sizes"
        )
    size = math.prod(shape) * WIDTH[dtype]
    _expect(len(values[4]), size, f"the size of tensor {name!r} of shape {shape}")
    _expect(start % ALIGN, 0, f"the alignment of tensor {name!r}")
    return name, Entry(dtype, tuple(shape), start, size, hashed), end


def _page(view: memoryview, column: bytes, chunk: dict[int, Any], end: int) -> tuple[int, int]:
    """Start and stop of the one value of a column chunk."""
    meta = chunk[3]
    where = f"column {column.decode()}"
    if unknown := set(chunk) - {2, 3} | set(meta) - {1, 2, 3, 4, 5, 6, 7, 9}:
        raise ValueError(f"{where} uses fields {sorted(unknown)}, which the profile does not have")
    for field, wanted in ((1, BYTE_ARRAY), (2, [PLAIN]), (3, [column]), (4, UNCOMPRESSED), (5, 1)):
        _expect(meta[field], wanted, f"{where}, metadata field {field}")
    offset, total = meta[9], meta[7]
    _expect(meta[6], total, f"{where}, uncompressed size")
    if not 0 <= offset - end < ALIGN:
        raise ValueError(
            f"{where} begins at {offset}, {'inside' if offset < end else 'too far behind'} what ends at {end}"
        )
    if bytes(view[end:offset]).strip(b"\0"):
        raise ValueError(f"{where} has something hidden in the {offset - end} bytes before it")
    reader = Reader(view[offset : offset + min(total, 64)])
    header = reader.struct()
    _expect(set(header), {1, 2, 3, 8}, f"{where}, page header fields")
    _expect(header[1], DATA_PAGE_V2, f"{where}, page type")
    _expect(header[8], {1: 1, 2: 0, 3: 1, 4: PLAIN, 5: 0, 6: 0, 7: False}, f"{where}, page header")
    size = header[3]
    _expect(header[2], size, f"{where}, uncompressed page size")
    _expect(reader.at + size, total, f"{where}, chunk size")
    start, stop = offset + reader.at + 4, offset + total
    if stop > len(view) - 12 or size < 4:
        raise ValueError(f"{where} claims bytes {offset} to {stop} of a file of {len(view)}")
    _expect(int.from_bytes(view[start - 4 : start], "little"), stop - start, f"{where}, value length")
    return start, stop
