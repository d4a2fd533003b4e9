"""How clean becomes noisy: schedules, Gaussian and masked processes, time grids.

Times run from 0 (clean) to 1 (noise). One family of schedules serves both processes: `keep(t)` falls from 1
to 0; a masked process keeps a token with that probability, a Gaussian one keeps that share of the signal.
Shapes: b samples, l positions, v tokens. This module knows nothing of networks, files or text.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .loop import Denoise
from .options import real, whole
from .rng import Rng


@dataclass(frozen=True)
class Schedule:
    """`keep(t)` and its name; build your own from any function that falls from keep(0) = 1 to keep(1) = 0.

    Raises:
        ValueError: the function does not fall from 1 to 0.
    """

    name: str
    keep: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        grid = self.keep(torch.linspace(0, 1, 65, dtype=torch.float64))
        ends = abs(grid[0] - 1) <= 1e-6 and abs(grid[-1]) <= 1e-3
        if not (ends and bool((grid.diff() <= 1e-9).all())):
            raise ValueError(
                f"schedule {self.name!r} must fall from 1 at t = 0 to 0 at t = 1; it goes from "
                f"{grid[0]:.4g} to {grid[-1]:.4g}"
            )

    def fallen(self, t: Tensor) -> Tensor:
        """1 - keep(t): the time of the linear schedule that hides as much."""
        return 1 - self.keep(t)

    def hazard(self, t: Tensor) -> Tensor:
        """-keep'(t) / (1 - keep(t)): how fast tokens are revealed, per masked token, when time runs back."""
        with torch.enable_grad():
            u = t.detach().double().requires_grad_()
            kept = self.keep(u)
            (slope,) = torch.autograd.grad(kept.sum(), u)
        return (-slope / (1 - kept.detach())).to(t.dtype)


linear = Schedule("linear", lambda t: 1 - t)
cosine = Schedule(
    "cosine", lambda t: torch.cos(math.pi / 2 * t) ** 2
)  # Nichol & Dhariwal 2021 without their offset
square_root = Schedule("sqrt", lambda t: 1 - t.sqrt())  # Li et al. 2022 without their offset
linear_beta = Schedule(
    "linear-beta", lambda t: torch.exp(-(0.1 * t + 9.95 * t**2))
)  # Song et al. 2021, beta 0.1 .. 20
SCHEDULES = {one.name: one for one in (linear, cosine, square_root, linear_beta)}


def custom(times: Sequence[float], keep: Sequence[float]) -> Schedule:
    """The schedule with these values at these times, linear in between.

    >>> custom([0, 0.5, 1], [1, 0.9, 0]).keep(torch.tensor([0.25, 0.75]))
    tensor([0.9500, 0.4500])

    Raises:
        ValueError: times do not rise from 0 to 1, or values do not fall from 1 to 0.
    """
    at = [real(t, f"times[{i}]", 0, 1) for i, t in enumerate(times)]
    values = [real(k, f"keep[{i}]", 0, 1) for i, k in enumerate(keep)]
    rising = len(at) > 1 and all(a < b for a, b in itertools.pairwise(at))
    if not rising or (at[0], at[-1]) != (0, 1) or len(values) != len(at):
        raise ValueError(f"times are {at} for {len(values)} values; expected as many, rising from 0 to 1")
    places, levels = torch.tensor(at, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)

    def interpolated(t: Tensor) -> Tensor:
        knots, known = places.to(t.device), levels.to(t.device)
        right = torch.searchsorted(knots, t.detach().double().contiguous()).clamp(1, len(at) - 1)
        share = (t - knots[right - 1]) / (knots[right] - knots[right - 1])
        return torch.lerp(known[right - 1], known[right], share.double()).to(t.dtype)

    return Schedule("custom", interpolated)


def grid(times: Sequence[float]) -> Tensor:
    """Times of a loop as they are given, `(n + 1,)`.

    Raises:
        ValueError: fewer than two, outside of 0 to 1, or not falling.
    """
    at = [real(t, f"times[{i}]", 0, 1) for i, t in enumerate(times)]
    if len(at) < 2 or not all(a > b for a, b in itertools.pairwise(at)):
        raise ValueError(f"times are {at}; expected at least two, falling from noise (1) to clean (0)")
    return torch.tensor(at)


def uniform(n: int) -> Tensor:
    """n equal steps from 1 to 0, `(n + 1,)`."""
    return torch.linspace(1, 0, whole(n, "steps", 1) + 1)


def nonuniform(n: int, warp: Callable[[Tensor], Tensor]) -> Tensor:
    """n steps whose times are `warp` of equal ones, for example `lambda u: u**2` to spend more near clean."""
    return warp(uniform(n))


def falling(n: int, schedule: Schedule) -> Tensor:
    """n steps along a straight path whose noise falls as in a schedule: times are 1 - keep(u) at equal u; the
    linear schedule gives equal steps.

    >>> falling(2, cosine)
    tensor([1.0000, 0.5000, 0.0000])
    """
    return uniform(n) if schedule is linear else schedule.fallen(uniform(n))


