"""A trunk told one time for all rows, as a decoder takes it: its modulation is then constant, so it is a
Llama with shifts and gates.

Shapes: r rows, d width, v tokens. This module knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import _native
from ..decode.config import DecoderConfig, Rope
from ..decode.decoder import LayerWeights, Matrix, linear
from ..nn.config import HEAD, NetworkConfig
from ..weights.quant.grouped import GROUP
from ..weights.quant.rounded import kept_in_8_bits


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
    def of(
        cls, table: np.ndarray, up: np.ndarray, down: np.ndarray, bias: np.ndarray, modality: np.ndarray
    ) -> Embedding:
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


def config_of(config: NetworkConfig, context: int) -> DecoderConfig:
    """The sizes of a trunk as a decoder has them."""
    return DecoderConfig(
        family="bowstring",
        width=config.width,
        layers=config.depth,
        heads=config.attention_heads,
        kv_heads=config.attention_heads,
        head=HEAD,
        ffn=config.ffn_hidden,
        vocab=config.vocab,
        context=context,
        epsilon=float(np.finfo(np.float32).eps),
        rope=Rope(10_000.0),
    )


def modulated(
    six: np.ndarray, matrix: Callable[[str], Matrix], q_norm: np.ndarray, k_norm: np.ndarray
) -> LayerWeights:
    """A layer whose shifts, scales and gates are `six` `(6, d)`; `matrix` gives its maps by name."""
    shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = map(np.ascontiguousarray, six)
    return LayerWeights(
        attention_norm=1 + scale_a,
        attention_shift=shift_a,
        attention_gate=gate_a,
        q=matrix("attention.qkv"),
        k=None,
        v=None,
        out=matrix("attention.out"),
        q_norm=q_norm,
        k_norm=k_norm,
        ffn_norm=1 + scale_f,
        ffn_shift=shift_f,
        ffn_gate=gate_f,
        gate=matrix("feed_forward.up"),
        up=None,
        down=matrix("feed_forward.down"),
    )
