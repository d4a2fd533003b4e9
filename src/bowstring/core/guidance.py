"""Denoisers made from denoisers and steps made from steps: guidance, mixtures, pinning, projections.

None of these changes the loop; each returns something with the same contract as what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .loop import Denoise, State, Step
from .process import Gaussian
from .rng import Rng


def cfg(cond: Denoise, uncond: Denoise, cfg_scale: float) -> Denoise:
    """uncond + w (cond - uncond), on means or on logits; w = 1 is off, w = 0 ignores the condition.

    Source: Ho & Salimans 2022, arXiv 2207.12598 (their w is ours less 1).
    """
    if cfg_scale == 1:
        return cond

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        free = uncond(x, t)
        return free + cfg_scale * (cond(x, t) - free)

    return denoise


def mix(denoisers: Sequence[Denoise], weights: Sequence[float]) -> Denoise:
    """Weighted sum of beliefs; weights that sum to 1 keep the scale.

    Raises:
        ValueError: as many weights as denoisers are needed, and at least one.
    """
    if not denoisers or len(denoisers) != len(weights):
        raise ValueError(f"{len(denoisers)} denoisers were given {len(weights)} weights; expected one each")

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        beliefs = torch.stack([w * one(x, t) for one, w in zip(denoisers, weights, strict=True)])
        return beliefs.sum(0)

    return denoise


def energy_guided(
    denoise: Denoise, energy: Callable[[Tensor], Tensor], process: Gaussian, eta: float = 1.0
) -> Denoise:
    """Score minus eta times the energy's gradient at x_t, written as a mean of x_0.

    A heuristic: it does not sample the law proportional to p exp(-eta E), because the energy belongs to clean
    data; a Markov chain on the summed energy does.

    Args:
        energy: `(b, ...) -> (b,)`, lower is better.
    """

    def guided(x: Tensor, t: Tensor) -> Tensor:
        with torch.enable_grad():
            y = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(energy(y).sum(), y)
        alpha, sigma = process.at(t, x)
        return denoise(x, t) - eta * sigma**2 / alpha.clamp(min=1e-3) * slope

    return guided


def pinned(denoise: Denoise, known: Tensor, where: Tensor) -> Denoise:
    """A denoiser that is certain of the values `known` at the positions `where` (infilling, inpainting).

    Reals: the mean is replaced. Tokens: the logits say `known` and nothing else.
    """

    def certain(x: Tensor, t: Tensor) -> Tensor:
        belief = denoise(x, t)
        if known.is_floating_point():
            return torch.where(where, known, belief)
        only = torch.full_like(belief, -torch.inf).scatter(-1, known.expand(x.shape).unsqueeze(-1), 0.0)
        return torch.where(where.unsqueeze(-1), only, belief)

    return certain


def projected(step: Step, project: Callable[[Any], Any]) -> Step:
    """After each step the state is put back onto a constraint set."""

    def constrained(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        after = step(state, t, s, rng)
        return state.advance(project(after.x), s, nfe=int(after.nfe[0] - state.nfe[0]), carry=after.carry)

    return constrained


def corrected(step: Step, kernel: Step) -> Step:
    """After each step a kernel that leaves the law at time s as it is (MCMC) moves the sample."""

    def both(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        return kernel(step(state, t, s, rng.fork(8)), s, s, rng.fork(9))

    return both
