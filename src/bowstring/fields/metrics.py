"""How far generated fields are from the law they should have: spectra, histograms, features, balances.

Shapes: fields `(n, h, w)`. Every distance has a floor: the same between two halves of real fields.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.options import whole
from ..energy.potential import EnergyPotential
from ..energy.projections import symbol

SPECTRUM_BANDS = 12


def band_powers(x: Tensor, bands: int = SPECTRUM_BANDS) -> Tensor:
    """Power per site of each field in bands of equal width of the lattice wave number, `(n, bands)`."""
    bands = whole(bands, "bands", 1)
    power = torch.fft.fft2(x.double()).abs().square() / x[0].numel()
    wave = (symbol(*x.shape[1:]) / 8).sqrt()
    band = (wave * bands).long().clamp(max=bands - 1)
    return torch.stack([power[:, band == i].mean(1) for i in range(bands)], 1)


def spectrum(x: Tensor, bands: int = SPECTRUM_BANDS) -> tuple[Tensor, Tensor]:
    """Mean power per site in bands of equal width of the lattice wave number, and its standard error."""
    each = band_powers(x, bands)
    return each.mean(0), each.std(0) / math.sqrt(len(x))


def spectrum_error(made: Tensor, real: Tensor, bands: int = SPECTRUM_BANDS) -> Tensor:
    """Relative error of the power in each band, `(bands,)`."""
    return (spectrum(made, bands)[0] / spectrum(real, bands)[0] - 1).abs()


def histogram_divergence(made: Tensor, real: Tensor, bins: int = 20) -> float:
    """KL divergence of the histogram of `made` from that of `real`, nats, in bins that hold equal shares of
    `real`; half a draw is added to each bin.
    """
    bins = whole(bins, "bins", 2)
    edges = real.double().quantile(
        torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=real.device)[1:-1]
    )
    p, q = (torch.bucketize(v.double(), edges).bincount(minlength=bins) + 0.5 for v in (made, real))
    p, q = p / p.sum(), q / q.sum()
    return float((p * (p / q).log()).sum())


def field_statistics(x: Tensor, energy: EnergyPotential) -> Tensor:
    """What a field is judged by, `(n, 22)`: mean and its size, moments, energy, terms of bonds at four
    distances and on the diagonal, log power in twelve bands.
    """
    flat, n = x.flatten(1).double(), x[0].numel()
    bonds = [(x * x.roll(shift, 2)).double().mean((1, 2)) for shift in (1, 2, 4, 8)]
    columns = [
        flat.mean(1),
        flat.mean(1).abs(),
        flat.square().mean(1),
        flat.pow(4).mean(1),
        energy(x).double() / n,
        *bonds,
        (x * x.roll((1, 1), (1, 2))).double().mean((1, 2)),
        *band_powers(x).log().unbind(1),
    ]
    return torch.stack(columns, 1)
