"""Memories as the trunk looks at them: a vector becomes entries, and slots of cross-attention read them.

Trunk and slots stay as they are. Learned are the map from vectors to entries and low-rank deltas of the
slots' maps: those of `cross.kv` act on these entries alone, when they are read; those of `cross.q` and
`cross.out` are there as long as memories are. Shapes: b sequences, m memories, w width of a vector, e entries
of each memory, d width of the trunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.conditioning import NOTHING, Conditioning, LowRank
from .trunk import CrossAttention, Layer, Trunk

LARGEST = 4096  # of every size
ON_ENTRIES, ON_TOKENS = "cross.kv", ("cross.q", "cross.out")


@dataclass(frozen=True)
class ProjectorConfig:
    """Sizes of a `MemoryProjector`.

    width: of the trunk. vector: numbers of a memory's vector. layers: whose slots read the entries.
    entries: of each memory. inside: numbers between the two maps. rank: of the deltas. tokens: whether there
    are deltas that act on tokens, too.

    Raises:
        ValueError: a size that no projector can have.
    """

    width: int
    vector: int
    layers: tuple[int, ...]
    entries: int = 4
    inside: int = 512
    rank: int = 32
    tokens: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "vector", "entries", "inside", "rank"):
            if not 1 <= getattr(self, name) <= LARGEST:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 to {LARGEST}")
        if not self.layers or len(self.layers) > LARGEST:
            raise ValueError("a projector without layers is read by none; expected at least one")

    @property
    def maps(self) -> dict[str, tuple[int, int]]:
        """Names of the maps that have deltas, with inputs and outputs."""
        names = (ON_ENTRIES, *(ON_TOKENS if self.tokens else ()))
        sizes = {ON_ENTRIES: (self.width, 2 * self.width)}
        square = (self.width, self.width)
        return {f"layers.{i}.{name}": sizes.get(name, square) for i in self.layers for name in names}

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"layers": [*self.layers]}


class MemoryProjector(nn.Module):
    """Vectors `(b, m, w)` -> what slots have read of them; a fresh one says the same of all vectors' places
    and its deltas change nothing.
    """

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.inside = nn.Linear(config.vector, config.inside)
        self.out = nn.Linear(config.inside, config.entries * config.width, bias=False)
        self.entry = nn.Parameter(0.5 * torch.randn(config.entries, config.width))
        self.a, self.b = nn.ParameterDict(), nn.ParameterDict()
        for name, (inputs, outputs) in config.maps.items():
            key = name.replace(".", "/")  # a parameter's name holds no dots
            self.a[key] = nn.Parameter(torch.randn(config.rank, inputs) * inputs**-0.5)
            self.b[key] = nn.Parameter(torch.zeros(outputs, config.rank))

    def delta(self, name: str) -> LowRank:
        """The delta of a map by its name in the trunk."""
        key = name.replace(".", "/")
        return LowRank(self.a[key], self.b[key])

    def entries(self, vectors: Tensor) -> Tensor:
        """`(b, m, w)` -> `(b, m, e, d)`, of root mean square 1."""
        wide = F.silu(self.inside(vectors * self.config.vector**0.5))
        made = self.out(wide).unflatten(-1, self.entry.shape) + self.entry
        return F.rms_norm(made, made.shape[-1:])

    def read(self, slot: CrossAttention, layer: int, entries: Tensor) -> Tensor:
        """Keys and values `(b, m, e, 2 d)` that a layer's slot makes of entries."""
        return slot.kv(entries) + self.delta(f"layers.{layer}.{ON_ENTRIES}")(entries)

    @property
    def tokens(self) -> Conditioning:
        """The deltas that act on tokens as long as memories are there."""
        names = [name for name in self.config.maps if not name.endswith(ON_ENTRIES)]
        return Conditioning(deltas={name: (self.delta(name),) for name in names})

    def conditioning(
        self, trunk: Trunk, vectors: Tensor, weights: Tensor | None = None, mask: Tensor | None = None
    ) -> Conditioning:
        """What these memories bend.

        Args:
            weights: `(b, m)` from 0 to 1, by which what is seen of a memory is multiplied.
            mask: `(b, m)`, False where there is none; who has no memory is bent by nothing but the deltas.
        """
        if not vectors.shape[1]:
            return NOTHING
        read, entries = {}, self.entries(vectors)
        for i in self.config.layers:
            slot = cast(Layer, trunk.layers[i]).cross
            assert slot is not None
            found = self.read(slot, i, entries)
            read[i] = (found if weights is None else scaled_values(found, weights)).flatten(1, 2)
        seen = None if mask is None else mask.repeat_interleave(self.config.entries, 1)
        return self.tokens.with_(read=read, read_mask=seen)


def scaled_values(found: Tensor, weights: Tensor) -> Tensor:
    """Keys as they are and values times the weights, `(b, m, e, 2 d)` and `(b, m)`."""
    keys, values = found.chunk(2, -1)
    return torch.cat([keys, values * weights[:, :, None, None]], -1)


def slots(trunk: Trunk) -> Sequence[int]:
    """Layers that look at entries."""
    return [i for i, layer in enumerate(trunk.layers) if cast(Layer, layer).cross is not None]
