"""The second law for ensembles: whatever is noisy moves towards equilibrium, and at equilibrium nothing
flows.

A single trajectory's entropy may fall; the divergence of the law at time t from equilibrium never rises. Both
forward processes here have laws that are known exactly, so that can be checked at every step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.process import Gaussian


def gaussian_divergence(variance: Tensor, mean: Tensor) -> Tensor:
    """KL of independent Gaussians `(..., n)` from standard normal ones, nats, `(...)`."""
    return 0.5 * (variance + mean**2 - 1 - variance.log()).sum(-1)


def forward_divergence(process: Gaussian, power: Tensor, mean: Tensor, times: Tensor) -> Tensor:
    """KL of x_t from pure noise at each time, for Gaussian data with this power and mean of its modes
    `(n,)`.
    """
    alpha, sigma = process.scales(process.schedule.keep(times.double()))
    variance = alpha[:, None] ** 2 * power + sigma[:, None] ** 2
    return gaussian_divergence(variance, alpha[:, None] * mean)


def states(sites: int) -> Tensor:
    """All spin configurations, `(2^sites, sites)`."""
    codes = torch.arange(2**sites)
    return 1.0 - 2.0 * ((codes[:, None] >> torch.arange(sites)) & 1)


def ising_law(h: int, w: int, beta: float) -> Tensor:
    """Probabilities of all configurations of a small periodic Ising model, in the order of `states`."""
    x = states(h * w).view(-1, h, w)
    bonds = (x * (x.roll(1, 1) + x.roll(1, 2))).sum((1, 2)).double()
    return torch.softmax(beta * bonds, 0)


def flip_matrix(law: Tensor, sites: int) -> Tensor:
    """Transition matrix of heat-bath flips of one random site, which is in detailed balance with `law`."""
    n = len(law)
    matrix, codes = torch.zeros(n, n, dtype=torch.float64), torch.arange(n)
    for site in range(sites):
        other = codes ^ (1 << site)
        matrix[codes, other] = law[other] / (law + law[other]) / sites
    matrix[codes, codes] = 1 - matrix.sum(1)
    return matrix


def relaxation(law: Tensor, matrix: Tensor, start: Tensor, steps: int) -> Tensor:
    """KL of the law after 0, 1, ... steps from equilibrium, nats, `(steps + 1,)`."""
    now, out = start.double(), []
    for _ in range(steps + 1):
        out.append(torch.special.xlogy(now, now / law).sum())
        now = now @ matrix
    return torch.stack(out)


def balance_p_values(pairs: Tensor) -> Tensor:
    """Two-sided p-values that flows i -> j and j -> i are equal, from counts `(k, 2)` (normal
    approximation).
    """
    there, back = pairs.double().unbind(1)
    z = (there - back).abs() / (there + back).clamp(min=1).sqrt()
    return torch.special.erfc(z / math.sqrt(2))


def uniformity(p: Tensor) -> float:
    """Kolmogorov's p-value that these p-values are uniform."""
    ordered, n = p.double().sort().values, len(p)
    grid = torch.arange(1, n + 1, dtype=torch.float64) / n
    distance = float(torch.maximum(grid - ordered, ordered - grid + 1 / n).max())
    lam = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * lam * lam) for k in range(1, 101)))
