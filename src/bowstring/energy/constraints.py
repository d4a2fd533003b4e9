"""Energies and constraints where they belong: on the clean state that a denoiser believes in, not on x_t.

Each function makes a denoiser from a denoiser or a step from a step, and serves fields, pictures and tokens
alike. Two things are offered and differ: `tilted` changes the law towards p(x_0) exp(-eta E(x_0));
`project_x_0`, and `project_final` of the loop, put samples on a set, which is not the law conditioned on it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.loop import Denoise, each, flat
from ..core.options import real, whole
from ..core.process import Gaussian
from .potential import Energy, Force, force_of
from .projections import Project

Filter = Callable[[Tensor], Tensor]


def shaping_filter(variance: Tensor) -> Filter:
    """Gives white noise this variance of each mode of the last two axes, or of each value where it is
    `(b, 1, ..)`.
    """
    root = variance.sqrt()
    if variance.shape[-1] == 1:
        return lambda x: x * root
    return lambda x: torch.fft.ifft2(torch.fft.fft2(x) * root).real


def prox(mean: Tensor, shape: Filter, energy: Energy, eta: float, rounds: int, close: float) -> Tensor:
    """argmin over x of |y|^2 / 2 + eta E(x) with x = mean + shape(y): the nearest point, in the metric of
    the posterior covariance, that the energy likes; each sample takes Barzilai and Borwein's steps on its
    own.
    """
    force = force_of(energy)
    y, x, step = torch.zeros_like(mean), mean, None
    last_y, last_slope = y, y
    for _ in range(rounds):
        slope = y - eta * shape(force(x))
        if step is None:
            step = torch.full_like(flat(mean)[:, :1], 1.0)
            step = step / (1 + curvature(y, slope, mean, shape, force, eta))
        else:
            dy, ds = flat(y - last_y), flat(slope - last_slope)
            along = (dy * ds).sum(1, keepdim=True)
            step = torch.where(along > 0, along / ds.square().sum(1, keepdim=True).clamp(min=1e-30), step)
        far = flat(slope).norm(dim=1) > close * (1 + flat(y).norm(dim=1))
        if not bool(far.any()):
            break
        last_y, last_slope = y, slope
        y = torch.where(each(far, y), y - each(step, y) * slope, y)  # whoever has arrived waits, alone or not
        x = mean + shape(y)
    return x


def curvature(y: Tensor, slope: Tensor, mean: Tensor, shape: Filter, force: Force, eta: float) -> Tensor:
    """Curvature of eta E along `slope`, by one difference, `(b, 1)`, not below 0."""
    length = each(flat(slope).norm(dim=1).clamp(min=1e-12), y)
    small = 1e-2 * slope / length
    there = eta * shape(force(mean + shape(y)) - force(mean + shape(y + small)))
    size = flat(small).square().sum(1, keepdim=True)
    return (flat(there * small).sum(1, keepdim=True) / size).clamp(min=0)


def tilted(
    denoise: Denoise,
    energy: Energy,
    process: Gaussian,
    power: Tensor | float = 1.0,
    eta: float = 1.0,
    rounds: int = 40,
    close: float = 1e-3,
) -> Denoise:
    """Belief about x_0 under p(x_0) exp(-eta E(x_0)): exact for Gaussian data and quadratic energies.

    Given x_t, x_0 is taken as Gaussian about the belief, with the covariance that a field of this power has;
    the belief moves to where that and the energy balance. No gradient goes through the network. Several
    energies: give their sum (`energy.total`).

    Args:
        energy: of clean states, `(b, ...) -> (b,)`; its method `score` is used if it has one.
        power: the data's variance of each Fourier mode per site `(..., h, w)`, or one number per value.
        close: the residual, as a share of the move, at which the `rounds` of the search end early.

    Raises:
        ValueError: an option out of its range.
    """
    eta, close = real(eta, "eta", 0), real(close, "close", above=0)
    rounds = whole(rounds, "rounds", 1)
    if not bool((torch.as_tensor(power) >= 0).all()):
        raise ValueError("power has a value below 0 or NaN; expected the variance of every mode")

    def guided(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = process.at(t, x)
        known = torch.as_tensor(power, dtype=x.dtype, device=x.device)
        variance = known * sigma**2 / (alpha**2 * known + sigma**2)
        return prox(denoise(x, t), shaping_filter(variance), energy, eta, rounds, close)

    return guided


def project_x_0(denoise: Denoise, project: Project) -> Denoise:
    """The belief is put onto a convex set: a mean over a set lies in its hull, not on the set."""
    return lambda x, t: project(denoise(x, t))


def level_set(project: Project, measure: Energy, most: float | Tensor) -> Project:
    """Only samples whose `measure` is above `most` are projected: the hull of a level set of a convex
    measure.
    """

    def hull(x: Tensor) -> Tensor:
        return torch.where(each(measure(x) > most, x), project(x), x)

    return hull


def biased(denoise: Denoise, energy: Tensor, eta: float = 1.0) -> Denoise:
    """Tokens: logits minus eta times an energy of each token, `(v,)` or `(b, l, v)`: exact, since the energy
    of a sequence is a sum over its tokens.
    """
    eta = real(eta, "eta")
    return lambda x, t: denoise(x, t) - eta * energy


def allowed(denoise: Denoise, may: Tensor) -> Denoise:
    """Tokens: only those for which `may` `(v,)` or `(b, l, v)` is True.

    Raises:
        ValueError: a place where nothing may stand.
    """
    if not bool(may.any(-1).all()):
        raise ValueError("the mask leaves a position without any token; allow at least one everywhere")
    return lambda x, t: denoise(x, t).masked_fill(~may, -torch.inf)


class Refused(RuntimeError):
    """No valid sample was found within the budget; `x` holds the last ones and `valid` which of them are."""

    def __init__(self, message: str, x: Tensor, valid: Tensor) -> None:
        super().__init__(message)
        self.x, self.valid = x, valid


def until_valid(
    sample: Callable[[Tensor, float, int], Tensor],
    valid: Callable[[Tensor], Tensor],
    count: int,
    eta: float = 1.0,
    growth: float = 2.0,
    budget: int = 6,
) -> tuple[Tensor, Tensor]:
    """Samples, keeps what is valid, and draws the rest again under a stronger energy.

    Args:
        sample: (which samples, eta, attempt) -> those samples anew; `attempt` is for the seed.
        valid: `(n, ...) -> (n,)` booleans.

    Returns:
        the samples, and the eta that each took.

    Raises:
        Refused: some are still invalid after `budget` attempts.
        ValueError: an option out of its range.
    """
    count, budget = whole(count, "count", 1), whole(budget, "budget", 1)
    eta, growth = real(eta, "eta", 0), real(growth, "growth", 1)
    wanting, x, took = torch.arange(count), None, torch.zeros(count)
    for attempt in range(budget):
        fresh = sample(wanting, eta, attempt)
        x = fresh.new_zeros(count, *fresh.shape[1:]) if x is None else x
        x[wanting.to(x.device)], took[wanting] = fresh, eta
        wanting = wanting[~valid(fresh).cpu()]
        if not len(wanting):
            return x, took
        eta *= growth
    here = torch.ones(count, dtype=torch.bool)
    here[wanting] = False
    assert x is not None
    raise Refused(
        f"{len(wanting)} of {count} samples were still invalid after {budget} attempts, the last with eta "
        f"{eta / growth:g}. Give a larger budget or growth, or a condition that can be met",
        x,
        here,
    )