def karras(n: int, schedule: Schedule, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """Times whose noise-to-signal ratios follow Karras et al. 2022 (arXiv 2206.00364, eq. 5), for a
    variance-preserving process; the last time is 0."""
    low = real(low, "low", above=0)
    high, rho = real(high, "high", above=low), real(rho, "rho", above=0)
    ramp = torch.linspace(1, 0, whole(n, "steps", 1), dtype=torch.float64)
    ratio = (low ** (1 / rho) + ramp * (high ** (1 / rho) - low ** (1 / rho))) ** rho
    target = 1 / (1 + ratio**2)
    below, above = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(60):  # keep is monotone: bisection inverts it to rounding
        middle = (below + above) / 2
        noisy = schedule.keep(middle) < target
        below, above = torch.where(noisy, below, middle), torch.where(noisy, middle, above)
    return torch.cat([middle, middle.new_zeros(1)]).float()


def variance_preserving(keep: Tensor) -> tuple[Tensor, Tensor]:
    """alpha^2 = keep, alpha^2 + sigma^2 = 1."""
    return keep.clamp(min=0).sqrt(), (1 - keep).clamp(min=0).sqrt()


def rectified(keep: Tensor) -> tuple[Tensor, Tensor]:
    """alpha = keep, sigma = 1 - keep: straight lines (Liu et al. 2022, arXiv 2209.03003)."""
    return keep, 1 - keep


def like(t: Tensor, x: Tensor) -> Tensor:
    """`(b,)` shaped so that it broadcasts over x `(b, ...)`."""
    return t.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype if x.is_floating_point() else t.dtype)


@dataclass(frozen=True)
class Gaussian:
    """x_t = alpha x_0 + sigma eps. `denoise` returns the mean of x_0."""

    schedule: Schedule = cosine
    scales: Callable[[Tensor], tuple[Tensor, Tensor]] = variance_preserving

    def at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at t, broadcast over x."""
        alpha, sigma = self.scales(self.schedule.keep(t.double()))
        return like(alpha, x), like(sigma, x)

    def prior(self, rng: Rng, *shape: int) -> Tensor:
        """Pure noise, `(b, *shape)`."""
        return rng.normal(*shape)

    def corrupt(self, x_0: Tensor, t: Tensor, rng: Rng) -> Tensor:
        alpha, sigma = self.at(t, x_0)
        return alpha * x_0 + sigma * rng.normal(*x_0.shape[1:]).to(x_0.dtype)

    def loss(self, denoise: Denoise, x_0: Tensor, t: Tensor, rng: Rng) -> Tensor:
        """Mean squared error of the predicted noise, `(b,)`; the exact denoiser minimises it."""
        alpha, sigma = self.at(t, x_0)
        error = denoise(self.corrupt(x_0, t, rng), t) - x_0
        return (alpha / sigma * error).flatten(1).square().mean(1)


@dataclass(frozen=True)
class Masked:
    """Each token is masked with probability 1 - keep(t), on its own. `denoise` returns logits."""

    mask_id: int
    schedule: Schedule = linear

    def prior(self, rng: Rng, *shape: int) -> Tensor:
        """Everything masked, `(b, *shape)`."""
        return torch.full((len(rng.sample), *shape), self.mask_id, device=rng.device)

    def corrupt(self, x_0: Tensor, t: Tensor, rng: Rng) -> Tensor:
        hidden = rng.uniform(*x_0.shape[1:]) >= like(self.schedule.keep(t), x_0)
        return torch.where(hidden, self.mask_id, x_0)

    def nelbo(self, logits: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Negative evidence lower bound of each sequence, nats, `(b,)`.

        One draw of (t, x_t) with t uniform gives an unbiased estimate; with the exact denoiser its mean is
        the entropy of the data.

        Raises:
            ValueError: `x_t` disagrees with `x_0` at a visible position.

        Source: Sahoo et al. 2024, arXiv 2406.07524, eq. 10.
        """
        masked = x_t == self.mask_id
        if bool((~masked & (x_t != x_0)).any()):
            raise ValueError(
                "x_t disagrees with x_0 at a visible position; corrupt x_0 with the process that scores it"
            )
        nll = F.cross_entropy(logits.flatten(0, 1), x_0.flatten(), reduction="none").view_as(x_0)
        return self.schedule.hazard(t) * (nll * masked).sum(1)

    def nelbo_exact_count(self, denoise: Denoise, x_0: Tensor, rng: Rng, count: Tensor) -> Tensor:
        """The same bound with exactly `count` `(b,)` of the l positions masked and weight l / count, nats.

        Its mean over count uniform in 1..l is the bound of every schedule, with less variance.
        """
        length = x_0.shape[1]
        rank = rng.uniform(length).argsort(1).argsort(1)
        x_t = torch.where(rank < count[:, None], self.mask_id, x_0)
        logits = denoise(x_t, count / length)
        nll = F.cross_entropy(logits.flatten(0, 1), x_0.flatten(), reduction="none").view_as(x_0)
        return length / count * (nll * (x_t == self.mask_id)).sum(1)
