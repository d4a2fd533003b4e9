"""Takes a sound weights file apart and puts it together wrongly."""

import copy
import struct

import numpy as np

from bowstring.weights.format.index import MAGIC
from bowstring.weights.format.parquet import Tensor, write
from bowstring.weights.format.thrift import (
    BINARY,
    I16,
    I32,
    I64,
    LIST,
    STRUCT,
    CompactReader,
    Int,
    List,
    encode,
)


def sound(path):
    """A file of three small tensors, as bytes."""
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.ones(5, np.float16),
        "empty": np.zeros((0, 4), np.int8),
    }
    write(path, ((name, Tensor.of(array)) for name, array in arrays.items()), {"note": "sound"})
    return path.read_bytes()


def typed(tree):
    """A decoded footer in the form that `encode` takes."""
    if isinstance(tree, bool | bytes):
        return tree
    if isinstance(tree, int):
        return Int(tree, I64)
    if isinstance(tree, dict):
        return {key: typed(value) for key, value in tree.items()}
    first = tree[0] if tree else {}
    kind = I64 if isinstance(first, int) else BINARY if isinstance(first, bytes) else STRUCT
    return List([typed(item) for item in tree], kind)


def parts(data):
    """(everything before the footer, the decoded footer)."""
    length = struct.unpack("<I", data[-8:-4])[0]
    return data[: -8 - length], CompactReader(data[-8 - length : -8]).struct()


def assemble(body, footer):
    raw = footer if isinstance(footer, bytes) else encode(typed(footer))
    return body + raw + struct.pack("<I", len(raw)) + MAGIC


def with_footer(change):
    """A case that changes the decoded footer in place."""

    def case(data):
        body, footer = parts(data)
        footer = copy.deepcopy(footer)
        change(footer)
        return assemble(body, footer)

    return case


def with_body(old, new):
    """A case that replaces bytes before the footer, once."""

    def case(data):
        body, footer = parts(data)
        assert body.count(old) >= 1, old
        return assemble(body.replace(old, new, 1), footer)

    return case


def chunk(footer, group=0, column=4):
    return footer[4][group][1][column]


def meta(footer, group=0, column=4):
    return chunk(footer, group, column)[3]


def put(get, key, value):
    """A case that sets one field of what `get` finds in the footer."""
    return with_footer(lambda footer: get(footer).__setitem__(key, value))


def drop(get, key):
    return with_footer(lambda footer: get(footer).pop(key))


def page(column, change):
    """A case that rewrites the page header of a column of the first tensor, its length kept."""

    def case(data):
        body, footer = parts(data)
        at = meta(footer, 0, column)[9]
        reader = CompactReader(body[at : at + 64])
        header = reader.struct()
        size = reader.at
        change(header)
        raw = encode(typed(header))
        raw = raw.ljust(size, b"\0")[:size]
        return assemble(body[:at] + raw + body[at + size :], footer)

    return case


def nested(depth):
    """A footer of structs within structs."""
    return b"\x1c" * depth + b"\0" * (depth + 1)


class Spans(CompactReader):
    """Notes from where to where each value lies."""

    def value(self, kind, depth=0, *, in_list=False):
        self.spans = getattr(self, "spans", [])
        start = self.at
        value = super().value(kind, depth, in_list=in_list)
        self.spans.append((start, self.at, kind, value))
        return value


def spans(data):
    """The footer of a file and the spans of its values."""
    body, _ = parts(data)
    reader = Spans(data[len(body) : -8])
    reader.struct()
    return data[len(body) : -8], reader.spans


def spliced(footer, places, rng):
    """The footer with one to three of its values replaced, doubled, shortened, dropped or exchanged."""
    tail, end = b"", len(footer)
    for span in sorted(rng.choices(places, k=rng.randint(1, 3)), key=lambda span: -span[0]):
        start, stop, *_ = span
        if stop <= end:  # none lies within another
            tail, end = _other(footer, places, span, rng) + footer[stop:end] + tail, start
    return footer[:end] + tail


def _other(footer, places, span, rng):
    start, stop, kind, value = span
    raw = footer[start:stop]
    if rng.random() < 0.1:
        return rng.choice((b"", raw + raw, raw[:-1]))
    if kind in (I16, I32, I64):
        numbers = (0, 1, -1, value + 1, value - 1, value * 2, 1 << 31, 1 << 40, (1 << 62) + 1, -(1 << 40))
        return encode(Int(rng.choice(numbers)))
    if kind == BINARY:
        return encode(rng.choice((b"", value[:-1], value + b"x", value[::-1], b"\xff" * 9)))
    if kind == LIST and raw[0] >> 4 < 15:
        return bytes([(raw[0] + rng.choice((16, -16))) & 0xFF]) + raw[1:]
    other = rng.choice([place for place in places if place[2] == kind])
    return footer[other[0] : other[1]]
