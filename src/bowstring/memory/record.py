"""What is remembered: an entry goes in, a memory comes out, a hit says why it was found.

This module knows nothing of files and databases.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from ..core.options import listed, on_host, real, settle, shown, text, texts, whole
from .search import WIDEST

PARTS = ("picture", "voice", "adapter", "payload")
NAMESPACE = "default"
KINDS = {kind: kind.__name__.encode() for kind in (str, int, float, bytes, type(None))}  # what SQLite keeps


@dataclass(frozen=True)
class Embedder:
    """What makes vectors of texts. Vectors of two embedders cannot be compared, so a store keeps to one.

    name, hash: which one, and of which weights. width: numbers of a vector. encode: texts to `(n, width)`.
    near: cosine from which two records are linked as near doubles, calibrated for this embedder; None links
    none.
    """

    name: str
    hash: str
    width: int
    encode: Callable[[list[str]], Any]
    near: float | None = None

    def __post_init__(self) -> None:
        settle(
            self,
            name=text(self.name, "name", blank=False),
            hash=text(self.hash, "hash"),
            width=whole(self.width, "width", 1, WIDEST),
            near=None if self.near is None else real(self.near, "near", 0, 1),
        )

    def __call__(self, several: list[str]) -> np.ndarray:
        """
        Raises:
            ValueError: `encode` did not give `(n, width)`.
        """
        vectors = np.asarray(on_host(self.encode(several)), np.float32)
        if vectors.shape != (len(several), self.width):
            raise ValueError(
                f"{self.name} gave {vectors.shape}; expected ({len(several)}, {self.width}) for so many texts"
            )
        return vectors

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "hash": self.hash, "width": self.width}


@dataclass(frozen=True)
class Entry:
    """What is to be remembered. At least one of text, vector and the parts is needed.

    picture, voice, adapter, payload: bytes, an array, a `Path` whose bytes are read, or what JSON can hold.
    key: names a fact within its namespace; a newer entry of that key supersedes the older one. time, expires:
    seconds since 1970 or a datetime; `time` is now unless given, what has expired is no longer found.

    Raises:
        TypeError, ValueError: a value that cannot be meant.
    """

    text: str | None = None
    vector: Any = None
    picture: Any = None
    voice: Any = None
    adapter: Any = None
    payload: Any = None
    namespace: str = NAMESPACE
    key: str | None = None
    source: str | None = None
    tags: Sequence[str] = ()
    time: Any = None
    expires: Any = None

    def __post_init__(self) -> None:
        settle(
            self,
            text=_maybe(text, self.text, "text"),
            vector=_maybe(as_vector, self.vector, "vector"),
            namespace=text(self.namespace, "namespace", blank=False),
            key=_maybe(text, self.key, "key"),
            source=_maybe(text, self.source, "source"),
            tags=tuple(sorted(set(texts(self.tags, "tags", blank=False)))),
            time=_maybe(moment, self.time, "time"),
            expires=_maybe(moment, self.expires, "expires"),
        )
        others = (self.vector, *(getattr(self, name) for name in PARTS))
        if not (self.text or "").strip() and all(one is None for one in others):
            raise ValueError(f"there is nothing to remember; expected some text, a vector or {listed(PARTS)}")

    @classmethod
    def of(cls, given: Entry | Mapping[str, Any] | str) -> Entry:
        """An entry from one, from its fields by name, or from a text alone."""
        if isinstance(given, Entry):
            return given
        if isinstance(given, str):
            return cls(given)
        if not isinstance(given, Mapping):
            raise TypeError(f"an entry is {shown(given)}; expected an Entry, its fields by name, or a text")
        if unknown := sorted(set(given) - set(cls.__dataclass_fields__)):
            raise ValueError(
                f"an entry has no {shown(unknown[0])}; it has {', '.join(cls.__dataclass_fields__)}"
            )
        return cls(**given)

    def parts(self) -> dict[str, tuple[str, bytes]]:
        """Name to (form, bytes) of all parts that are there."""
        found = {name: getattr(self, name) for name in PARTS}
        return {name: packed(value, name) for name, value in found.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Memory:
    """A record as it is kept, at one version.

    state: kept, forgotten or superseded (by another record, `by`). undone: an undo took this version back.
    holds: names of its parts; `parts` has their values where the call says so. near: ids of linked near
    doubles with their cosines.
    """

    id: str
    version: int
    text: str | None
    namespace: str
    key: str | None
    source: str | None
    tags: tuple[str, ...]
    time: float
    expires: float | None
    state: str = "kept"
    undone: bool = False
    by: str | None = None
    vector: np.ndarray | None = None
    holds: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)
    near: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All but vector and parts."""
        left_out = ("vector", "parts")
        found = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in left_out}
        return found | {
            "tags": list(self.tags),
            "holds": list(self.holds),
            "near": [list(one) for one in self.near],
        }


