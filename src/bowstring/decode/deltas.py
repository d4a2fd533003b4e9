"""What bends a decoder beside its weights: low-rank deltas of its linear maps, branches behind its layers.

Shapes: r rank, k inputs and o outputs of a map, d width, m rows. The weights stay as they are; a decoder
with deltas is another decoder over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from .. import _native
from ..weights.quant.grouped import GROUP, GroupedMatrix

MAPS = ("q", "k", "v", "out", "gate", "up", "down")  # in the order of native/src/decoder.rs
PACKED_FROM = 24  # numbers of a branch
Linear = Callable[[np.ndarray, np.ndarray], np.ndarray]
Place = TypeVar("Place")
Some = TypeVar("Some", bound=tuple[Any, ...])
Bend = TypeVar("Bend", "LowRank", "Branch")


@dataclass(frozen=True, eq=False)
class LowRank:
    """What a linear map is changed by: y += scale b (a x), `a (r, k)`, `b (o, r)`; without b, y += scale a x.

    Source: Hu et al. 2021, arXiv 2106.09685.
    """

    a: np.ndarray
    b: np.ndarray | None
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        return len(self.a if self.b is None else self.b)

    def __call__(self, x: np.ndarray, linear: Linear) -> np.ndarray:
        inside = np.float32(self.scale) * linear(x, self.a)
        return inside if self.b is None else linear(inside, self.b)


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch behind a layer: x += scale up silu(down norm(x) + control), `down (r, d)`, `up (d,
    r)`, `control (r,)` or nothing.
    """

    down: np.ndarray
    up: np.ndarray
    control: np.ndarray | None = None
    scale: float = 1.0

    @cached_property
    def packed(self) -> tuple[GroupedMatrix, GroupedMatrix] | None:
        """Both matrices in few bits, as a packed decoder takes a branch of many numbers: FP32 would take
        longer than the layer itself. The rank is filled up with zeros to whole groups. None is a slim branch.
        """
        rank, width = self.down.shape
        if rank < PACKED_FROM or width % GROUP:
            return None
        more = -rank % GROUP
        down, up = np.pad(self.down, ((0, more), (0, 0))), np.pad(self.up, ((0, 0), (0, more)))
        return fewest_bits(down), fewest_bits(up)

    def padded_control(self) -> np.ndarray | None:
        if self.control is None:
            return None
        return np.ascontiguousarray(np.pad(self.control, (0, -len(self.down) % GROUP)), np.float32)

    def of_packed(self, x: np.ndarray) -> np.ndarray:
        """What the branch adds in a packed decoder."""
        if self.packed is None:
            return self(x, lambda a, w: a @ w.T)
        (down, up), control = self.packed, self.padded_control()
        norm = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.finfo(np.float32).eps)
        inside = down.matmul(norm.astype(np.float32))
        inside = inside if control is None else inside + control
        return up.matmul(np.float32(self.scale) * inside / (1 + np.exp(-inside)))

    def __call__(self, x: np.ndarray, linear: Linear) -> np.ndarray:
        norm = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.finfo(np.float32).eps)
        inside = linear(norm.astype(np.float32), self.down)
        inside = inside if self.control is None else inside + self.control
        return np.float32(self.scale) * linear(inside / (1 + np.exp(-inside)), self.up)


def fewest_bits(matrix: np.ndarray) -> GroupedMatrix:
    """A matrix in 4 bits where that loses nothing, as of files that keep it so, else in 8."""
    four = GroupedMatrix.quantise(matrix, 4)
    lossless = np.array_equal(four.rows(np.arange(len(matrix))), matrix)
    return four if lossless else GroupedMatrix.quantise(matrix, 8)


@dataclass(frozen=True, eq=False)
class Deltas:
    """low_rank: by layer and map, "q" meaning queries, keys and values where one matrix makes all three, and
    "gate" both halves. branches: by layer.
    """

    low_rank: Mapping[tuple[int, str], tuple[LowRank, ...]] = field(default_factory=dict)
    branches: Mapping[int, tuple[Branch, ...]] = field(default_factory=dict)

    def scaled(self, weight: float) -> Deltas:
        """All of them times a weight."""
        return Deltas(
            {place: tuple(_scaled(one, weight) for one in some) for place, some in self.low_rank.items()},
            {layer: tuple(_scaled(one, weight) for one in some) for layer, some in self.branches.items()},
        )

    def __bool__(self) -> bool:
        return bool(self.low_rank or self.branches)

    def __or__(self, other: Deltas) -> Deltas:
        """Both; what bends the same place adds up."""
        return Deltas(_united(self.low_rank, other.low_rank), _united(self.branches, other.branches))


NONE = Deltas()


def _scaled(one: Bend, weight: float) -> Bend:
    return replace(one, scale=weight * one.scale)


def _united(mine: Mapping[Place, Some], theirs: Mapping[Place, Some]) -> dict[Place, Some]:
    return {place: (*mine.get(place, ()), *theirs.get(place, ())) for place in {**mine, **theirs}}  # type: ignore[misc]


@dataclass(frozen=True, eq=False)
class Described:
    """Deltas as the kernels take them, and what these point into."""

    refs: Any
    count: int
    packed: Any
    owners: tuple[Any, ...]


def described(deltas: Deltas) -> Described:
    """Deltas for the kernels; made once, since turning matrices costs as much as using them."""
    owners: list[Any] = []
    refs = [_ref(owners, *one) for one in _each(deltas)]
    packed = [
        _packed_ref(owners, layer, branch)
        for layer, branches in deltas.branches.items()
        for branch in branches
        if branch.packed is not None
    ]
    made = (_native.PackedBranch * len(packed))(*packed)
    return Described((_native.LowRank * len(refs))(*refs), len(refs), made, tuple(owners))


def _each(deltas: Deltas) -> Iterator[tuple[int, int, float, list[np.ndarray | None]]]:
    """Layer, map, scale; inward and turned outward matrix, control."""
    for (layer, name), some in deltas.low_rank.items():
        for one in some:
            yield layer, MAPS.index(name), one.scale, [one.a, None if one.b is None else one.b.T, None]
    for layer, branches in deltas.branches.items():
        for branch in branches:
            if branch.packed is None:
                yield layer, len(MAPS), branch.scale, [branch.down, branch.up.T, branch.control]


def _ref(
    owners: list[Any], layer: int, which: int, scale: float, parts: list[np.ndarray | None]
) -> _native.LowRank:
    arrays = [None if one is None else np.ascontiguousarray(one, np.float32) for one in parts]
    owners += [one for one in arrays if one is not None]
    a, b, control = ((None, 0) if one is None else (one.ctypes.data, one.size) for one in arrays)
    rank = len(parts[0])  # type: ignore[arg-type]
    return _native.LowRank(layer, which, rank, *a, *b, control[0], int(control[1] > 0), scale)


def _packed_ref(owners: list[Any], layer: int, branch: Branch) -> _native.PackedBranch:
    assert branch.packed is not None
    down, up = branch.packed
    control = branch.padded_control()
    owners += [down, up, control]
    told = None if control is None else control.ctypes.data
    return _native.PackedBranch(layer, down.described, up.described, told, branch.scale)
