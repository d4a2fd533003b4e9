"""Nearest unit vectors: what a scan reads, the kernel's face, and its readable twin.

A vector is kept in four forms: as it is, in INT8, as one sign bit a number, and as two numbers that make an
estimate of a product from the signs. Signs let few rows through, INT8 lets fewer, FP64 decides.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _native
from ..core.options import whole

WIDEST = 131_072  # numbers of a vector, which a sum of INT8 products still holds
ROUNDS = 3  # of a rotation
MARGIN = 2.25  # spreads of the estimate's error that a search allows for: of the ten nearest it finds .995
BLOCK = 8  # rows whose sign bits lie together
FORMS = (*("exact", "values", "scales"), *("codes", "biases", "factors"))


@dataclass(frozen=True)
class Vectors:
    """Unit vectors made ready for a search; `of` makes them.

    exact: `(n, d)`, d a multiple of 8. values: `(n, d)` int8 with one scale each, scales `(n,)`. centre:
    rotated, `(D,)` with D the next multiple of 64. codes: `(n / 8, D / 64, 8)` uint64, bit i of word w of a
    row is set where number 64 w + i of the rotated vector less the centre is not negative. biases, factors:
    `(n,)`; see `Vectors.of`. Arrays but exact and values may be longer than n, up to a multiple of 8.

    Raises:
        ValueError: an array of another type or shape than these.
    """

    exact: np.ndarray
    values: np.ndarray
    scales: np.ndarray
    codes: np.ndarray
    biases: np.ndarray
    factors: np.ndarray
    centre: np.ndarray

    def __post_init__(self) -> None:
        n, d = self.exact.shape
        wanted = {
            "exact": (np.float32, (n, d)),
            "values": (np.int8, (n, d)),
            "scales": (np.float32, (n,)),
            "codes": (np.uint64, (n // BLOCK, bits_of(d) // 64, BLOCK)),
            "biases": (np.float32, (n,)),
            "factors": (np.float32, (n,)),
            "centre": (np.float32, (bits_of(d),)),
        }
        if n % BLOCK or d % 8:
            raise ValueError(f"vectors are {(n, d)}; expected multiples of 8")
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}; expected contiguous {np.dtype(dtype)} {shape}"
                )

    @classmethod
    def of(cls, vectors: Any, centre: np.ndarray | None = None) -> Vectors:
        """Vectors `(n, d)` of length 1 with n and d multiples of 8; the centre is their mean, or given.

        With v = R (x - c), <x, q> = <c, q> + bias + <v, R (q - c)>, bias = <v, R c>, and the last product is
        near factor <sign v, R (q - c)>, factor = |v|^2 / |v|_1.

        Source: Gao and Long 2024, RaBitQ, equation 8.

        Raises:
            ValueError: not finite numbers of these shapes.
        """
        given = np.asarray(vectors)
        fits = given.ndim == 2 and given.size and not (len(given) % BLOCK or given.shape[1] % 8)
        if not fits or given.shape[1] > WIDEST:
            raise ValueError(
                f"vectors are {given.shape}; expected (n, d), both multiples of 8 and d up to {WIDEST}"
            )
        exact = np.ascontiguousarray(given, np.float32)
        if not np.isfinite(exact).all():
            raise ValueError("a vector holds NaN or infinity; expected finite numbers")
        scales = np.maximum(np.abs(exact).max(1), np.finfo(np.float32).tiny) / np.float32(127)
        values = np.rint(exact / scales[:, None]).astype(np.int8)
        turned = rotated(exact)
        if centre is None:
            centre = turned.mean(0, dtype=np.float64).astype(np.float32)
        away = turned - centre
        biases = (away @ centre.astype(np.float64)).astype(np.float32)
        size = np.abs(away).sum(1, dtype=np.float64)
        square = np.einsum("ij,ij->i", away, away, dtype=np.float64)
        factors = np.divide(square, size, out=np.zeros_like(size), where=size > 0).astype(np.float32)
        return cls(exact, values, scales, blocked(away), biases, factors, centre)

    def shard(self, mask: np.ndarray) -> _native.Shard:
        """What the kernel is given; this object and the mask must outlive it."""
        arrays = (*(getattr(self, name) for name in (*FORMS, "centre")), mask)
        return _native.Shard(len(self.exact), *map(_native.address, arrays))

    def top(self, query: Any, wanted: int, *, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Places and products of the `wanted` largest products with `query (d,)`, the largest first."""
        wanted = whole(wanted, "wanted", 1, len(self.exact), advice=f"here are {self.exact.shape}")
        mask = np.ones(len(self.exact), bool)
        found = Shards([(self, mask)]).nearest(query, wanted, exact=exact)
        return found[1], found[2]


