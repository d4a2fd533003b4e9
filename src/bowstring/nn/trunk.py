"""The shared trunk: a pre-norm transformer over tokens of any modality.

Shapes: b sequences, l positions, m condition tokens, d width, h head size. Each token has a time (noise
level), a step size and a real-valued position; all of them broadcast over b and l, so that a sequence whose
tokens share a time pays for one modulation. This module knows nothing of vocabularies, pixels or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import HEAD, MODALITIES, NetworkConfig

TIME_FEATURES = 256
TIME_RANK = 128
SHORT = 128  # up to so many tokens plain products learn faster than torch's fused attention


@dataclass(frozen=True)
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


def sinusoid(t: Tensor, features: int = TIME_FEATURES) -> Tensor:
    """Sinusoidal embedding of times in [0, 1], `(...) -> (..., features)` (Vaswani et al. 2017)."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(features // 2, device=t.device) / (features // 2))
    angle = 1000.0 * t.unsqueeze(-1) * rates
    return torch.cat([angle.sin(), angle.cos()], -1)


def rotations(position: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of RoPE at real-valued positions, `(b, l) -> (b, 1, l, h/2)` each (Su et al. 2021).

    Positions in a plane, `(b, l, 2)`, give each axis half of the rates.
    """
    if position.ndim == 3:
        rows, columns = (angles(position[..., i], HEAD // 4) for i in range(2))
        angle = torch.cat([rows, columns], -1)
    else:
        angle = angles(position, HEAD // 2)
    return angle.cos(), angle.sin()


def angles(position: Tensor, count: int) -> Tensor:
    """`(b, l) -> (b, 1, l, count)`."""
    rates = 10_000.0 ** (-torch.arange(count, device=position.device) / count)
    return position[:, None, :, None].float() * rates


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(h)) v, `(b, heads, l, h)`. Backwards the fused kernel needs four times as long as
    plain products on sequences as short as a picture's.
    """
    if not q.requires_grad or max(q.shape[2], k.shape[2]) > SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
    return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1) @ v


class TimeModulation(nn.Module):
    """adaLN-single: one small network turns (t, step size) into six vectors that every layer shares.

    Both start without effect: the last map is zero, and so is the step size's own map.
    Source: Chen et al. 2023, arXiv 2310.00426, section 2.3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(TIME_FEATURES, TIME_RANK)
        self.step_size = nn.Linear(TIME_FEATURES, TIME_RANK, bias=False)
        self.out = nn.Linear(TIME_RANK, 6 * width)
        for layer in (self.step_size, self.out):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.out.bias)

    @torch.no_grad()
    def damp(self, share: float) -> None:
        """Times matter less, `share` of what they did, and what is made of time 0 stays as it is. A network
        that has seen time 0 alone makes arbitrary, large things of the others.
        """
        zero = sinusoid(torch.zeros((), device=self.time.weight.device))
        self.time.bias.add_((1 - share) * (self.time.weight @ zero))
        self.time.weight.mul_(share)

    def forward(self, t: Tensor, step_size: Tensor) -> Tensor:
        """`(b|1, l|1)` twice -> `(b|1, l|1, 6, d)`."""
        features = self.time(sinusoid(t)) + self.step_size(
            sinusoid(step_size) - sinusoid(torch.zeros_like(step_size))
        )
        return self.out(F.silu(features)).unflatten(-1, (6, -1))


class Attention(nn.Module):
    """Self-attention with QK-norm and RoPE."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_heads = width // HEAD
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.q_norm = nn.Parameter(torch.ones(HEAD))
        self.k_norm = nn.Parameter(torch.ones(HEAD))

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.attention_heads, HEAD)).permute(2, 0, 3, 1, 4)
        q = rotate(F.rms_norm(q, (HEAD,)) * self.q_norm, cos, sin).to(v.dtype)
        k = rotate(F.rms_norm(k, (HEAD,)) * self.k_norm, cos, sin).to(v.dtype)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = attend(q, k, v, mask)
        return self.out(y.transpose(1, 2).flatten(2)), (k, v)


