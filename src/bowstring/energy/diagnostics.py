"""Have the chains mixed, and how many independent draws are they worth?

Shapes: n draws of b chains, `(n, b)`, of one observable. Formulas of Vehtari et al. 2021 (arXiv
1903.08008): chains are split in halves, ranks are turned into normal scores.
"""

from __future__ import annotations

import torch
from torch import Tensor


def split(draws: Tensor) -> Tensor:
    """Both halves of every chain as chains, `(n, b) -> (n // 2, 2 b)`."""
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[len(draws) - half :]], 1)


def normal_scores(draws: Tensor) -> Tensor:
    """Ranks over all chains as quantiles of a normal law; ties share their mean rank."""
    flat = draws.flatten()
    order = flat.argsort()
    rank = torch.empty(len(flat), dtype=torch.float64)
    rank[order] = torch.arange(1, len(flat) + 1, dtype=torch.float64)
    _, index, count = flat.unique(return_inverse=True, return_counts=True)
    mean = torch.zeros(len(count), dtype=torch.float64).index_add_(0, index, rank) / count
    return torch.special.ndtri((mean[index] - 0.375) / (len(flat) + 0.25)).view_as(draws)


def autocovariance(draws: Tensor) -> Tensor:
    """Of each chain at every lag, `(n, b)`, divided by n."""
    n = len(draws)
    centred = draws.double() - draws.double().mean(0)
    waves = torch.fft.rfft(centred, 2 * n, dim=0)
    return torch.fft.irfft(waves.abs() ** 2, 2 * n, dim=0)[:n] / n


def effective_size(draws: Tensor) -> float:
    """Independent draws that estimate the mean as well as these `(n, b)`; chains that never move give NaN."""
    chains = split(draws)
    n, b = chains.shape
    covariance = autocovariance(chains)
    within = covariance[0].mean() * n / (n - 1)
    if within <= 0:
        return float("nan")
    var = within * (n - 1) / n + (chains.double().mean(0).var() if b > 1 else 0.0)
    rho = 1 - (within - covariance.mean(1) * n / (n - 1)) / var
    pairs = rho[: 2 * (n // 2)].view(-1, 2).sum(1)  # Geyer: sums of neighbours are positive and fall
    positive = int((pairs <= 0).nonzero()[0]) if bool((pairs <= 0).any()) else len(pairs)
    falling = pairs[: max(positive, 1)].cummin(0).values
    tau = max(float(-1 + 2 * falling.sum()), 1 / torch.log10(torch.tensor(float(n * b))).item())
    return n * b / tau


def bulk_size(draws: Tensor) -> float:
    """Effective size of the normal scores: for means and medians of any law."""
    return effective_size(normal_scores(draws))


def tail_size(draws: Tensor) -> float:
    """The smaller effective size of being below the 5 % and the 95 % quantile."""
    flat = draws.flatten().double()
    return min(effective_size((draws <= flat.quantile(q)).double()) for q in (0.05, 0.95))


def r_hat(draws: Tensor) -> float:
    """Split R-hat of the normal scores and of their folded version, the larger: 1 when chains agree."""

    def plain(x: Tensor) -> float:
        chains = split(x).double()
        n = len(chains)
        within, between = chains.var(0).mean(), chains.mean(0).var()
        return float(((n - 1) / n + between / within).sqrt()) if within > 0 else float("inf")

    folded = (draws - draws.flatten().median()).abs()
    return max(plain(normal_scores(draws)), plain(normal_scores(folded)))


def virial(x: Tensor, score: Tensor) -> Tensor:
    """-<x score> per site of every draw, `(..., b)`: kT on average over exp(-E / kT), whatever the energy.

    Args:
        x, score: `(b, ...)`, the score of the energy (not divided by kT).
    """
    return -(x * score).flatten(1).mean(1)


def frechet(a: Tensor, b: Tensor, scale: Tensor | None = None) -> float:
    """Frechet distance of two sets of features `(n, d)`, each feature divided by its standard deviation in
    `scale` (b by default): |mean difference|^2 + trace(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017).
    """
    unit = (b if scale is None else scale).std(0).clamp(min=1e-12)
    a, b = a / unit, b / unit
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * roots.sum())