@dataclass
class Shards:
    """Vectors in several places, with masks of the rows that are meant; made once and asked often."""

    parts: Sequence[tuple[Vectors, np.ndarray]]
    described: Sequence[_native.Shard] = ()  # of the parts, where they are made already

    def __post_init__(self) -> None:
        for vectors, mask in self.parts:
            if mask.dtype != bool or mask.shape != (len(vectors.exact),) or not mask.flags.c_contiguous:
                raise ValueError(f"mask is {mask.dtype} {mask.shape}; expected bool ({len(vectors.exact)},)")
        self.widths = {vectors.exact.shape[1] for vectors, _ in self.parts}
        described = self.described or [one.shard(mask) for one, mask in self.parts]
        self._array = (_native.Shard * len(self.parts))(*described)

    def nearest(
        self,
        query: Any,
        wanted: int,
        *,
        exact: bool = False,
        least: float = -math.inf,
        margin: float = MARGIN,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shard, row and product of the largest products with `query (d,)`, the largest first; fewer than
        `wanted` where there are fewer rows.

        Args:
            exact: compares all rows, in FP64 wherever less could err; otherwise some of the nearest may be
                missed, by rows whose estimate is off by more than `margin` spreads.
            least: smaller products are left out.

        Raises:
            ValueError: a query of another width or not finite.
        """
        query = np.ascontiguousarray(query, np.float32)
        if {*query.shape} != self.widths or query.ndim != 1 or not np.isfinite(query).all():
            raise ValueError(f"query is {query.shape}; expected {min(self.widths)} finite numbers")
        library = _native.library()
        if library is None:
            return self.nearest_reference(query, wanted, least)
        products, places = np.empty(wanted, np.float32), np.empty((wanted, 2), np.int64)
        count, width = ctypes.c_size_t(), len(query)
        _native.checked(
            library.bowstring_nearest(
                self._array, len(self.parts), width, bits_of(width), query.ctypes.data, wanted,
                math.inf if exact else margin, least, products.ctypes.data, places.ctypes.data,
                ctypes.byref(count),
            )
        )  # fmt: skip
        found = count.value
        return places[:found, 0], places[:found, 1], products[:found]

    def nearest_reference(
        self, query: np.ndarray, wanted: int, least: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`nearest` in numpy, which compares all rows in FP64."""
        shard, row, product = [], [], []
        for number, (vectors, mask) in enumerate(self.parts):
            rows = np.flatnonzero(mask)
            shard.append(np.full(len(rows), number))
            row.append(rows)
            product.append(vectors.exact[rows] @ query.astype(np.float64))
        shards, rows, products = map(np.concatenate, (shard, row, product))
        best = np.lexsort((rows, shards, -products))[:wanted]
        best = best[products[best] >= least]
        return shards[best], rows[best], products[best].astype(np.float32)


def bits_of(width: int) -> int:
    """Sign bits of a vector."""
    return -(-width // 64) * 64


def blocked(numbers: np.ndarray) -> np.ndarray:
    """Sign bits of rows `(n, D)`, as `Vectors.codes`."""
    words = np.packbits(numbers >= 0, 1, "little").view("<u8")
    return np.ascontiguousarray(words.reshape(-1, BLOCK, words.shape[1]).transpose(0, 2, 1))


def by_row(codes: np.ndarray) -> np.ndarray:
    """Sign bits of each row, `(n, D / 64)`, of codes."""
    return codes.transpose(0, 2, 1).reshape(-1, codes.shape[1])


def rotated(vectors: np.ndarray) -> np.ndarray:
    """Vectors `(n, d)` turned by a fixed rotation of D numbers, so that all numbers are of like size."""
    n, d = vectors.shape
    library = _native.library()
    if library is None:
        return rotated_reference(vectors)
    out = np.empty((n, bits_of(d)), np.float32)
    _native.checked(library.bowstring_rotate(vectors, n, d, bits_of(d), out))
    return out


def rotated_reference(vectors: np.ndarray) -> np.ndarray:
    """`rotated` in numpy: flips signs, then mixes the first and the last 2^k numbers, three times over."""
    n, d = vectors.shape
    bits = bits_of(d)
    part = 1 << (bits.bit_length() - 1)
    out = np.zeros((n, bits), np.float32)
    out[:, :d] = vectors
    for turn in range(ROUNDS):
        out *= np.where(scrambled(np.arange(bits, dtype=np.uint64) | np.uint64(turn << 32)), -1, 1)
        out[:, :part] = hadamard(out[:, :part])
        if part < bits:
            out[:, bits - part :] = hadamard(out[:, bits - part :])
    return out


def hadamard(rows: np.ndarray) -> np.ndarray:
    """Hadamard's transform of each row, of 2^k numbers, at the length that the row has."""
    n, size = rows.shape
    half = 1
    while half < size:
        pairs = rows.reshape(n, -1, 2, half)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2)
        half *= 2
    return rows.reshape(n, size) * (np.float32(1) / np.sqrt(np.float32(size)))


def scrambled(numbers: np.ndarray) -> np.ndarray:
    """A random bit of each number, by splitmix64."""
    step = np.uint64(0x9E3779B97F4A7C15)
    x = numbers * step + step
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(63)).astype(bool)
