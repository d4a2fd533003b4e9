"""The part of Thrift's compact protocol that Parquet's metadata uses, written and read without trust.

A struct is a dict from field number to value; integers, bytes, booleans, lists and structs are all there is.
Source: the Apache Thrift compact protocol specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
DEEPEST = 16
WIDTHS = {BYTE: 8, I16: 16, I32: 32, I64: 64}


@dataclass(frozen=True)
class Int:
    """An integer with its Thrift type, for writing."""

    value: int
    type: int = I32


@dataclass(frozen=True)
class List:
    """A list with its element type, for writing."""

    items: list[Any]
    type: int = STRUCT


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> bytes:
    return _varint((value << 1) ^ (value >> 63))


def _type_of(value: Any) -> int:
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, Int):
        return value.type
    return {bytes: BINARY, List: LIST, dict: STRUCT}[type(value)]


def encode(value: Any) -> bytes:
    """The bytes of a struct (dict), list, integer or byte string."""
    if isinstance(value, Int):
        return _zigzag(value.value)
    if isinstance(value, bytes):
        return _varint(len(value)) + value
    if isinstance(value, List):
        count = len(value.items)
        head = bytes([count << 4 | value.type]) if count < 15 else bytes([0xF0 | value.type]) + _varint(count)
        return head + b"".join(encode(item) for item in value.items)
    out, previous = bytearray(), 0
    for number, item in sorted(value.items()):
        kind, gap = _type_of(item), number - previous
        out += bytes([gap << 4 | kind]) if gap < 16 else bytes([kind]) + _zigzag(number)
        if kind not in (TRUE, FALSE):
            out += encode(item)
        previous = number
    return bytes(out) + b"\x00"


class CompactReader:
    """Decodes from a buffer; every length is checked against what is left before anything is made of it.

    `values` is how many more values it makes: a byte of the buffer can cost a hundred in memory.

    Raises:
        ValueError: the bytes are no such struct.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0, values: int = 1 << 16) -> None:
        self.data, self.at, self.values = data, at, values

    def _byte(self) -> int:
        try:
            byte = self.data[self.at]
        except IndexError:
            raise ValueError("metadata ends in the middle of a value") from None
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = self._byte()
        if value < 0x80:
            return value
        value &= 0x7F
        for shift in range(7, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= 1 << 64:
                    break
                return value
        raise ValueError("metadata holds an integer of more than 64 bits")

    def _integer(self, width: int) -> int:
        raw = self._varint()
        value = (raw >> 1) ^ -(raw & 1)
        if not -(1 << width - 1) <= value < 1 << width - 1:
            raise ValueError(f"metadata holds {value} where an integer of {width} bits belongs")
        return value

    def _binary(self) -> bytes:
        size = self._varint()
        if size > len(self.data) - self.at:
            raise ValueError(f"metadata holds a string of {size} bytes, {len(self.data) - self.at} are left")
        self.at += size
        return bytes(self.data[self.at - size : self.at])

    def list_size(self) -> int:
        """The number of items of the list of structs that begins here."""
        count, kind = self._list_head()
        if kind != STRUCT:
            raise ValueError(f"metadata holds a list of type {kind} where one of structs belongs")
        return count

    def _list_head(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self.data) - self.at:
            raise ValueError(
                f"metadata holds a list of {count} items, {len(self.data) - self.at} bytes are left"
            )
        return count, head & 0x0F

    def value(self, kind: int, depth: int = 0, *, in_list: bool = False) -> Any:
        """The value of this type that begins here."""
        self.values -= 1
        if self.values < 0:
            raise ValueError("metadata holds more values than a file of this profile needs")
        if kind in (TRUE, FALSE):
            return self._byte() == TRUE if in_list else kind == TRUE
        if kind == BYTE:
            return self._byte()
        if kind in WIDTHS:
            return self._integer(WIDTHS[kind])
        if kind == BINARY:
            return self._binary()
        if kind == LIST:
            count, item = self._list_head()
            return [self.value(item, depth + 1, in_list=True) for _ in range(count)]
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"metadata holds a value of type {kind}, which this profile does not use")

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of the struct that begins here; read its value before the next."""
        number, seen = 0, set()
        while head := self._byte():
            gap = head >> 4
            number = number + gap if gap else self._integer(16)
            if number in seen:
                raise ValueError(f"metadata gives field {number} twice")
            seen.add(number)
            yield number, head & 0x0F

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct that begins here."""
        if depth > DEEPEST:
            raise ValueError(f"metadata is nested deeper than {DEEPEST}")
        return {number: self.value(kind, depth) for number, kind in self.fields()}
