"""What bends a decoder beside its weights: low-rank deltas of its linear maps, branches behind its layers.

Shapes: r rank, k inputs and o outputs of a map, d width, m rows. The weights stay as they are; a decoder
with deltas is another decoder over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _native

MAPS = ("q", "k", "v", "out", "gate", "up", "down")  # in the order of native/src/decoder.rs
Linear = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class LowRank:
    """What a linear map is changed by: y += b (a x), `a (r, k)`, `b (o, r)`; the scale is in b.

    Source: Hu et al. 2021, arXiv 2106.09685.
    """

    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch behind a layer: x += up silu(down norm(x) + control), `down (r, d)`, `up (d, r)`,
    `control (r,)` or nothing.
    """

    down: np.ndarray
    up: np.ndarray
    control: np.ndarray | None = None

    def __call__(self, x: np.ndarray, linear: Linear) -> np.ndarray:
        norm = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.finfo(np.float32).eps)
        inside = linear(norm.astype(np.float32), self.down)
        inside = inside if self.control is None else inside + self.control
        return linear(inside / (1 + np.exp(-inside)), self.up)


@dataclass(frozen=True, eq=False)
class Deltas:
    """low_rank: by layer and map, "q" meaning queries, keys and values where one matrix makes all three, and
    "gate" both halves. branches: by layer.
    """

    low_rank: Mapping[tuple[int, str], LowRank] = field(default_factory=dict)
    branches: Mapping[int, tuple[Branch, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.low_rank or self.branches)

    def __or__(self, other: Deltas) -> Deltas:
        """Both: low-rank deltas of a map stand side by side, which is their sum."""
        mine, theirs = self.low_rank, other.low_rank
        both = {place: beside(mine[place], theirs[place]) for place in mine.keys() & theirs.keys()}
        layers = self.branches.keys() | other.branches.keys()
        branches = {i: (*self.branches.get(i, ()), *other.branches.get(i, ())) for i in layers}
        return Deltas({**mine, **theirs, **both}, branches)


NONE = Deltas()


def beside(one: LowRank, other: LowRank) -> LowRank:
    """The sum of two deltas of one map.

    >>> one = LowRank(np.ones((1, 3), np.float32), np.ones((2, 1), np.float32))
    >>> beside(one, one).b @ beside(one, one).a
    array([[2., 2., 2.],
           [2., 2., 2.]], dtype=float32)
    """
    return LowRank(np.concatenate([one.a, other.a]), np.concatenate([one.b, other.b], 1))


@dataclass(frozen=True, eq=False)
class Described:
    """Deltas as the kernels take them, and what these point into."""

    refs: Any
    count: int
    owners: tuple[np.ndarray, ...]


def described(deltas: Deltas) -> Described:
    """Deltas for the kernels; made once, since turning matrices costs as much as using them."""
    owners: list[np.ndarray] = []
    refs = [_ref(owners, *one) for one in _each(deltas)]
    return Described((_native.LowRank * len(refs))(*refs), len(refs), tuple(owners))


def _each(
    deltas: Deltas,
) -> Iterator[tuple[int, int, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Layer, map, inward and outward matrix, control."""
    for (layer, name), one in deltas.low_rank.items():
        yield layer, MAPS.index(name), one.a, one.b, None
    for layer, branches in deltas.branches.items():
        for branch in branches:
            yield layer, len(MAPS), branch.down, branch.up, branch.control


def _ref(
    owners: list[np.ndarray], layer: int, which: int, a: np.ndarray, b: np.ndarray, control: np.ndarray | None
) -> _native.LowRank:
    parts = [np.ascontiguousarray(one, np.float32) for one in (a, b.T)]
    parts += [] if control is None else [np.ascontiguousarray(control, np.float32)]
    owners += parts
    sizes = [part for one in parts[:2] for part in (one.ctypes.data, one.size)]
    told = None if control is None else parts[2].ctypes.data
    return _native.LowRank(layer, which, len(a), *sizes, told, int(control is not None), 1.0)
