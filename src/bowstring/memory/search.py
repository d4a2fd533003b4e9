"""Nearest unit vectors and draws from logits: the kernels' faces, each beside its readable twin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _native


@dataclass(frozen=True)
class Vectors:
    """Unit vectors made ready for a scan.

    values: `(n, d)` int8. scales: `(n,)`. signs: `(n, d / 8)` uint8, bit i of byte j is set where number 8
    j + i is not negative. exact: the vectors themselves `(n, d)`.
    """

    values: np.ndarray
    scales: np.ndarray
    signs: np.ndarray
    exact: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> Vectors:
        """
        Raises:
            ValueError: not `(n, d)` with d a multiple of 8.
        """
        if vectors.ndim != 2 or not len(vectors) or vectors.shape[1] % 8:
            raise ValueError(f"vectors are {vectors.shape}; expected (n, d) with d a multiple of 8")
        exact = np.ascontiguousarray(vectors, np.float32)
        scales = np.maximum(np.abs(exact).max(1), np.finfo(np.float32).tiny) / np.float32(127)
        values = np.rint(exact / scales[:, None]).astype(np.int8)
        return cls(values, scales, np.packbits(exact >= 0, 1, "little"), exact)

    def top(self, query: np.ndarray, wanted: int, candidates: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Places and similarities of the `wanted` nearest to `query (d,)`, the nearest first.

        Args:
            candidates: how many the sign bits let through; 0 takes all, which makes the answer exact.

        Raises:
            ValueError: a query of another width, or more wanted than there are.
        """
        n, d = self.exact.shape
        if query.shape != (d,) or not 1 <= wanted <= n:
            raise ValueError(f"query is {query.shape} and {wanted} are wanted; here are {n} vectors of {d}")
        library, many = _native.library(), candidates or n
        query = np.ascontiguousarray(query, np.float32)
        if library is None:
            return self.top_reference(query, wanted, many)
        places, similarities = np.empty(wanted, np.int64), np.empty(wanted, np.float32)
        arrays = (_native.address(a) for a in (self.values, self.scales, self.signs, self.exact, query))
        outs = (_native.address(similarities), _native.address(places))
        _native.checked(library.bowstring_top(n, d, *arrays, many, wanted, *outs))
        return places, similarities

    def top_reference(self, query: np.ndarray, wanted: int, candidates: int) -> tuple[np.ndarray, np.ndarray]:
        """`top` in numpy."""
        bits = np.packbits(query >= 0, bitorder="little")
        differing = np.bitwise_count(self.signs ^ bits).sum(1)
        near = np.argsort(differing, kind="stable")[: max(candidates, wanted)]
        scale = np.float32(127) / max(np.abs(query).max(), np.finfo(np.float32).tiny)
        small = np.trunc(query * scale + np.copysign(np.float32(0.5), query)).astype(np.int32)
        rough = (self.values[near].astype(np.int32) @ small).astype(np.float32) * self.scales[near]
        few = near[np.lexsort((near, -rough))][: 4 * wanted]
        exact = self.exact[few] @ query
        best = np.lexsort((few, -exact))[:wanted]
        return few[best], exact[best]
