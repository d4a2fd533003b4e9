"""Have the chains mixed, and how many independent draws are they worth?

Shapes: n draws of each of b chains, `(b, n)`, of one observable. Formulas of Vehtari et al. 2021 (arXiv
1903.08008): chains are split in halves, ranks are turned into normal scores. Fewer than 4 draws
say nothing: sizes are NaN, R-hat is infinite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.loop import flat


def split_halves(draws: Tensor) -> Tensor:
    """Both halves of every chain as chains, `(b, n) -> (2 b, n // 2)`."""
    half = draws.shape[1] // 2
    return torch.cat([draws[:, :half], draws[:, draws.shape[1] - half :]])


def normal_scores(draws: Tensor) -> Tensor:
    """Ranks over all chains as quantiles of a normal law; ties share their mean rank."""
    values = draws.flatten()
    order = values.argsort()
    rank = torch.empty_like(values, dtype=torch.float64)
    rank[order] = torch.arange(1, len(values) + 1, dtype=torch.float64, device=values.device)
    _, index, count = values.unique(return_inverse=True, return_counts=True)
    mean = rank.new_zeros(len(count)).index_add_(0, index, rank) / count
    return torch.special.ndtri((mean[index] - 0.375) / (len(values) + 0.25)).view_as(draws)


def autocovariance(draws: Tensor) -> Tensor:
    """Of each chain at every lag, `(b, n)`, divided by n."""
    n = draws.shape[1]
    centred = draws.double() - draws.double().mean(1, keepdim=True)
    waves = torch.fft.rfft(centred, 2 * n)
    return torch.fft.irfft(waves.abs() ** 2, 2 * n)[:, :n] / n


def effective_size(draws: Tensor) -> float:
    """Independent draws that estimate the mean as well as these `(b, n)`; NaN of chains that never move, or
    of fewer than 4 draws each.
    """
    if draws.shape[1] < 4:
        return float("nan")
    chains = split_halves(draws)
    b, n = chains.shape
    covariance = autocovariance(chains)
    within = covariance[:, 0].mean() * n / (n - 1)
    if not within > 0:
        return float("nan")
    var = within * (n - 1) / n + chains.double().mean(1).var()
    rho = 1 - (within - covariance.mean(0) * n / (n - 1)) / var
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
    edges = (draws.flatten().double().sort().values[round(q * (draws.numel() - 1))] for q in (0.05, 0.95))
    return min(effective_size((draws <= edge).double()) for edge in edges)


def r_hat(draws: Tensor) -> float:
    """Split R-hat of the normal scores and of their folded version, the larger: 1 when chains agree."""

    def plain(x: Tensor) -> float:
        chains = split_halves(x).double()
        n = chains.shape[1]
        within, between = chains.var(1).mean(), chains.mean(1).var()
        return float(((n - 1) / n + between / within).sqrt()) if within > 0 else float("inf")

    if draws.shape[1] < 4:
        return float("inf")
    folded = (draws - draws.flatten().median()).abs()
    return max(plain(normal_scores(draws)), plain(normal_scores(folded)))


def virial(x: Tensor, score: Tensor) -> Tensor:
    """-<x score> per site of every draw, `(..., b)`: kT on average over exp(-E / kT), whatever the energy.

    Args:
        x, score: `(b, ...)`, the score of the energy (not divided by kT).
    """
    return -flat(x * score).mean(1)


def frechet(a: Tensor, b: Tensor, scale: Tensor | None = None) -> float:
    """Frechet distance of two sets of features `(n, d)`, each feature divided by its standard deviation in
    `scale` (b by default): |mean difference|^2 + trace(A + B - 2 (A B)^(1/2)) (Heusel et al. 2017).
    """
    unit = (b if scale is None else scale).std(0).clamp(min=1e-12)
    a, b = a / unit, b / unit
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.clamp(min=0).sqrt()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * roots.sum())
