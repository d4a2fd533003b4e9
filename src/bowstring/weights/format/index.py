"""The index of a weights file, read without trust: where each tensor lies, checked before anything is made.

The profile is described in `parquet`. What a footer says is read one row group at a time, so that no file
costs more memory than it has bytes. `quickly` takes the bytes that our own writer makes, in the native
library; everything else, and every refusal, goes through the readable reader.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ... import _native
from .sniff import looks_like
from .thrift import CompactReader

MAGIC = b"PAR1"
ALIGN = 64
COLUMNS = (b"name", b"dtype", b"shape", b"hash", b"data")
KEY = b"bowstring"
FORMATS = (1, 2)
WIDTH = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "BOOL": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1},
}
LARGEST_FOOTER = 1 << 26
LARGEST_METADATA = 1 << 22
MOST_JSON_VALUES = 1 << 16
MOST_VALUES = 200  # of a row group or of the schema
BYTE_ARRAY, REQUIRED, UTF8, PLAIN, DATA_PAGE_V2, UNCOMPRESSED = 6, 0, 0, 0, 3, 0
SHAPE = re.compile(rb"\[(?:\d{1,18}(?:, \d{1,18})*)?\]")
FAULTS = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)


class TensorEntry(NamedTuple):
    """Where a tensor lies in the file."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    hash: str


class FileIndex(NamedTuple):
    """Everything a file says of itself."""

    format: int
    entries: dict[str, TensorEntry]
    metadata: dict[str, Any]


Extent = tuple[int, int]  # start and size
RowGroups = Callable[[memoryview, CompactReader, int], Iterator[list[Extent]]]


def index(view: memoryview) -> FileIndex:
    """
    Raises:
        ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError: the file breaks the
            profile.
    """
    library = _native.library()
    if library is not None:
        try:
            return read(view, quickly)
        except FAULTS:
            pass  # the readable reader says why
    return read(view, slowly)


def read(view: memoryview, row_groups: RowGroups) -> FileIndex:
    """The index, whose row groups are read by `slowly` or `quickly`."""
    if bytes(view[:4]) != MAGIC or bytes(view[-4:]) != MAGIC:
        raise ValueError(_not_parquet(view))
    length = int.from_bytes(view[-8:-4], "little")
    if not 0 < length <= min(len(view) - 12, LARGEST_FOOTER):
        raise ValueError(f"claims a footer of {length} bytes in a file of {len(view)}")
    reader = CompactReader(view[: len(view) - 8], len(view) - 8 - length)
    found: dict[int, Any] = {}
    entries: dict[str, TensorEntry] = {}
    for number, kind in reader.fields():
        if number == 4:
            _read_entries(view, row_groups(view, reader, reader.list_size()), entries)
            found[number] = len(entries)
        else:
            reader.values = MOST_VALUES
            found[number] = reader.value(kind)
    if reader.at != len(view) - 8:
        raise ValueError(f"has {len(view) - 8 - reader.at} bytes after its footer")
    _check_schema(found[2])
    _expect(found[3], found[4], "the row count")
    ends = max((entry.offset + entry.size for entry in entries.values()), default=4)
    _expect(ends, len(view) - 8 - length, "the end of the last tensor")
    return FileIndex(*_metadata(found.get(5, []), entries))


def _not_parquet(view: memoryview) -> str:
    if guess := looks_like(bytes(view[:512])):
        return f"not a weights file: looks like {guess}"
    return (
        f"begins with {bytes(view[:4])!r} and ends with {bytes(view[-4:])!r}, not with {MAGIC!r}: "
        "not a weights file, or cut off"
    )


def _expect(got: Any, wanted: Any, what: str) -> None:
    if got != wanted or type(got) is not type(wanted):
        raise ValueError(f"{what} is {got!r}, expected {wanted!r}")


def _check_schema(schema: list[dict[int, Any]]) -> None:
    found = [(element.get(4), element.get(1), element.get(3)) for element in schema[1:]]
    wanted = [(name, BYTE_ARRAY, REQUIRED) for name in COLUMNS]
    if found != wanted or schema[0].get(5) != len(COLUMNS):
        raise ValueError(
            f"has the columns {[name for name, _, _ in found]}, expected required byte arrays {list(COLUMNS)}"
        )


