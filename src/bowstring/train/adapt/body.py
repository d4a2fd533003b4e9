"""A decoder that gradients pass through: the same layers in torch, their weights dequantised and frozen.

Our own text stream and imported models are both decoders, so both learn here. Shapes: b rows, l tokens, d
width, v tokens of the vocabulary, r rank, k inputs and o outputs of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...decode.decoder import Decoder, LayerWeights, Matrix
from ...decode.deltas import Branch, Deltas, LowRank
from ...text.modulated import EightBits, Embedding

Place = tuple[int, str]


@dataclass(frozen=True, eq=False)
class Bends:
    """What is learned: deltas of low rank (a, b), whole deltas, and branches (down, up), by layer and map."""

    low_rank: Mapping[Place, tuple[Tensor, Tensor]] = field(default_factory=dict)
    full: Mapping[Place, Tensor] = field(default_factory=dict)
    branches: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    scale: float = 1.0

    @classmethod
    def of(cls, deltas: Deltas) -> Bends:
        """Those of a decoder, to go on from.

        Raises:
            ValueError: several of one place, or of different scales.
        """
        several = [some for some in (*deltas.low_rank.values(), *deltas.branches.values()) if len(some) > 1]
        scales = {one.scale for (one, *_) in deltas.low_rank.values() if one.b is not None}
        if several or len(scales) > 1:
            raise ValueError("these deltas are sums of several; learning goes on from one adapter")
        scale = scales.pop() if scales else 1.0
        low, full = {}, {}
        for place, (one,) in deltas.low_rank.items():
            if one.b is None:
                full[place] = torch.tensor(one.scale * one.a)
            else:
                low[place] = (torch.tensor(one.a), torch.tensor(one.b))
        branches = {
            i: (torch.tensor(b.down), torch.tensor(b.scale * b.up)) for i, (b,) in deltas.branches.items()
        }
        return cls(low, full, branches, scale)

    def parameters(self) -> list[Tensor]:
        pairs = (*self.low_rank.values(), *self.branches.values())
        return [*(one for pair in pairs for one in pair), *self.full.values()]

    def deltas(self) -> Deltas:
        """As a decoder takes them."""
        low = {
            place: (LowRank(array(a), array(b), self.scale),) for place, (a, b) in self.low_rank.items()
        } | {place: (LowRank(array(one), None),) for place, one in self.full.items()}
        return Deltas(low, {i: (Branch(array(d), array(u)),) for i, (d, u) in self.branches.items()})

    def bent(self, place: Place, x: Tensor, y: Tensor) -> Tensor:
        """What a map made of x, with the deltas of its place."""
        if place in self.low_rank:
            a, b = self.low_rank[place]
            y = y + self.scale * F.linear(F.linear(x, a), b)
        return y + F.linear(x, self.full[place]) if place in self.full else y


NONE = Bends()


def array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


def dense(matrix: Matrix) -> Tensor:
    """A matrix `(n, k)` in FP32."""
    return torch.from_numpy(np.array(matrix.rows(np.arange(matrix.shape[0])), np.float32))


class Body:
    """The layers of a decoder in torch."""

    def __init__(self, decoder: Decoder) -> None:
        self.config = decoder.config
        self.layers = [self._layer(layer) for layer in decoder.layers]
        self.norm = torch.from_numpy(np.array(decoder.norm, np.float32))
        self.rates = torch.from_numpy(np.array(decoder.rates, np.float32))
        head, ends = decoder.head, decoder.embedding
        if isinstance(ends, Embedding):
            self.embedding = torch.from_numpy(ends.tokens)
            table = ends.table.dense() if isinstance(ends.table, EightBits) else ends.table
            self.head = [torch.from_numpy(part) for part in (ends.down, table)]
            self.bias: Tensor | None = torch.from_numpy(ends.bias)
        else:
            self.embedding = dense(ends)
            self.head, self.bias = [self.embedding if head is ends else dense(head)], None

    @staticmethod
    def _layer(layer: LayerWeights) -> dict[str, Tensor | None]:
        def number(part: Any) -> Tensor | None:
            if part is None:
                return None
            return (
                torch.from_numpy(np.array(part, np.float32)) if isinstance(part, np.ndarray) else dense(part)
            )

        return {name: number(getattr(layer, name)) for name in LayerWeights.__dataclass_fields__}

    def sizes(self) -> dict[Place, tuple[int, int]]:
        """Outputs and inputs of every map."""
        return {
            (i, name): tuple(one.shape)  # type: ignore[misc]
            for i, layer in enumerate(self.layers)
            for name in ("q", "k", "v", "out", "gate", "up", "down")
            if (one := layer[name]) is not None
        }

    def parameters(self) -> int:
        """Numbers of all weights."""
        parts = [one for layer in self.layers for one in layer.values() if one is not None]
        return sum(
            one.numel() for one in (*parts, self.norm, self.embedding, *self.head[len(self.head) == 1 :])
        )

    def hidden(self, tokens: Tensor, position: Tensor, mask: Tensor, bends: Bends = NONE) -> Tensor:
        """Hidden states `(b, l, d)`, normed, of tokens `(b, l)` at positions `(b, l)`; mask `(b, l, l)` is
        True where a row looks at a row.
        """
        x = self.embedding[tokens]
        angle = position[..., None].float() * self.rates
        cos, sin = (self.config.rope.amplitude * f(angle)[:, :, None] for f in (torch.cos, torch.sin))
        for i, layer in enumerate(self.layers):
            x = x + self._gated(layer["attention_gate"], self._attention(i, layer, x, cos, sin, mask, bends))
            x = x + self._gated(layer["ffn_gate"], self._feed_forward(i, layer, x, bends))
            if i in bends.branches:
                down, up = bends.branches[i]
                x = x + F.linear(F.silu(F.linear(F.rms_norm(x, x.shape[-1:]), down)), up)
        return self._normed(x, self.norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """`(..., d) -> (..., v)`."""
        for matrix in self.head[:-1]:
            hidden = F.linear(hidden, matrix)
        return F.linear(hidden, self.head[-1], self.bias)

    def _normed(self, x: Tensor, weight: Tensor | None, shift: Tensor | None = None) -> Tensor:
        assert weight is not None
        x = F.rms_norm(x, x.shape[-1:], eps=self.config.epsilon) * weight
        return x if shift is None else x + shift

    @staticmethod
    def _gated(gate: Tensor | None, y: Tensor) -> Tensor:
        return y if gate is None else gate * y

    def _times(self, i: int, name: str, x: Tensor, bends: Bends) -> Tensor:
        weight, bias = self.layers[i][name], self.layers[i].get(f"{name}_bias")
        assert weight is not None
        return bends.bent((i, name), x, F.linear(x, weight, bias))

    def _attention(
        self,
        i: int,
        layer: Mapping[str, Tensor | None],
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor,
        bends: Bends,
    ) -> Tensor:
        c = self.config
        y = self._normed(x, layer["attention_norm"], layer["attention_shift"])
        if layer["k"] is None:
            sides = [c.heads * c.head, c.kv_heads * c.head, c.kv_heads * c.head]
            made = self._times(i, "q", y, bends).split(sides, -1)
        else:
            made = tuple(self._times(i, name, y, bends) for name in ("q", "k", "v"))
        q, k, v = (part.unflatten(-1, (-1, c.head)) for part in made)
        q, k = (
            self._turned(part if norm is None else self._normed(part, norm), cos, sin)
            for part, norm in ((q, layer["q_norm"]), (k, layer["k_norm"]))
        )
        k, v = (part.repeat_interleave(c.heads // c.kv_heads, 2) for part in (k, v))
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
        return self._times(i, "out", y.transpose(1, 2).flatten(2), bends)

    def _turned(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """RoPE of `(b, l, heads, h)`."""
        if self.config.rope.interleaved:
            a, b = x[..., ::2], x[..., 1::2]
            return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
        a, b = x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def _feed_forward(self, i: int, layer: Mapping[str, Tensor | None], x: Tensor, bends: Bends) -> Tensor:
        y = self._normed(x, layer["ffn_norm"], layer["ffn_shift"])
        both = self._times(i, "gate", y, bends)
        gate, up = both.chunk(2, -1) if layer["up"] is None else (both, self._times(i, "up", y, bends))
        return self._times(i, "down", F.silu(gate) * up, bends)
