"""Denoisers made from denoisers and steps made from steps: guidance, mixtures, pinning, projections.

None of these changes the loop; each returns something with the same contract as what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .loop import Denoise, State, Step, change
from .options import real
from .process import Gaussian
from .rng import Rng


def cfg(cond: Denoise, uncond: Denoise, cfg_scale: float) -> Denoise:
    """uncond + w (cond - uncond), on means or on logits; w = 1 is off, w = 0 ignores the condition.

    Source: Ho & Salimans 2022, arXiv 2207.12598 (their w is ours less 1).
    """
    cfg_scale = real(cfg_scale, "cfg_scale")
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
    weights = [real(w, f"weights[{i}]") for i, w in enumerate(weights)]

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
    eta = real(eta, "eta")

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
    """After each step the state is put back onto a constraint set, where its energy is not yet known."""

    def constrained(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        after = step(state, t, s, rng)
        on_set = project(after.x)
        return replace(after.moved(on_set), delta=change(state.x, on_set))

    return constrained


def corrected(step: Step, kernel: Step) -> Step:
    """After each step a kernel that leaves the law at time s as it is (MCMC) moves the sample.

    The carry is {"step": the step's own, "kernel": the kernel's own}; each finds the energy anew, because
    the other has moved the sample. For the same reason a rule that extrapolates its path (`dpmpp_2m`) begins
    anew after each step, and is of first order.
    """
    forgets = getattr(step, "extrapolates", False)

    def both(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        carry = state.carry or {"step": None, "kernel": None}
        made = step(replace(state.moved(state.x), carry=carry["step"]), t, s, rng.fork(8))
        moved = kernel(replace(made.moved(made.x), carry=carry["kernel"]), s, s, rng.fork(9))
        own = {"step": None if forgets else made.carry, "kernel": moved.carry}
        return replace(moved, carry=own, delta=change(state.x, moved.x))

    return both
