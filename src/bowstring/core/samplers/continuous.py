"""Steps for reals: how a noisy sample becomes cleaner.

An update is the rule once the belief is known, `(x, belief, t, s, rng, carry) -> (x, carry)`; `single`
makes a step of one evaluation from it and `joint` one step for several modalities from a single evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..loop import Denoise, State, Step, each
from ..options import real
from ..process import Gaussian
from ..rng import Rng

Update = Callable[[Tensor, Tensor, Tensor, Tensor, Rng, Any], tuple[Tensor, Any]]
Clock = Callable[[Tensor], Tensor]


def single(denoise: Denoise, update: Update) -> Step:
    """One evaluation, one update."""

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = update(state.x, denoise(state.x, t), t, s, rng, state.carry)  # type: ignore[arg-type]
        return state.advance(x, s, carry=carry)

    return step


def joint(denoise: Denoise, updates: Mapping[str, Update], clocks: Mapping[str, Clock] | None = None) -> Step:
    """One evaluation for a dict of modalities, then each one's own update.

    `clocks` maps the common time to a modality's own, so that one may run ahead of another.
    """
    names, clocks = tuple(updates), clocks or {}

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        own_t = {name: clocks[name](t) if name in clocks else t for name in names}
        own_s = {name: clocks[name](s) if name in clocks else s for name in names}
        belief, carry = denoise(state.x, own_t), dict(state.carry or {})
        x = dict(state.x)
        for i, name in enumerate(names):
            x[name], carry[name] = updates[name](
                x[name], belief[name], own_t[name], own_s[name], rng.fork(i), carry.get(name)
            )
        return state.advance(x, s, carry=carry)

    return step


def ddim_update(process: Gaussian, eta: float = 0.0) -> Update:
    """See `ddim`."""
    eta = real(eta, "eta", 0, 1)

    def update(x: Tensor, x_0_hat: Tensor, t: Tensor, s: Tensor, rng: Rng, carry: Any) -> tuple[Tensor, Any]:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.at(t, x), process.at(s, x)
        eps = (x - alpha_t * x_0_hat) / sigma_t
        tau = eta**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)  # share of fresh noise
        x_s = alpha_s * x_0_hat + sigma_s * (1 - tau).sqrt() * eps
        if eta:
            x_s = x_s + sigma_s * tau.sqrt() * rng.normal(*x.shape[1:]).to(x.dtype)
        return x_s, carry

    return update


def ddim(denoise: Denoise, process: Gaussian, eta: float = 0.0) -> Step:
    """DDIM (Song et al. 2021, arXiv 2010.02502). eta = 0 is the probability-flow ODE, eta = 1 is DDPM.

    First order. On a rectified process with eta = 0 it is the Euler step of the flow.
    """
    return single(denoise, ddim_update(process, eta))


def dpmpp_2m_update(process: Gaussian) -> Update:
    """See `dpmpp_2m`."""

    def update(x: Tensor, x_0_hat: Tensor, t: Tensor, s: Tensor, rng: Rng, carry: Any) -> tuple[Tensor, Any]:
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.at(t, x), process.at(s, x)
        h = (alpha_s / sigma_s).log() - (alpha_t / sigma_t).log()
        previous, h_previous = (
            (x_0_hat, torch.full_like(h, torch.inf)) if carry is None else (carry["x_0"], carry["h"])
        )
        lean = torch.where(
            torch.isfinite(h), h / (2 * h_previous), 0.0
        )  # first order into s = 0, and at the start
        d = x_0_hat + lean * (x_0_hat - previous)
        ratio = alpha_t * sigma_s / (alpha_s * sigma_t)  # exp(-h), without infinities
        return sigma_s / sigma_t * x + alpha_s * (1 - ratio) * d, {"x_0": x_0_hat, "h": h}

    return update


def dpmpp_2m(denoise: Denoise, process: Gaussian) -> Step:
    """DPM-Solver++(2M): second order from one evaluation a step, the last prediction being carried.

    Source: Lu et al. 2022, arXiv 2211.01095, algorithm 2.
    """
    step = single(denoise, dpmpp_2m_update(process))
    step.extrapolates = True  # type: ignore[attr-defined]  # who moves the sample between steps must know
    return step


def flow_update(process: Gaussian, step_size: float) -> Update:
    """The update of a flow: Euler steps where a network has learned shortcuts of `step_size`, and otherwise,
    at 0, second order. Every modality asks here.
    """
    return ddim_update(process) if step_size else dpmpp_2m_update(process)


def heun(denoise: Denoise, process: Gaussian) -> Step:
    """Second order from two evaluations: a DDIM step, then the same step with the mean of both beliefs.

    The exact part of the flow is kept (an exponential integrator), so the ends of a schedule cause no
    trouble.
    """
    euler = ddim_update(process)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        first = denoise(state.x, t)
        x_s, _ = euler(state.x, first, t, s, rng, None)  # type: ignore[arg-type]
        ends = s == 0  # where nothing is noisy any more a second belief has nothing to say
        if bool(ends.all()):
            return state.advance(x_s, s)
        second = denoise(x_s, s)
        better, _ = euler(state.x, (first + second) / 2, t, s, rng, None)  # type: ignore[arg-type]
        return state.advance(torch.where(each(ends, x_s), x_s, better), s, nfe=2 - ends.long())

    return step
