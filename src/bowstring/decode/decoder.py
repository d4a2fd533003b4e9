"""A decoder over packed weights: tokens in, hidden states and logits out, keys and values appended in place.

One native call runs all layers; `forward_reference` is the same in numpy, for plain matrices, too. One
sequence at a time. Shapes: r rows (tokens of a call), n cached tokens, d width, h head, v tokens of the
vocabulary.
"""

from __future__ import annotations

import copy
import ctypes
import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from .. import _native
from ..weights.quant.arrowquant import ArrowQuant
from ..weights.quant.grouped import GroupedMatrix
from . import deltas as bends
from .config import Blocks, DecoderConfig
from .deltas import MAPS, NONE, Deltas

PACKED = 2  # ArrowQuant's kind of matrix, for the kernels
FIRST_CAPACITY = 256
TILE = 64  # tokens whose keys lie together


class Matrix(Protocol):
    """A matrix `(n, k)`, packed or plain."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def matmul(self, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray: ...

    def rows(self, tokens: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class PackedMatrix:
    """ArrowQuant's matrix as a decoder takes it."""

    matrix: ArrowQuant

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    def matmul(self, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        return self.matrix.matmul(np.ascontiguousarray(x, np.float32), bias)

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        return self.matrix.dequantise()[tokens]

    @property
    def described(self) -> _native.Weights:
        """The matrix as the kernels take it; valid while the arrays live."""
        m = self.matrix
        arrays = (m.lines, m.scales, m.group_scales)
        sizes = [part for array in arrays for part in (_native.address(array), array.size)]
        return _native.Weights(PACKED, m.bits, *m.shape, *sizes)


@dataclass(frozen=True)
class DenseMatrix:
    """A matrix of FP32, for references and small models."""

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    def matmul(self, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        return linear(x, self.values, bias)

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        return self.values[tokens]


@dataclass(frozen=True)
class LayerWeights:
    """Matrices are `(outputs, inputs)`, vectors FP32. `q` may hold q, k and v, and `gate` gate and up, one
    above the other; GELU wants `gate` alone. A norm may have a shift, what a layer adds a gate `(d,)`; biases
    and norms of heads may be missing.
    """

    attention_norm: np.ndarray
    q: Matrix
    k: Matrix | None
    v: Matrix | None
    out: Matrix
    ffn_norm: np.ndarray
    gate: Matrix
    up: Matrix | None
    down: Matrix
    q_bias: np.ndarray | None = None
    k_bias: np.ndarray | None = None
    v_bias: np.ndarray | None = None
    q_norm: np.ndarray | None = None
    k_norm: np.ndarray | None = None
    attention_shift: np.ndarray | None = None
    attention_gate: np.ndarray | None = None
    ffn_shift: np.ndarray | None = None
    ffn_gate: np.ndarray | None = None
    gate_bias: np.ndarray | None = None
    ffn_bias: np.ndarray | None = None


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """`x (m, k) @ weight (n, k).T + bias (n,)` in FP32, by the library where it is there: its sums depend on
    no number of threads, and it starts none of its own.
    """
    if (library := _native.library()) is None:
        y = x @ weight.T
        return y if bias is None else y + bias
    x, weight = np.ascontiguousarray(x, np.float32), np.ascontiguousarray(weight, np.float32)
    bias = None if bias is None else np.ascontiguousarray(bias, np.float32)
    out = np.empty((len(x), len(weight)), np.float32)
    pointers = (_native.address(part) for part in (x, weight, bias))
    _native.checked(library.bowstring_linear(*pointers, *out.shape, x.shape[1], _native.address(out)))
    return out


class KVCache:
    """Of what was read, a layer's keys `(kv_heads, capacity / 64, h, 64)` and values
    `(kv_heads, capacity, h)`, `length` tokens of them. Keys lie on their side, 64 tokens together.
    """

    def __init__(self, config: DecoderConfig) -> None:
        self.heads, self.head, self.capacity, self.length = config.kv_heads, config.head, FIRST_CAPACITY, 0
        self.layers = [self._room() for _ in range(config.layers)]
        self._addresses: ctypes.Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy has arrays of its own."""
        return self.__dict__ | {"_addresses": None}

    def addresses(self) -> ctypes.Array:
        """Where the layers' keys and values begin, as the kernels take them."""
        if self._addresses is None:
            self._addresses = _native.pointers([_native.address(p) for pair in self.layers for p in pair])
        return self._addresses

    def _room(self) -> tuple[np.ndarray, np.ndarray]:
        keys = np.zeros((self.heads, self.capacity // TILE, self.head, TILE), np.float32)
        return keys, np.zeros((self.heads, self.capacity, self.head), np.float32)

    def reserve(self, count: int) -> None:
        """Makes room for `count` tokens in all."""
        if count <= self.capacity:
            return
        self.capacity = -(-max(count, 2 * self.capacity) // TILE) * TILE
        n, before = self.length, self.layers
        self.layers, self._addresses = [self._room() for _ in before], None
        for (keys, values), (old_keys, old_values) in zip(self.layers, before, strict=True):
            keys[:, : old_keys.shape[1]], values[:, :n] = old_keys, old_values[:, :n]

    def truncate(self, length: int) -> None:
        """Forgets all tokens from `length` on.

        Raises:
            ValueError: fewer are there.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"the cache holds {self.length} tokens; it cannot be cut to {length}")
        self.length = length


class Decoder:
    """forwards: calls so far. planes: of INT8 that hold a number between matrices in groups of 32."""

    def __init__(
        self,
        config: DecoderConfig,
        embedding: Matrix,
        layers: list[LayerWeights],
        norm: np.ndarray,
        head: Matrix | None = None,
        frequency_factors: np.ndarray | None = None,
        norm_shift: np.ndarray | None = None,
        head_bias: np.ndarray | None = None,
    ) -> None:
        """Without `head` the embedding serves both ends. `frequency_factors` `(h / 2,)` divide RoPE's
        rates.
        """
        self.config, self.embedding, self.layers = config, embedding, layers
        self.norm, self.head = norm, embedding if head is None else head
        self.norm_shift, self.head_bias, self.planes = norm_shift, head_bias, 1
        rates = config.rope.frequencies(config.head)
        self.rates = rates if frequency_factors is None else rates / frequency_factors
        self.forwards = 0
        self._described = described(layers)
        self.deltas, self._bends = NONE, bends.described(NONE)
        self._dense = any(isinstance(layer.q, DenseMatrix) for layer in layers)
        self.tilt: np.ndarray | None = None

    def with_deltas(self, deltas: Deltas) -> Decoder:
        """Another decoder over the same weights, bent by these deltas alone.

        Raises:
            ValueError: a layer or map that this decoder does not have, or matrices of another size.
        """
        check_deltas(deltas, self.layers, self.config.width)
        bent = copy.copy(self)
        bent.__dict__.pop("fine", None)  # which is bent otherwise
        bent.deltas, bent._bends, bent.forwards = deltas, bends.described(deltas), 0
        return bent

    def with_tilt(self, tilt: np.ndarray) -> Decoder:
        """Another decoder over the same weights, for which every token has exp(-tilt) of its odds.

        Args:
            tilt: `(v,)`, the energy of every token; infinite bars it.
        """
        tilted = copy.copy(self)
        tilted.__dict__.pop("fine", None)
        tilted.tilt, tilted.forwards = np.asarray(tilt, np.float32), 0
        return tilted

    def cache(self) -> KVCache:
        return KVCache(self.config)

    def counted_anew(self) -> Decoder:
        """The same decoder, which counts its calls for itself."""
        made = copy.copy(self)
        made.forwards = 0
        return made

    def on_canvas(self, size: int) -> Decoder:
        """The same decoder writing one block of `size` places, prompt included; each sees every other.

        Raises:
            ValueError: it is of another kind, or has less context.
        """
        mask = self.config.canvas
        if mask is None or size > self.config.context:
            raise ValueError(
                f"a canvas of {size} places; this {self.config.family} model has {self.config.context}"
                if mask is not None
                else f"a {self.config.family} model fills no canvas"
            )
        made = copy.copy(self)
        made.__dict__.pop("fine", None)
        made.config = replace(self.config, canvas=None, blocks=Blocks(size, mask), context=size)
        return made

    @cached_property
    def fine(self) -> Decoder:
        """The same weights with activations of 16 bits: plain FP32's answers but for rounding in the last
        digits, at the price of two rows for one.
        """
        made = copy.copy(self)
        made.forwards, made.planes = 0, 2
        return made

    def forward(
        self,
        tokens: np.ndarray,
        cache: KVCache,
        mask: np.ndarray | None = None,
        positions: np.ndarray | None = None,
    ) -> np.ndarray:
        """Hidden states `(r, d)` of tokens `(r,)` behind the cached ones, whose keys and values stay in the
        cache.

        Args:
            mask: `(r, r)`, True where a row looks at a row; all see the cache. None is causal.
            positions: `(r,)`; None goes on from the cache.

        Raises:
            ValueError: a token that the vocabulary does not have, or more than the context.
        """
        tokens = np.ascontiguousarray(tokens, np.uint32)
        if not tokens.size or cache.length + len(tokens) > self.config.context:
            raise ValueError(
                f"{cache.length} tokens were read and {len(tokens)} come; the context holds "
                f"{self.config.context}"
            )
        if positions is None:
            positions = np.arange(cache.length, cache.length + len(tokens))
        cache.reserve(cache.length + len(tokens))
        x = np.ascontiguousarray(self.embedding.rows(tokens), np.float32)
        angle = positions[:, None] * self.rates
        loud = self.config.rope.amplitude
        cos, sin = (np.ascontiguousarray(loud * f(angle), np.float32) for f in (np.cos, np.sin))
        self.forwards += 1
        library = _native.library() if self._described is not None else None
        if library is None or self._described is None:
            x = self._layers_reference(x, cos, sin, mask, cache)
        else:
            self._layers(library, x, cos, sin, mask, cache)
        cache.length += len(tokens)
        return x

    def _layers(
        self,
        library: ctypes.CDLL,
        x: np.ndarray,
        cos: np.ndarray,
        sin: np.ndarray,
        mask: np.ndarray | None,
        cache: KVCache,
    ) -> None:
        c, rows = self.config, len(x)
        sizes = (c.layers, rows, cache.length, cache.capacity, c.width, c.heads, c.kv_heads, c.head)
        kind = (self.planes, c.rope.interleaved, c.centred, c.gelu)
        shape = _native.DecoderShape(*sizes, c.epsilon, *kind)
        may = None if mask is None else np.ascontiguousarray(mask, np.uint8)
        if may is not None and may.shape != (rows, rows):
            raise ValueError(f"the mask is {may.shape}; expected {(rows, rows)}")
        arrays = (
            _native.address(cos),
            _native.address(sin),
            _native.address(may),
            cache.addresses(),
            *(self._bends.refs, self._bends.count),
            *(self._bends.packed, len(self._bends.packed)),
            _native.address(x),
        )
        _native.checked(library.bowstring_decoder(ctypes.byref(shape), self._described, *arrays))

    def _layers_reference(
        self, x: np.ndarray, cos: np.ndarray, sin: np.ndarray, mask: np.ndarray | None, cache: KVCache
    ) -> np.ndarray:
        c, rows, n = self.config, len(x), cache.length
        own = np.tri(rows, dtype=bool) if mask is None else np.asarray(mask, bool)
        may = np.concatenate([np.ones((rows, n), bool), own], 1)
        for i, (layer, (keys, values)) in enumerate(zip(self.layers, cache.layers, strict=True)):
            y = self._normal(x, layer.attention_norm, layer.attention_shift)
            q, k, v = self._queries(i, layer, y)
            q, k = (
                rotated(x if norm is None else rms_norm(x, norm, c.epsilon), cos, sin, c.rope.interleaved)
                for x, norm in ((q, layer.q_norm), (k, layer.k_norm))
            )
            tile, place = np.divmod(np.arange(n, n + rows), TILE)
            keys[:, tile, :, place], values[:, n : n + rows] = k, v.transpose(1, 0, 2)
            begun = keys[:, : tile[-1] + 1]
            flat = begun.transpose(0, 2, 1, 3).reshape(c.kv_heads, c.head, -1)
            seen = [flat[:, :, : n + rows], values[:, : n + rows]]
            seen = [part.repeat(c.heads // c.kv_heads, 0) for part in seen]
            y = self._times(i, "out", attended(q.transpose(1, 0, 2), seen[0], seen[1], may))
            x = x + (y if layer.attention_gate is None else y * layer.attention_gate)
            x = x + self._fed(i, layer, self._normal(x, layer.ffn_norm, layer.ffn_shift))
            for branch in self.deltas.branches.get(i, ()):
                x = x + (branch(x, linear) if self._dense else branch.of_packed(x))
        return x

    def _normal(self, x: np.ndarray, weight: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
        """A row's norm, with its shift if it has one."""
        if self.config.centred:
            x = x - x.mean(-1, keepdims=True)
        y = rms_norm(x, weight, self.config.epsilon)
        return y if shift is None else y + shift

    def _product(self, matrix: Matrix, x: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        if isinstance(matrix, GroupedMatrix):
            return matrix.matmul(x, bias, self.planes)
        return matrix.matmul(x, bias)

    def _times(self, i: int, name: str, x: np.ndarray) -> np.ndarray:
        """A map of layer i and its delta, of rows `(r, inputs)`."""
        layer = self.layers[i]
        y = self._product(getattr(layer, name), x, getattr(layer, f"{name}_bias", None))
        return y + sum(delta(x, linear) for delta in self.deltas.low_rank.get((i, name), ()))

    def _fed(self, i: int, layer: LayerWeights, y: np.ndarray) -> np.ndarray:
        """What the feed-forward part adds."""
        both = self._times(i, "gate", y)
        if self.config.gelu:
            hidden = gelu(both)
        else:
            gate, up = np.split(both, 2, 1) if layer.up is None else (both, self._times(i, "up", y))
            with np.errstate(over="ignore"):  # infinity makes the right zero
                hidden = gate / (1 + np.exp(-gate)) * up
        made = self._times(i, "down", hidden)
        made = made if layer.ffn_gate is None else made * layer.ffn_gate
        return made if layer.ffn_bias is None else made + layer.ffn_bias

    def _queries(self, i: int, layer: LayerWeights, y: np.ndarray) -> list[np.ndarray]:
        """Queries, keys and values of rows, `(r, heads, h)` each."""
        c = self.config
        if layer.k is None or layer.v is None:
            edges = [c.heads * c.head, (c.heads + c.kv_heads) * c.head]
            made = np.split(self._times(i, "q", y), edges, 1)
        else:
            made = [self._times(i, name, y) for name in ("q", "k", "v")]
        return [part.reshape(len(y), -1, c.head) for part in made]

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """`(r, d) -> (r, v)` FP32."""
        found = self._product(self.head, self.normal(hidden), self.head_bias)
        return found if self.tilt is None else found - self.tilt

    def normal(self, hidden: np.ndarray) -> np.ndarray:
        """Hidden states `(r, d)` behind the last norm, which is how the readable network gives them."""
        return self._normal(hidden, self.norm, self.norm_shift)


def check_deltas(deltas: Deltas, layers: list[LayerWeights], width: int) -> None:
    """Refuses deltas that these layers have no place for.

    Raises:
        ValueError: a layer or map that is not there, or matrices of another size.
    """
    for i, name in [*deltas.low_rank, *((i, "") for i in deltas.branches)]:
        if not 0 <= i < len(layers):
            raise ValueError(f"a delta names layer {i}; this model has 0 to {len(layers) - 1}")
        if name and (name not in MAPS or getattr(layers[i], name) is None):
            there = [one for one in MAPS if getattr(layers[i], one) is not None]
            raise ValueError(f"there is no linear map {name!r} in layer {i}; it has {', '.join(there)}")
    for (i, name), some in deltas.low_rank.items():
        outputs, inputs = getattr(layers[i], name).shape
        for one in some:
            if (one.a.shape[1], one.outputs) != (inputs, outputs):
                raise ValueError(
                    f"a delta of layers.{i}.{name} maps {one.a.shape[1]} numbers to {one.outputs}; the map "
                    f"itself {inputs} to {outputs}"
                )
    for i, branches in deltas.branches.items():
        if any(one.down.shape[1] != width for one in branches):
            raise ValueError(f"a branch of layer {i} is not {width} wide, as the model is")


def described(layers: list[LayerWeights]) -> ctypes.Array | None:
    """The layers as the kernels take them; None where a matrix is plain. The arrays must outlive it."""
    made = []
    for layer in layers:
        one = _native.DecoderLayer()
        for field in fields(layer):
            part = getattr(layer, field.name)
            if field.name not in MAPS:
                setattr(one, field.name, _native.address(part))
            elif part is not None:
                if not isinstance(part, GroupedMatrix | PackedMatrix):
                    return None
                setattr(one, field.name, part.described)
        made.append(one)
    return (_native.DecoderLayer * len(made))(*made)


def gelu(x: np.ndarray) -> np.ndarray:
    """x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    return x * np.float32(0.5) * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + 0.044715 * x**3)))


def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    """x over its root mean square along the last axis, times a weight."""
    mean = np.square(x, dtype=np.float32).mean(-1, keepdims=True)
    return x * (1 / np.sqrt(mean + np.float32(epsilon))) * weight


def rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:  # noqa: FBT001
    """RoPE of `(r, heads, h)` by angles `(r, h / 2)`."""
    cos, sin = cos[:, None], sin[:, None]
    if interleaved:
        a, b = x[..., ::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)
    a, b = np.split(x, 2, -1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, may: np.ndarray) -> np.ndarray:
    """softmax(q k / sqrt(h)) v, `(r, heads h)`: q `(heads, r, h)`, k `(heads, h, n + r)`, v `(heads, n + r,
    h)`, under a mask `(r, n + r)`.
    """
    scores = np.where(may, q @ k / np.float32(np.sqrt(q.shape[-1])), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)
