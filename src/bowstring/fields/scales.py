"""Scales of a field: block means and Haar details, and the Gaussian law of one given the other.

Shapes: fields `(b, h, w)`, details `(b, 3, h / 2, w / 2)`. A field is the mean of each 2 x 2 block and three
differences within it, so whatever the details are, the coarse field and its mass stay what they were.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SIGNS = torch.tensor(
    [[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [1.0, -1.0, -1.0, 1.0]]
)


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Means of 2 x 2 blocks `(b, h / 2, w / 2)`, and details.

    >>> x = torch.randn(1, 4, 6)
    >>> torch.allclose(unhaar(*haar(x)), x, atol=1e-6)
    True
    """
    quads = x.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).permute(0, 2, 4, 1, 3).flatten(1, 2)
    parts = torch.einsum("ij,bjhw->bihw", SIGNS.to(x) / 4, quads)
    return parts[:, 0], parts[:, 1:]


def unhaar(mean: Tensor, details: Tensor) -> Tensor:
    """The field with these block means and details, `(b, 2 h, 2 w)`."""
    parts = torch.cat([mean[:, None], details], 1)
    quads = torch.einsum("ij,bihw->bjhw", SIGNS.to(mean), parts)
    return quads.unflatten(1, (2, 2)).permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2)


def covariance(power: Tensor) -> Tensor:
    """Covariance of (mean, details) in Fourier space when the fine modes have this power per site.

    `(b, 2 h, 2 w) -> (b, h, w, 4, 4)` complex: each coarse mode mixes the four fine modes that fold onto it.
    """
    h, w = power.shape[1:]
    place = (torch.arange(n, dtype=torch.float64, device=power.device) / n for n in (h, w))
    turn = [torch.exp(2j * math.pi * along) for along in place]
    plus, minus = [(1 + z) / 2 for z in turn], [(1 - z) / 2 for z in turn]
    pairs = ((plus, plus), (plus, minus), (minus, plus), (minus, minus))  # in the order of SIGNS
    filters = torch.stack([rows[0][:, None] * columns[1][None] for rows, columns in pairs], -1)
    full = filters[..., :, None] * filters[..., None, :].conj() * power.double()[..., None, None]
    folded = full.unflatten(1, (2, h // 2)).unflatten(3, (2, w // 2))
    return folded.sum((1, 3)) / 4


def filtered(x: Tensor, gain: Tensor) -> Tensor:
    """A field `(b, h, w)` through complex gains `(b, h, w, c)`, `(b, c, h, w)`."""
    modes = torch.fft.fft2(x)[..., None] * gain
    return torch.fft.ifft2(modes, dim=(1, 2)).real.permute(0, 3, 1, 2)


def given_mean(power: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """How details follow from noisy block means, were the field Gaussian.

    Args:
        power: of the fine field's modes, `(b, 2 h, 2 w)`.
        noise: variance per site that was added to the means, `(b,)`.

    Returns:
        gains `(b, h, w, 3)` for `filtered`, and the power per site of what they leave unsaid, `(b, 3, h, w)`.
    """
    s = covariance(power)
    seen = s[..., 0, 0].real + noise.double()[:, None, None]
    gain = s[..., 1:, 0] / seen[..., None].clamp(min=1e-12)
    left = torch.diagonal(s[..., 1:, 1:], dim1=-2, dim2=-1).real - gain.abs() ** 2 * seen[..., None]
    return gain.to(torch.complex64), left.clamp(min=1e-12).permute(0, 3, 1, 2).float()
