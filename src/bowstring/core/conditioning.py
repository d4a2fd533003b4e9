"""Conditioning: all that bends a forward beside its tokens, in one value.

Captions, memories and adapters build one; the trunk takes one.

Shapes: b sequences, l new tokens, n cached ones, m entries, d width; k inputs and o outputs of a linear map,
r rank. This module knows nothing of networks, files or text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class Cache:
    """Keys and values of the tokens already read, per layer `(b, heads, n, h)`; which are real, `(b, n)`."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    valid: Tensor

    @property
    def length(self) -> int:
        return self.valid.shape[1]

    def rows(self, index: Tensor) -> Cache:
        """The same cache for a choice of samples."""
        return Cache(tuple((k[index], v[index]) for k, v in self.layers), self.valid[index])

    def joined(self, other: Cache) -> Cache:
        """This cache with another one's tokens behind."""
        layers = tuple(
            (torch.cat([k, k_more], 2), torch.cat([v, v_more], 2))
            for (k, v), (k_more, v_more) in zip(self.layers, other.layers, strict=True)
        )
        return Cache(layers, torch.cat([self.valid, other.valid], 1))


@dataclass(frozen=True, eq=False)
class LowRank:
    """What a linear map y = w x is changed by: y += scale b (a x), `a (r, k)`, `b (o, r)`; without b, y +=
    scale a x, whose rank is full.

    Raises:
        ValueError: shapes that do not fit each other.

    Source: Hu et al. 2021, arXiv 2106.09685; their scale is alpha / r.
    """

    a: Tensor
    b: Tensor | None
    scale: float = 1.0

    def __post_init__(self) -> None:
        _fit("a low-rank delta", self.a, self.a.new_empty(0, len(self.a)) if self.b is None else self.b)

    @property
    def inputs(self) -> int:
        return self.a.shape[1]

    @property
    def outputs(self) -> int:
        return len(self.a if self.b is None else self.b)

    def __call__(self, x: Tensor) -> Tensor:
        inside = F.linear(x, self.a.to(x.dtype))
        return self.scale * (inside if self.b is None else F.linear(inside, self.b.to(x.dtype)))

    def scaled(self, weight: float) -> LowRank:
        return replace(self, scale=weight * self.scale)

    def to(self, device: torch.device) -> LowRank:
        return replace(self, a=self.a.to(device), b=None if self.b is None else self.b.to(device))