class CrossAttention(nn.Module):
    """The slot for conditions and memory; its gate starts at zero, so an unused slot changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_heads = width // HEAD
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """mask: `(b, m)`, or `(b, l, m)` where tokens differ; who may look at nothing gets nothing."""
        q = self.q(F.rms_norm(x, x.shape[-1:])).unflatten(-1, (self.attention_heads, HEAD)).transpose(1, 2)
        k, v = self.kv(memory).unflatten(-1, (2, self.attention_heads, HEAD)).permute(2, 0, 3, 1, 4)
        if mask is None:
            y = attend(q, k, v)
        else:
            may = (mask if mask.ndim == 3 else mask[:, None])[:, None]
            none = ~may.any(-1, keepdim=True)
            y = attend(q, k, v, may | none).masked_fill(none, 0.0)
        return torch.tanh(self.gate) * self.out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, width: int, ffn_hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * ffn_hidden, bias=False)
        self.down = nn.Linear(ffn_hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * value)


class Layer(nn.Module):
    def __init__(self, width: int, ffn_hidden: int, with_cross: bool) -> None:  # noqa: FBT001
        super().__init__()
        self.attention = Attention(width)
        self.cross = CrossAttention(width) if with_cross else None
        self.feed_forward = FeedForward(width, ffn_hidden)
        offset = torch.zeros(6, width)
        offset[2] = offset[5] = 1.0  # gates start open; the output projections start small instead
        self.offset = nn.Parameter(offset)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        past: tuple[Tensor, Tensor] | None,
        memory: Tensor | None,
        memory_mask: Tensor | None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (modulation + self.offset).unbind(-2)
        y, present = self.attention(
            torch.addcmul(shift_a, F.rms_norm(x, x.shape[-1:]), 1 + scale_a), cos, sin, mask, past
        )
        x = x + gate_a * y
        if memory is not None and self.cross is not None:
            x = x + self.cross(x, memory, memory_mask)
        y = self.feed_forward(torch.addcmul(shift_f, F.rms_norm(x, x.shape[-1:]), 1 + scale_f))
        return x + gate_f * y, present


class Trunk(nn.Module):
    """Tokens in, tokens out, `(b, l, d) -> (b, l, d)`; shared by every modality."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.modality = nn.Embedding(len(MODALITIES), config.width)
        self.modulation = TimeModulation(config.width)
        self.layers = nn.ModuleList(
            Layer(
                config.width, config.ffn_hidden, with_cross=i % config.cross_every == config.cross_every - 1
            )
            for i in range(config.depth)
        )
        self.norm = nn.Parameter(torch.ones(config.width))
        self._initialise(config.depth)

    def _initialise(self, depth: int) -> None:
        nn.init.normal_(self.modality.weight, std=0.02)
        for name, parameter in self.layers.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))
            elif parameter.ndim == 2 and not name.endswith("offset"):
                nn.init.normal_(parameter, std=0.02)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        t: Tensor,
        step_size: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        """Runs the layers and returns the tokens and each layer's keys and values, the cached ones included.

        Args:
            x: tokens with their modality embedding already added, `(b, l, d)`.
            position: on the clock, `(b, l)`, real-valued; or in a plane, `(b, l, 2)`.
            t: noise level of each token, `(b|1, l|1)`, 0 clean, 1 noise.
            step_size: size of the step this evaluation stands for, as `t`; None is the many-step limit 0.
            mask: True where a query may look, `(b|1, 1, l, n + l)`, n cached tokens first.
            memory: condition tokens `(b, m, d)` with `memory_mask` `(b, m)` True where real, or `(b, l, m)`
                True where a token may look.
        """
        cos, sin = rotations(position)
        modulation = self.modulation(t, torch.zeros_like(t) if step_size is None else step_size)
        present = []
        for i, layer in enumerate(self.layers):
            past = None if cache is None else cache.layers[i]
            x, keys_values = layer(x, modulation, cos, sin, mask, past, memory, memory_mask)
            present.append(keys_values)
        return F.rms_norm(x, x.shape[-1:]) * self.norm, tuple(present)
