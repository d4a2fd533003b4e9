"""The part of Thrift's compact protocol that Parquet's metadata uses, written and read without trust.

A struct is a dict from field number to value; integers, bytes, booleans, lists and structs are all there is.
Source: the Apache Thrift compact protocol specification.
"""

from __future__ import annotations

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


class Reader:
    """Decodes from a buffer; every length is checked against what is left before anything is made of it.

    Raises:
        ValueError: the bytes are no such struct.
    """

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data, self.at = data, at

    def _byte(self) -> int:
        if self.at >= len(self.data):
            raise ValueError("metadata ends in the middle of a value")
        self.at += 1
        return self.data[self.at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
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

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self.data) - self.at:
            raise ValueError(
                f"metadata holds a list of {count} items, {len(self.data) - self.at} bytes are left"
            )
        return [self._value(head & 0x0F, depth, in_list=True) for _ in range(count)]

    def _value(self, kind: int, depth: int, *, in_list: bool = False) -> Any:
        if kind in (TRUE, FALSE):
            return self._byte() == TRUE if in_list else kind == TRUE
        if kind == BYTE:
            return self._byte()
        if kind in WIDTHS:
            return self._integer(WIDTHS[kind])
        if kind == BINARY:
            return self._binary()
        if kind == LIST:
            return self._list(depth + 1)
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"metadata holds a value of type {kind}, which this profile does not use")

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > DEEPEST:
            raise ValueError(f"metadata is nested deeper than {DEEPEST}")
        out: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            gap = head >> 4
            number = number + gap if gap else self._integer(16)
            if number in out:
                raise ValueError(f"metadata gives field {number} twice")
            out[number] = self._value(head & 0x0F, depth)
        return out
