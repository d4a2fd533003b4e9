"""Nearest vectors: the kernel's face beside its readable twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _native
from ..core.options import whole

WIDEST = 131_072  # numbers of a vector, which a sum of INT8 products still holds


@dataclass(frozen=True)
class Vectors:
    """Vectors made ready for a scan; `of` makes them.

    values: `(n, d)` int8. scales: `(n,)`. signs: `(n, d / 8)` uint8, bit i of byte j is set where number 8
    j + i is not negative. exact: the vectors themselves `(n, d)`.

    Raises:
        ValueError: an array of another type or shape than these.
    """

    values: np.ndarray
    scales: np.ndarray
    signs: np.ndarray
    exact: np.ndarray

    def __post_init__(self) -> None:
        n, d = self.exact.shape
        wanted = {
            "values": (np.int8, (n, d)),
            "scales": (np.float32, (n,)),
            "signs": (np.uint8, (n, d // 8)),
            "exact": (np.float32, (n, d)),
        }
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}; expected contiguous {np.dtype(dtype)} {shape}"
                )

    @classmethod
    def of(cls, vectors: Any) -> Vectors:
        """
        Raises:
            ValueError: not finite numbers `(n, d)` with d a multiple of 8.
        """
        given = np.asarray(vectors)
        if given.ndim != 2 or not given.size or given.shape[1] % 8 or given.shape[1] > WIDEST:
            raise ValueError(
                f"vectors are {given.shape}; expected (n, d) with d a multiple of 8, up to {WIDEST}"
            )
        exact = np.ascontiguousarray(given, np.float32)
        if not np.isfinite(exact).all():
            raise ValueError("a vector holds NaN or infinity; expected finite numbers")
        scales = np.maximum(np.abs(exact).max(1), np.finfo(np.float32).tiny) / np.float32(127)
        values = np.rint(exact / scales[:, None]).astype(np.int8)
        return cls(values, scales, np.packbits(exact >= 0, 1, "little"), exact)

    def top(self, query: Any, wanted: int, candidates: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Places and similarities of the `wanted` largest products with `query (d,)`, the largest first.

        All vectors are compared, in FP64 wherever less could err, unless `candidates` is given: then only so
        many, whose signs agree with the query's in most places, and some of the nearest may be missed. Of
        100,000 vectors of 384 numbers, 5,000 candidates hold 87 % of the ten nearest where directions are
        random, 68 % at a mean cosine of 0.5, and 19 % at 0.99, for a fraction of the time.

        Raises:
            ValueError: a query of another width or not finite, or more wanted than there are.
        """
        n, d = self.exact.shape
        query = np.ascontiguousarray(query, np.float32)
        if query.shape != (d,) or not np.isfinite(query).all():
            raise ValueError(f"query is {query.shape}; expected {d} finite numbers")
        wanted = whole(wanted, "wanted", 1, n, advice=f"here are {n} vectors of {d}")
        many = whole(candidates, "candidates", 0) or n
        library = _native.library()
        if library is None:
            return self.top_reference(query, wanted, many)
        places, similarities = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
        arrays = (self.values, self.scales, self.signs, self.exact, query)
        _native.checked(library.bowstring_top(n, d, *arrays, min(many, n), wanted, similarities, places))
        return places, similarities

    def top_reference(self, query: np.ndarray, wanted: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
        """`top` in numpy."""
        near = np.arange(len(self.exact))
        if candidates < len(near):
            bits = np.packbits(query >= 0, bitorder="little")
            differing = np.bitwise_count(self.signs ^ bits).sum(1)
            near = np.argsort(differing, kind="stable")[: max(candidates, wanted)]
        similarity = self.exact[near] @ query.astype(np.float64)
        best = np.lexsort((near, -similarity))[:wanted]
        return near[best], similarity[best].astype(np.float32)
