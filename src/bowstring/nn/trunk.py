"""The shared trunk: a pre-norm transformer over tokens of any modality.

Shapes: b sequences, l positions, m entries of cross-attention, d width, h head size. Each token has a time
(noise level), a step size and a real-valued position; all of them broadcast over b and l, so that a sequence
whose tokens share a time pays for one modulation. This module knows nothing of vocabularies, pixels or files.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.conditioning import NOTHING, Conditioning, LayerConditioning, LowRank, side_by_side
from .config import HEAD, TIME_FEATURES, TIME_RANK, NetworkConfig

# linear maps of a layer, in the order of native/src/hooks.rs
MAPS = (
    *("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down"),
    *("cross.q", "cross.kv", "cross.out"),
)
Deltas = Mapping[str, tuple[LowRank, ...]]
SHORT = 128  # up to so many tokens plain products learn faster than torch's fused attention


def sinusoid(t: Tensor, features: int = TIME_FEATURES) -> Tensor:
    """Sinusoidal embedding of times in [0, 1], `(...) -> (..., features)` (Vaswani et al. 2017)."""
    rates = torch.exp(-math.log(10_000.0) * torch.arange(features // 2, device=t.device) / (features // 2))
    angle = 1000.0 * t.float().unsqueeze(-1) * rates
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


def mapped(linear: nn.Module, x: Tensor, deltas: Deltas, name: str) -> Tensor:
    """A linear map of x, with the deltas of its name."""
    y = linear(x)
    for delta in deltas.get(name, ()):
        y = y + delta(x)
    return y


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
        dtype, change = self.time.weight.dtype, sinusoid(step_size) - sinusoid(torch.zeros_like(step_size))
        features = self.time(sinusoid(t).to(dtype)) + self.step_size(change.to(dtype))
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
        self, x: Tensor, cos: Tensor, sin: Tensor, given: LayerConditioning
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        qkv = mapped(self.qkv, x, given.deltas, "attention.qkv")
        q, k, v = qkv.unflatten(-1, (3, self.attention_heads, HEAD)).permute(2, 0, 3, 1, 4)
        q = rotate(F.rms_norm(q, (HEAD,)) * self.q_norm, cos, sin).to(v.dtype)
        k = rotate(F.rms_norm(k, (HEAD,)) * self.k_norm, cos, sin).to(v.dtype)
        if given.past is not None:
            k, v = torch.cat([given.past[0], k], 2), torch.cat([given.past[1], v], 2)
        y = attend(q, k, v, given.mask).transpose(1, 2).flatten(2)
        return mapped(self.out, y, given.deltas, "attention.out"), (k, v)


class CrossAttention(nn.Module):
    """The slot for conditions and memory; its gate starts at zero, so an unused slot changes nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_heads = width // HEAD
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, given: LayerConditioning) -> Tensor:
        """Who may look at nothing gets nothing."""
        deltas = given.deltas
        q = mapped(self.q, F.rms_norm(x, x.shape[-1:]), deltas, "cross.q")
        q = q.unflatten(-1, (self.attention_heads, HEAD)).transpose(1, 2)
        kv, mask = self.seen(given)
        kv = kv.expand(len(x), -1, -1)
        k, v = kv.unflatten(-1, (2, self.attention_heads, HEAD)).permute(2, 0, 3, 1, 4)
        if mask is None:
            y = attend(q, k, v)
        else:
            may = (mask if mask.ndim == 3 else mask[:, None])[:, None]
            none = ~may.any(-1, keepdim=True)
            y = attend(q, k, v, may | none).masked_fill(none, 0.0)
        return torch.tanh(self.gate) * mapped(self.out, y.transpose(1, 2).flatten(2), deltas, "cross.out")

    def seen(self, given: LayerConditioning) -> tuple[Tensor, Tensor | None]:
        """Keys and values `(b|1, m, 2 d)` of the entries and of those that were read before; their mask."""
        fresh = None if given.entries is None else mapped(self.kv, given.entries, given.deltas, "cross.kv")
        kv, mask = side_by_side((fresh, given.entries_mask), (given.read, given.read_mask))
        assert kv is not None
        return kv, mask


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, width: int, ffn_hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * ffn_hidden, bias=False)
        self.down = nn.Linear(ffn_hidden, width, bias=False)

    def forward(self, x: Tensor, deltas: Deltas) -> Tensor:
        gate, value = mapped(self.up, x, deltas, "feed_forward.up").chunk(2, -1)
        return mapped(self.down, F.silu(gate) * value, deltas, "feed_forward.down")


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
        self, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor, given: LayerConditioning
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        x, present = self.attended(x, modulation, cos, sin, given)
        return self.finished(x, modulation, given), present

    def attended(
        self, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor, given: LayerConditioning
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The tokens after they have looked at each other, and their keys and values."""
        shift, scale, gate = (modulation + self.offset)[..., :3, :].unbind(-2)
        y, present = self.attention(
            torch.addcmul(shift, F.rms_norm(x, x.shape[-1:]), 1 + scale), cos, sin, given
        )
        return x + gate * y, present

    def finished(self, x: Tensor, modulation: Tensor, given: LayerConditioning) -> Tensor:
        """What the rest of the layer makes of attended tokens, each for itself."""
        shift, scale, gate = (modulation + self.offset)[..., 3:, :].unbind(-2)
        if self.cross is not None and (given.entries is not None or given.read is not None):
            x = x + self.cross(x, given)
        y = self.feed_forward(torch.addcmul(shift, F.rms_norm(x, x.shape[-1:]), 1 + scale), given.deltas)
        x = x + gate * y
        for branch in given.branches:
            x = x + branch(x)
        return x


class Trunk(nn.Module):
    """Tokens in, tokens out, `(b, l, d) -> (b, l, d)`; shared by every modality."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
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
        for name, parameter in self.layers.named_parameters():
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))
            elif parameter.ndim == 2 and not name.endswith("offset"):
                nn.init.normal_(parameter, std=0.02)

    def linear_maps(self) -> dict[str, nn.Module]:
        """Every linear map of the layers by its name, as `Conditioning.deltas` uses it."""
        modules = dict(self.named_modules())
        names = (f"layers.{i}.{name}" for i in range(len(self.layers)) for name in MAPS)
        return {name: modules[name] for name in names if name in modules}

    def _linear_map(self, name: str) -> nn.Module | None:
        """One of `linear_maps`, without a walk through all modules: every evaluation asks."""
        _, _, which = (*name.split(".", 2), "", "")[:3]
        try:
            return self.get_submodule(name) if which in MAPS else None
        except AttributeError:
            return None

    def check(self, conditioning: Conditioning) -> None:
        """Refuses what this trunk has no place for.

        Raises:
            ValueError: a layer that does not exist, a delta of an unknown map or of another size.
        """
        depth = len(self.layers)
        slots = [i for i, layer in enumerate(self.layers) if cast(Layer, layer).cross is not None]
        if beyond := sorted(set(conditioning.read) - set(slots)):
            raise ValueError(f"layer {beyond[0]} has no slot for entries; those of this trunk are {slots}")
        for what, layers, most in (
            ("added", conditioning.added, depth),
            ("branches", conditioning.branches, depth - 1),
        ):
            if beyond := [number for number in layers if not 0 <= number <= most]:
                raise ValueError(f"{what} names layer {beyond[0]}; this trunk has 0 to {most}")
        width = len(self.norm)
        for layer, branches in conditioning.branches.items():
            if any(one.down.shape[1] != width or len(one.up) != width for one in branches):
                raise ValueError(f"a branch of layer {layer} is not {width} wide, as the trunk is")
        for name, deltas in conditioning.deltas.items():
            if (found := self._linear_map(name)) is None:
                closest = difflib.get_close_matches(name, self.linear_maps(), 1)
                raise ValueError(
                    f"there is no linear map {name!r} in this trunk. Closest: {closest or 'none'}"
                )
            inputs, outputs = cast(int, found.in_features), cast(int, found.out_features)
            for delta in deltas:
                if (delta.inputs, delta.outputs) != (inputs, outputs):
                    raise ValueError(
                        f"a delta of {name} maps {delta.inputs} numbers to {delta.outputs}; the map "
                        f"itself {inputs} to {outputs}"
                    )

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        t: Tensor,
        step_size: Tensor | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        """Runs the layers and returns the tokens and each layer's keys and values, the cached ones included.

        Args:
            x: tokens with their modality embedding already added, `(b, l, d)`.
            position: on the clock, `(b|1, l)`, real-valued; or in a plane, `(b|1, l, 2)`.
            t: noise level of each token, `(b|1, l|1)`, 0 clean, 1 noise.
            step_size: size of the step this evaluation stands for, as `t`; None is the many-step limit 0.
        """
        self.check(conditioning)
        cos, sin = rotations(position)
        modulation = self.modulation(t, torch.zeros_like(t) if step_size is None else step_size)
        present = []
        for i, layer in enumerate(self.layers):
            x = x + conditioning.added[i] if i in conditioning.added else x
            x, keys_values = layer(x, modulation, cos, sin, conditioning.layer(i))
            present.append(keys_values)
        end = conditioning.added.get(len(self.layers))
        x = x if end is None else x + end
        return F.rms_norm(x, x.shape[-1:]) * self.norm, tuple(present)