@dataclass(frozen=True, eq=False)
class Hit:
    """A memory that was found. score: higher is better, comparable within one search. similarity: cosine with
    the query's vector. words: BM25, higher is better. None where that search did not find it."""

    memory: Memory
    score: float
    similarity: float | None = None
    words: float | None = None

    def to_json(self) -> dict[str, Any]:
        why = {"score": self.score, "similarity": self.similarity, "words": self.words}
        return self.memory.to_json() | why


@dataclass(frozen=True)
class Guide:
    """A memory that guided, with its weight; the weights of all are 1 together."""

    id: str
    weight: float
    text: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "weight": self.weight, "text": self.text}


class Hits(list[Hit]):
    """Hits, the best first. notes: what the search could not do."""

    def __init__(self, hits: Sequence[Hit] = (), notes: Sequence[str] = ()) -> None:
        super().__init__(hits)
        self.notes = tuple(notes)


def as_vector(value: Any, name: str) -> np.ndarray:
    """Finite FP32 numbers `(d,)`, not all zero, because nothing is similar to zero."""
    try:
        vector = np.array(on_host(value), np.float32)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {shown(value)}; expected numbers (d,)") from None
    if vector.ndim != 1 or not 0 < vector.size <= WIDEST:
        raise ValueError(f"{name} has shape {vector.shape}; expected numbers (d,), d up to {WIDEST}")
    if not np.isfinite(vector).all() or not vector.any():
        raise ValueError(f"{name} is not finite or all zero; expected finite numbers, one of them not zero")
    return vector


def moment(value: Any, name: str) -> float:
    """Seconds since 1970."""
    return (
        value.timestamp() if isinstance(value, datetime) else real(value, name, advice="seconds since 1970")
    )


def packed(value: Any, name: str) -> tuple[str, bytes]:
    """A part as (form, bytes)."""
    value = on_host(value)
    if isinstance(value, Path):
        return "bytes", value.read_bytes()
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", bytes(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return "array", file.getvalue()
    try:
        return "json", json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError):
        raise TypeError(
            f"{name} is {shown(value)}; expected bytes, an array, a Path or what JSON holds"
        ) from None


def unpacked(form: str, data: bytes) -> Any:
    """The part that `packed` wrote.

    Raises:
        ValueError: an array whose header asks for other bytes than follow it, or no JSON.
    """
    if form == "array":
        check_array(data)
        return np.load(io.BytesIO(data), allow_pickle=False)
    return json.loads(data) if form == "json" else data


def check_array(data: bytes) -> None:
    """
    Raises:
        ValueError: a .npy whose header asks for other bytes than follow it; `np.load` would allocate them.
    """
    file = io.BytesIO(data)
    try:
        first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (RecursionError, MemoryError, TokenError) as error:
        raise ValueError(f"the header of an array is damaged: {error}") from None
    if (asked := math.prod(shape) * dtype.itemsize) != (there := len(data) - file.tell()):
        raise ValueError(f"an array {shape} of {dtype} has {asked:,} bytes; {there:,} are there")


def digest(*values: Any) -> bytes:
    """16 bytes that depend on every value and on where one ends; values as SQLite keeps them."""
    parts = list[bytes]()
    for value in values:
        kind = type(value)
        data = value if kind is bytes else repr(value).encode()
        parts.append(b"%s%d:" % (KINDS.get(kind) or kind.__name__.encode(), len(data)))
        parts.append(data)
    return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def _maybe(check: Callable[[Any, str], Any], value: Any, name: str) -> Any:
    return None if value is None else check(value, name)