def _metadata(
    pairs: list[dict[int, Any]], entries: dict[str, TensorEntry]
) -> tuple[int, dict[str, TensorEntry], dict[str, Any]]:
    _expect([pair[1] for pair in pairs], [KEY], "the list of metadata keys")
    text = pairs[0][2]
    if len(text) > LARGEST_METADATA:
        raise ValueError(f"has {len(text)} bytes of metadata, expected at most {LARGEST_METADATA}")
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > MOST_JSON_VALUES:
        raise ValueError(f"its metadata has more than {MOST_JSON_VALUES} values")
    metadata = json.loads(text)
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no JSON object")
    version = metadata.pop("format", None)
    if version not in FORMATS or type(version) is not int:
        raise ValueError(f"the format version is {version!r}, expected one of {FORMATS}")
    if version == 1:
        return version, entries, metadata
    _expect([*metadata], ["metadata"], "the list of keys beside the format")
    _expect(type(metadata["metadata"]), dict, "the type of the metadata")
    return version, entries, metadata["metadata"]


def _read_entries(view: memoryview, groups: Iterator[list[Extent]], entries: dict[str, TensorEntry]) -> None:
    for places in groups:
        name, entry = _entry(view, places)
        if name in entries:
            raise ValueError(f"names {name!r} twice")
        entries[name] = entry


def _entry(view: memoryview, places: list[Extent]) -> tuple[str, TensorEntry]:
    """The tensor whose five values lie at `places`."""
    texts = [bytes(view[at : at + size]) for at, size in places[:4]]
    name, dtype, shape = texts[0].decode("utf-8"), texts[1].decode("utf-8"), _shape(texts[2])
    if dtype not in WIDTH or shape is None:
        raise ValueError(
            f"tensor {name!r} has dtype {dtype!r} and shape {texts[2][:80]!r}; "
            f"expected one of {sorted(WIDTH)} and a list of non-negative sizes"
        )
    start, size = places[4]
    _expect(size, math.prod(shape) * WIDTH[dtype], f"the size of tensor {name!r} of shape {shape}")
    _expect(start % ALIGN, 0, f"the alignment of tensor {name!r}")
    return name, TensorEntry(dtype, shape, start, size, texts[3].decode("ascii"))


@lru_cache(1024)
def _shape(text: bytes) -> tuple[int, ...] | None:
    if len(text) > 512 or not SHAPE.fullmatch(text):
        return None
    return tuple(int(size) for size in text[1:-1].split(b",") if size)


def quickly(view: memoryview, reader: CompactReader, count: int) -> Iterator[list[Extent]]:
    """The places of the values of each row group, by the native library, which takes canonical bytes only.

    Raises:
        ValueError: something is not as our own writer makes it.
    """
    library = _native.library()
    assert library is not None
    if count > (len(view) - reader.at) // 128:  # none is described in fewer bytes
        raise ValueError("too many row groups")
    whole = np.frombuffer(view, np.uint8)
    at, out = ctypes.c_size_t(reader.at), np.empty((count, 5, 2), np.uintp)
    start, places = whole.ctypes.data, out.ctypes.data
    if library.bowstring_row_groups(start, whole.size, count, ctypes.byref(at), places):
        raise ValueError("a row group is not as our own writer makes it")
    reader.at = at.value
    return ([(start, size) for start, size in group.tolist()] for group in out)


def slowly(view: memoryview, reader: CompactReader, count: int) -> Iterator[list[Extent]]:
    """The places of the values of each row group, one at a time.

    Raises:
        ValueError: a row group breaks the profile.
    """
    end = 4
    for _ in range(count):
        reader.values = MOST_VALUES
        group = reader.struct()
        _expect(group[3], 1, "the row count of a row group")
        _expect(len(group[1]), len(COLUMNS), "the number of columns in a row group")
        places, begin = [], end
        for column, chunk in zip(COLUMNS, group[1], strict=True):
            start, end = _page(view, column, chunk, end)
            places.append((start, end - start))
        _expect(group[2], end - begin, "the size of a row group")
        yield places


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
    reader = CompactReader(view[offset : offset + min(total, 64)])
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
