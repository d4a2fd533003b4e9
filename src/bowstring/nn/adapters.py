"""Adapters: small sets of parameters that bend a trunk through its conditioning and leave its weights alone.

A `LoRA` changes linear maps by matrices of low rank, a `ControlNet` adds residual branches behind layers,
led by a control signal, `FullRank` changes linear maps as a whole. All begin by changing nothing. Several at
once are the sum of their conditionings.
Shapes: b sequences, l tokens, d width, k inputs and o outputs of a map, r rank, c numbers of a control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.conditioning import Branch, Conditioning, LowRank
from .trunk import Trunk

ATTENTION = ("attention.qkv", "attention.out")


def sizes_of(trunk: Trunk) -> dict[str, tuple[int, int]]:
    """Outputs and inputs of every linear map of a trunk's layers."""
    return {
        name: (cast(int, one.out_features), cast(int, one.in_features))
        for name, one in trunk.linear_maps().items()
    }


@dataclass(frozen=True, eq=False)
class LoRA:
    """Low-rank deltas y += alpha / r B (A x) of linear maps by their names in the trunk.

    a, b: `(r, k)` and `(o, r)`, for the same names, of one rank.

    Raises:
        ValueError: matrices that do not fit each other.

    Source: Hu et al. 2021, arXiv 2106.09685.
    """

    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]
    alpha: float

    def __post_init__(self) -> None:
        if not self.a or self.a.keys() != self.b.keys():
            raise ValueError(
                f"the halves of a LoRA name {sorted(self.a)} and {sorted(self.b)}; expected the same names, "
                "at least one"
            )
        if len(ranks := {len(one) for one in self.a.values()}) > 1:
            raise ValueError(f"the matrices of a LoRA have ranks {sorted(ranks)}; expected one rank")
        self.conditioning()

    @classmethod
    def fresh(
        cls,
        trunk: Trunk,
        rank: int,
        alpha: float,
        rng: torch.Generator,
        maps: Sequence[str] = ATTENTION,
    ) -> LoRA:
        """One that changes nothing yet, of the `maps` of every layer that has them."""
        sizes = {name: size for name, size in sizes_of(trunk).items() if name.split(".", 2)[2] in maps}
        return cls.of_sizes(sizes, rank, alpha, rng)

    @classmethod
    def of_sizes(
        cls, sizes: Mapping[str, tuple[int, int]], rank: int, alpha: float, rng: torch.Generator
    ) -> LoRA:
        """One that changes nothing yet, of maps by their names, whose outputs and inputs are given."""
        a = {name: torch.randn(rank, k, generator=rng) * k**-0.5 for name, (_, k) in sizes.items()}
        return cls(a, {name: torch.zeros(o, rank) for name, (o, _) in sizes.items()}, alpha)

    @property
    def rank(self) -> int:
        return len(next(iter(self.a.values())))

    def parameters(self) -> list[Tensor]:
        """What is learned."""
        return [*self.a.values(), *self.b.values()]

    def conditioning(self, weight: float = 1.0) -> Conditioning:
        """The deltas times `weight`."""
        scale = weight * self.alpha / self.rank
        return Conditioning(deltas={name: (LowRank(self.a[name], self.b[name], scale),) for name in self.a})


@dataclass(frozen=True, eq=False)
class ControlNet:
    """Residual branches x += up silu(down norm(x) + project control) behind layers, by their numbers.

    down, up, project: `(r, d)`, `(d, r)` and `(r, c)`, for the same layers.

    Raises:
        ValueError: matrices that do not fit each other.

    Source: after Zhang et al. 2023, arXiv 2302.05543: a zero-initialised branch beside a frozen network; the
    branch is slim here, not a copy of the network.
    """

    down: Mapping[int, Tensor]
    up: Mapping[int, Tensor]
    project: Mapping[int, Tensor]

    def __post_init__(self) -> None:
        if not self.down or not self.down.keys() == self.up.keys() == self.project.keys():
            raise ValueError(
                f"the parts of a ControlNet name layers {sorted(self.down)}, {sorted(self.up)} and "
                f"{sorted(self.project)}; expected the same layers, at least one"
            )
        shapes = {(len(self.down[i]), *self.project[i].shape[1:]) for i in self.down}
        unlike = [
            i for i in self.down if self.project[i].ndim != 2 or len(self.project[i]) != len(self.down[i])
        ]
        if len(shapes) > 1 or unlike:
            raise ValueError(
                "the branches of a ControlNet have ranks and controls of "
                f"{sorted(tuple(self.project[i].shape) for i in self.down)}; expected one (rank, c) for all"
            )
        self.conditioning()

    @classmethod
    def fresh(cls, trunk: Trunk, rank: int, control: int, rng: torch.Generator) -> ControlNet:
        """One that changes nothing yet, behind every layer."""
        width, layers = len(trunk.norm), range(len(trunk.layers))
        return cls(
            {i: torch.randn(rank, width, generator=rng) * width**-0.5 for i in layers},
            {i: torch.zeros(width, rank) for i in layers},
            {i: torch.randn(rank, control, generator=rng) * control**-0.5 for i in layers},
        )

    @property
    def rank(self) -> int:
        return len(next(iter(self.down.values())))

    @property
    def control(self) -> int:
        """Numbers of a control."""
        return next(iter(self.project.values())).shape[1]

    def parameters(self) -> list[Tensor]:
        """What is learned."""
        return [*self.down.values(), *self.up.values(), *self.project.values()]

    def conditioning(self, control: Tensor | None = None, weight: float = 1.0) -> Conditioning:
        """The branches times `weight`.

        Args:
            control: `(b|1, l|1, c)`; without one, the branches see the tokens alone.

        Raises:
            ValueError: a control of another size.
        """
        if control is not None and (control.ndim != 3 or control.shape[2] != self.control):
            raise ValueError(f"the control is {tuple(control.shape)}; expected (b, l, {self.control})")
        return Conditioning(
            branches={
                i: (
                    Branch(
                        self.down[i],
                        self.up[i],
                        None if control is None else F.linear(control, self.project[i]),
                        weight,
                    ),
                )
                for i in self.down
            }
        )


@dataclass(frozen=True, eq=False)
class FullRank:
    """Deltas y += w x of linear maps by their names in the trunk, `w (o, k)`: what training of the weights
    themselves changes.

    Raises:
        ValueError: no map at all.
    """

    weights: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError("the deltas name no map; expected at least one")
        self.conditioning()

    @classmethod
    def fresh(cls, trunk: Trunk, names: Sequence[str]) -> FullRank:
        """One that changes nothing yet."""
        sizes = sizes_of(trunk)
        return cls({name: torch.zeros(sizes[name]) for name in names})

    def parameters(self) -> list[Tensor]:
        """What is learned."""
        return [*self.weights.values()]

    def conditioning(self, weight: float = 1.0) -> Conditioning:
        """The deltas times `weight`."""
        return Conditioning(
            deltas={name: (LowRank(one, None, weight),) for name, one in self.weights.items()}
        )


@dataclass(frozen=True, eq=False)
class Several:
    """Adapters of different kinds that belong together."""

    parts: tuple[LoRA | ControlNet | FullRank, ...]

    def parameters(self) -> list[Tensor]:
        """What is learned."""
        return [parameter for part in self.parts for parameter in part.parameters()]

    def conditioning(self, weight: float = 1.0) -> Conditioning:
        """All of them, times `weight`."""
        made = Conditioning()
        for part in self.parts:
            made = made | part.conditioning(weight=weight)
        return made


Adapter = LoRA | ControlNet | FullRank | Several
