"""The network of physical fields on a torus: the trunk over patches.

Shapes: b fields of c channels, `(b, c, h, w)`; t `(b,)`; a condition `(b, n)`. The network answers with a
correction to a linear estimate that it is shown (`physics.denoise`), and starts by correcting nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..nn.config import NetworkConfig
from ..nn.trunk import Trunk, sinusoid

TIME_PAIRS = 64  # pairs of features of the time
LOCAL = 16  # channels of the convolutions at full resolution


@dataclass(frozen=True)
class Patches:
    """A way into the trunk: patches of `patch` sites, seen with half a patch around them."""

    channels: int  # in; the noisy field, its linear estimate, and what is given
    out: int
    patch: int


class PatchHead(nn.Module):
    """Windows of 2 p x 2 p sites at a stride of p become tokens; on the way back overlapping answers are
    added up and meet the sites themselves in three small convolutions, which know what is local, such as a
    site's own wells.
    """

    def __init__(self, shape: Patches, width: int) -> None:
        super().__init__()
        self.patch = shape.patch
        side, k = 2 * shape.patch, LOCAL
        self.up = nn.Conv2d(shape.channels, width, side, stride=shape.patch)
        self.down = nn.ConvTranspose2d(width, k, side, stride=shape.patch, bias=False)
        self.sites = nn.Conv2d(shape.channels, k, 3, padding=1, padding_mode="circular")
        self.shift = nn.Linear(width, 2 * k)
        self.mix = nn.Conv2d(k, 2 * k, 3, padding=1, padding_mode="circular")
        self.leave = nn.Conv2d(2 * k, shape.out, 1)
        nn.init.normal_(self.up.weight, std=(shape.channels * side * side) ** -0.5)
        for layer in (self.shift, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def embed(self, x: Tensor) -> Tensor:
        """`(b, c, h, w) -> (b, d, h / p, w / p)`."""
        half = self.patch // 2
        return self.up(F.pad(x, (half, half, half, half), mode="circular"))

    def spread(self, tokens: Tensor) -> Tensor:
        """`(b, d, h / p, w / p) -> (b, k, h, w)`."""
        p, half = self.patch, self.patch // 2
        y = self.down(tokens)
        for axis in (2, 3):  # what stands over the edge belongs to the other side
            n = y.shape[axis] - p
            first, rest, over = y.narrow(axis, 0, p), y.narrow(axis, p, n - p), y.narrow(axis, n, p)
            y = torch.cat([first + over, rest], axis).roll(-half, axis)
        return y

    def forward(self, tokens: Tensor, x: Tensor, told: Tensor) -> Tensor:
        """Tokens, what the network was shown `(b, c, h, w)`, time and condition `(b, d)` to `(b, out, h,
        w)`.
        """
        scale, shift = self.shift(told)[:, :, None, None].chunk(2, 1)
        y = F.silu(self.sites(x) * (1 + scale) + shift + self.spread(tokens))
        return self.leave(F.silu(self.mix(y)))


class FieldNetwork(nn.Module):
    """One trunk for all kinds of fields and scales, one small head for each shape of patch."""

    def __init__(self, config: NetworkConfig, heads: dict[str, Patches], conditions: int) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.heads = nn.ModuleDict({name: PatchHead(shape, config.width) for name, shape in heads.items()})
        self.condition = nn.Sequential(
            nn.Linear(conditions, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.time = nn.Linear(2 * TIME_PAIRS, config.width)
        self.forwards = 0

    def forward(self, head: str, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """`(b, c, h, w), (b,), (b, n) -> (b, out, h, w)`."""
        self.forwards += 1
        tokens = self.heads[head].embed(x)  # type: ignore[operator]
        h, w = tokens.shape[2:]
        row, column = torch.meshgrid(*(torch.arange(n, device=x.device) for n in (h, w)), indexing="ij")
        place = torch.stack([row, column], -1).view(1, h * w, 2).expand(len(x), -1, -1)
        told = F.silu(self.condition(condition) + self.time(sinusoid(t, 2 * TIME_PAIRS)))
        flat = tokens.flatten(2).transpose(1, 2) + told[:, None]
        hidden, _ = self.trunk(flat, place, t[:, None])
        return self.heads[head](hidden.transpose(1, 2).unflatten(2, (h, w)), x, told)
