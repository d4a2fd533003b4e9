"""Our own text stream as a decoder: at time 0 its modulation is constant, so it is a Llama with shifts and
gates.

Shapes: r rows, d width, v tokens. The cache is causal; a noisy block sees the cache and all of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from .. import _native
from ..core import conditioning as bends
from ..core.conditioning import Conditioning
from ..decode.config import DecoderConfig, Rope
from ..decode.decoder import Decoder, DenseMatrix, LayerWeights, PackedMatrix, linear
from ..decode.deltas import Branch, Deltas, LowRank
from ..nn.config import HEAD
from ..nn.heads.text import TextHead
from ..nn.network import UnifiedScoreNetwork
from ..nn.trunk import Layer
from ..weights.quant.grouped import GROUP
from ..weights.quant.packed import matrices
from ..weights.quant.rounded import kept_in_8_bits

MAPS = {
    "attention.qkv": "q",
    "attention.out": "out",
    "feed_forward.up": "gate",
    "feed_forward.down": "down",
}


@dataclass(frozen=True)
class EightBits:
    """A matrix `(n, k)` that was rounded to 8 bits: codes `(n, k)` and a scale for every 32, `(n, k / 32)`.
    Its products are those of the FP32 matrix, to the bit, from a quarter of the bytes.
    """

    codes: np.ndarray
    scales: np.ndarray

    @classmethod
    def of(cls, matrix: np.ndarray) -> EightBits | None:
        """None where it was not rounded, or there is no library to multiply it."""
        if _native.library() is None or matrix.shape[1] % GROUP:
            return None
        if (found := kept_in_8_bits(matrix)) is None:
            return None
        codes, scales, _ = found.unpack()
        plain = codes.astype(np.int16) - found.zero
        return cls(np.ascontiguousarray(plain, np.int8), np.ascontiguousarray(scales, np.float32))

    def dense(self) -> np.ndarray:
        """The matrix in FP32."""
        return self.codes.astype(np.float32) * self.scales.repeat(GROUP, 1)

    def linear(self, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """`x (m, k)` times the matrix, with a bias `(n,)`: `(m, n)`."""
        library = _native.library()
        assert library is not None
        x = np.ascontiguousarray(x, np.float32)
        out = np.empty((len(x), len(self.codes)), np.float32)
        pointers = (_native.address(part) for part in (x, self.codes, self.scales, bias))
        sizes = (*out.shape, x.shape[1])
        _native.checked(library.bowstring_linear_eight(*pointers, *sizes, _native.address(out)))
        return out


@dataclass(frozen=True)
class Embedding:
    """The text head's ends: `rows` looks tokens up, `matmul` gives logits of normed hidden states.

    tokens: `(v, d)`. table: `(v, r)`, behind `down` `(r, d)`, in 8 bits where that is the same to the bit.
    bias: `(v,)`.
    """

    tokens: np.ndarray
    table: np.ndarray | EightBits
    down: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, head: TextHead) -> Embedding:
        parts = (head.table, head.up.weight, head.down.weight, head.bias, head.modality)
        table, up, down, bias, modality = map(array_of, parts)
        return cls(linear(table, up) + modality, EightBits.of(table) or table, down, bias)

    @property
    def shape(self) -> tuple[int, int]:
        return self.tokens.shape

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        return self.tokens[tokens]

    def matmul(self, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        inside = linear(x, self.down)
        if isinstance(self.table, EightBits):
            return self.table.linear(inside, self.bias)
        return linear(inside, self.table, self.bias)


def array_of(parameter: Tensor) -> np.ndarray:
    return np.ascontiguousarray(parameter.detach().float().cpu().numpy())


@torch.no_grad()
def decoder_of(network: UnifiedScoreNetwork, context: int, step_size: float = 0.0) -> Decoder:
    """A packed or plain network's text stream, told a shortcut step size."""
    trunk, packed = network.trunk, matrices(network)
    zero = torch.zeros(1, 1, device=trunk.norm.device)
    modulation = trunk.modulation(zero, zero + step_size)[0, 0]
    config = DecoderConfig(
        family="bowstring",
        width=network.config.width,
        layers=len(trunk.layers),
        heads=network.config.width // HEAD,
        kv_heads=network.config.width // HEAD,
        head=HEAD,
        ffn=network.config.ffn_hidden,
        vocab=network.config.vocab,
        context=context,
        epsilon=float(np.finfo(np.float32).eps),
        rope=Rope(10_000.0),
    )

    def matrix(i: int, name: str, module: torch.nn.Module) -> PackedMatrix | DenseMatrix:
        found = packed.get(f"trunk.layers.{i}.{name}.weight")
        return DenseMatrix(array_of(cast(Tensor, module.weight))) if found is None else PackedMatrix(found)

    layers = []
    for i, layer in enumerate(cast(list[Layer], trunk.layers)):
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = map(array_of, modulation + layer.offset)
        attention, ffn = layer.attention, layer.feed_forward
        layers.append(
            LayerWeights(
                attention_norm=1 + scale_a,
                attention_shift=shift_a,
                attention_gate=gate_a,
                q=matrix(i, "attention.qkv", attention.qkv),
                k=None,
                v=None,
                out=matrix(i, "attention.out", attention.out),
                q_norm=array_of(attention.q_norm),
                k_norm=array_of(attention.k_norm),
                ffn_norm=1 + scale_f,
                ffn_shift=shift_f,
                ffn_gate=gate_f,
                gate=matrix(i, "feed_forward.up", ffn.up),
                up=None,
                down=matrix(i, "feed_forward.down", ffn.down),
            )
        )
    ends = Embedding.of(cast(TextHead, network.heads["text"]))
    decoder = Decoder(config, ends, layers, array_of(trunk.norm))
    return decoder.with_deltas(deltas) if (deltas := deltas_of(network.bends)) else decoder


def deltas_of(conditioning: Conditioning) -> Deltas:
    """Deltas and branches of a conditioning as a decoder takes them; maps of cross-attention have nothing to
    look at here.

    Raises:
        ValueError: a control that differs from token to token.
    """
    if any(
        branch.control is not None and branch.control.shape[:2] != (1, 1)
        for some in conditioning.branches.values()
        for branch in some
    ):
        raise ValueError("a control differs from token to token; the decoder takes one for all")
    low_rank = {
        (int(number), MAPS[name]): tuple(
            LowRank(array_of(one.a), None if one.b is None else array_of(one.b), one.scale) for one in some
        )
        for full, some in conditioning.deltas.items()
        for _, number, name in [full.split(".", 2)]
        if name in MAPS
    }
    return Deltas(low_rank, {i: tuple(map(branch_of, some)) for i, some in conditioning.branches.items()})


def branch_of(branch: bends.Branch) -> Branch:
    control = None if branch.control is None else array_of(branch.control[0, 0])
    return Branch(array_of(branch.down), array_of(branch.up), control, branch.scale)