@dataclass(frozen=True, eq=False)
class Branch:
    """A residual branch behind a layer: x += scale up silu(down norm(x) + control).

    down, up: `(r, d)` and `(d, r)`.

    control: what the branch is told of each token, `(b|1, l|1, r)`, or nothing. A branch whose `up` is zero
    changes nothing, which is how one begins.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    down: Tensor
    up: Tensor
    control: Tensor | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        _fit("a residual branch", self.down, self.up)
        rank = len(self.down)
        if self.control is not None and (self.control.ndim != 3 or self.control.shape[2] != rank):
            raise ValueError(
                f"the control of a branch is {tuple(self.control.shape)}; expected (b, l, {rank}), 1 where "
                "all sequences or tokens share it"
            )

    def __call__(self, x: Tensor) -> Tensor:
        inside = F.linear(F.rms_norm(x, x.shape[-1:]), self.down.to(x.dtype))
        inside = inside if self.control is None else inside + self.control.to(x.dtype)
        return self.scale * F.linear(F.silu(inside), self.up.to(x.dtype))

    def scaled(self, weight: float) -> Branch:
        return replace(self, scale=weight * self.scale)

    def rows(self, index: Tensor) -> Branch:
        return replace(self, control=_chosen(self.control, index))

    def to(self, device: torch.device) -> Branch:
        control = None if self.control is None else self.control.to(device)
        return replace(self, down=self.down.to(device), up=self.up.to(device), control=control)


@dataclass(frozen=True, eq=False)
class LayerConditioning:
    """What one layer is given; the names of deltas are those of the layer's own linear maps."""

    past: tuple[Tensor, Tensor] | None
    mask: Tensor | None
    entries: Tensor | None
    entries_mask: Tensor | None
    read: Tensor | None
    read_mask: Tensor | None
    branches: tuple[Branch, ...]
    deltas: Mapping[str, tuple[LowRank, ...]]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What a forward is conditioned on; by default nothing. `a | b` conditions on both.

    cache: tokens already read, which the new ones may look at.
    mask: True where a query may look, `(b|1, 1, l, n + l)`, the cached tokens first; None is everywhere.
    entries: what cross-attention looks at, `(b|1, m, d)`. entries_mask: `(b|1, m)` True where an entry is
    real, or `(b|1, l, m)` True where a token may look; who may look at nothing gets nothing.
    read: keys and values `(b|1, m, 2 d)` of entries that some layers have read before, by layer; read_mask as
    entries_mask. What is read once costs nothing in later evaluations, and deltas of the slot leave it alone.
    added: vectors `(b|1, l|1, d)` that are added to the tokens before a layer, by its number; the number
    behind the last layer's stands for the trunk's end.
    branches: residual branches behind a layer, by its number.
    deltas: low-rank deltas of linear maps by their names in the trunk, "layers.0.attention.qkv".
    """

    cache: Cache | None = None
    mask: Tensor | None = None
    entries: Tensor | None = None
    entries_mask: Tensor | None = None
    read: Mapping[int, Tensor] = field(default_factory=dict)
    read_mask: Tensor | None = None
    added: Mapping[int, Tensor] = field(default_factory=dict)
    branches: Mapping[int, tuple[Branch, ...]] = field(default_factory=dict)
    deltas: Mapping[str, tuple[LowRank, ...]] = field(default_factory=dict)

    def with_(self, **changes: Any) -> Conditioning:
        """The same with some fields replaced."""
        return replace(self, **changes)

    def __or__(self, other: Conditioning) -> Conditioning:
        """Both: entries stand side by side, vectors and deltas add up, a token may look where both let it.

        Raises:
            ValueError: both bring a cache; `Cache.joined` puts one behind the other.
        """
        if self.cache is not None and other.cache is not None:
            raise ValueError("both conditionings bring a cache; join them first with cache.joined(other)")
        entries, entries_mask = side_by_side(
            (self.entries, self.entries_mask), (other.entries, other.entries_mask)
        )
        read, read_mask = _read_by_both(self, other)
        return Conditioning(
            other.cache if self.cache is None else self.cache,
            _either(self.mask, other.mask, torch.logical_and),
            entries,
            entries_mask,
            read,
            read_mask,
            _united(self.added, other.added, torch.add),
            _united(self.branches, other.branches, lambda a, b: a + b),
            _united(self.deltas, other.deltas, lambda a, b: a + b),
        )

    def rows(self, index: Tensor) -> Conditioning:
        """The same for a choice of samples, perhaps more than once; what all share stays shared."""
        return Conditioning(
            None if self.cache is None else self.cache.rows(index),
            _chosen(self.mask, index),
            _chosen(self.entries, index),
            _chosen(self.entries_mask, index),
            {layer: _rows(one, index) for layer, one in self.read.items()},
            _chosen(self.read_mask, index),
            {layer: _rows(one, index) for layer, one in self.added.items()},
            {layer: tuple(b.rows(index) for b in some) for layer, some in self.branches.items()},
            self.deltas,
        )

    def bends_on(self, device: torch.device) -> Conditioning:
        """The deltas and branches alone, on a device."""
        return Conditioning(
            branches={layer: tuple(one.to(device) for one in some) for layer, some in self.branches.items()},
            deltas={name: tuple(one.to(device) for one in some) for name, some in self.deltas.items()},
        )

    def layer(self, number: int) -> LayerConditioning:
        """What concerns one layer."""
        prefix = f"layers.{number}."
        return LayerConditioning(
            None if self.cache is None else self.cache.layers[number],
            self.mask,
            self.entries,
            self.entries_mask,
            self.read.get(number),
            self.read_mask,
            self.branches.get(number, ()),
            {
                name.removeprefix(prefix): some
                for name, some in self.deltas.items()
                if name.startswith(prefix)
            },
        )


NOTHING = Conditioning()


def visible(cache: Cache | None, valid: Tensor) -> Tensor:
    """The mask of tokens that all look at all that is real, `(b, l) -> (b, 1, l, n + l)`."""
    seen = valid if cache is None else torch.cat([cache.valid, valid], 1)
    return seen[:, None, None, :].expand(-1, 1, valid.shape[1], -1)


def _fit(what: str, inward: Tensor, outward: Tensor) -> None:
    if inward.ndim != 2 or outward.ndim != 2 or len(inward) != outward.shape[1]:
        raise ValueError(
            f"{what} has matrices {tuple(inward.shape)} and {tuple(outward.shape)}; expected (rank, inputs) "
            "and (outputs, rank)"
        )


def _rows(value: Tensor, index: Tensor) -> Tensor:
    return value if len(value) == 1 else value[index]


def _chosen(value: Tensor | None, index: Tensor) -> Tensor | None:
    return None if value is None else _rows(value, index)


def _either(mine: Tensor | None, theirs: Tensor | None, both: Callable[..., Tensor]) -> Tensor | None:
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    return both(mine, theirs)


def _united(
    mine: Mapping[Key, Value], theirs: Mapping[Key, Value], both: Callable[[Value, Value], Value]
) -> dict[Key, Value]:
    shared = {key: both(mine[key], theirs[key]) for key in mine.keys() & theirs.keys()}
    return {**mine, **theirs, **shared}


Entries = tuple[Tensor | None, Tensor | None]


def side_by_side(*both: Entries) -> Entries:
    """Entries of both, and their masks in one shape."""
    given = [(entries, mask) for entries, mask in both if entries is not None]
    if len(given) < 2:
        return given[0] if given else (None, None)
    b = max(len(entries) for entries, _ in given)
    values = torch.cat([entries.expand(b, -1, -1) for entries, _ in given], 1)
    if all(mask is None for _, mask in given):
        return values, None
    return values, masks_side_by_side([entries_mask(*one) for one in given])


def entries_mask(entries: Tensor, mask: Tensor | None) -> Tensor:
    """A mask, `(b|1, m)` or `(b|1, l, m)`; where there is none, one that lets all be seen."""
    return torch.ones(1, entries.shape[1], dtype=torch.bool, device=entries.device) if mask is None else mask


def masks_side_by_side(masks: Sequence[Tensor]) -> Tensor:
    """Masks of entries that stand side by side, in one shape."""
    if any(one.ndim == 3 for one in masks):
        masks = [one if one.ndim == 3 else one[:, None] for one in masks]
        length = max(one.shape[1] for one in masks)
        masks = [one.expand(-1, length, -1) for one in masks]
    b = max(map(len, masks))
    return torch.cat([one.expand(b, *one.shape[1:]) for one in masks], -1)


def _read_by_both(mine: Conditioning, theirs: Conditioning) -> tuple[Mapping[int, Tensor], Tensor | None]:
    """What was read of both, and its mask.

    Raises:
        ValueError: they were read by different layers.
    """
    given = [one for one in (mine, theirs) if one.read]
    if len(given) < 2:
        return (given[0].read, given[0].read_mask) if given else ({}, None)
    if mine.read.keys() != theirs.read.keys():
        raise ValueError(
            f"entries were read by layers {sorted(mine.read)} and {sorted(theirs.read)}; expected the same"
        )
    both = {
        layer: side_by_side((one, mine.read_mask), (theirs.read[layer], theirs.read_mask))
        for layer, one in mine.read.items()
    }
    read = {layer: values for layer, (values, _) in both.items() if values is not None}
    return read, next(mask for _, mask in both.values())
