"""Markov chains that leave exp(-E / kT) as it is: Langevin, Metropolis, Hamiltonian.

Shapes: b chains of fields `(b, ...)`; each chain accepts or refuses alone. A kernel is a `Step`: times
only count. Energies give `(b,)`; an energy with a method `score` is used with it, any other is
differentiated.

Unadjusted Langevin is biased by its step size. `boltzmann.BoltzmannSampler` tunes and runs these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.loop import State, Step
from ...core.rng import Rng
from ..potential import Energy, Force, force_of


def _each(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 1)).to(x.dtype)


def started(state: State, energy: Energy) -> dict[str, Any]:
    if state.carry is not None:
        return state.carry
    b = len(state.t)
    none = torch.zeros(b, dtype=torch.float64)
    return {"energy": energy(state.x), "accepted": none, "proposed": none, "log_ratio": none}  # type: ignore[arg-type]


def _decide(
    state: State,
    s: Tensor,
    proposal: Tensor,
    log_ratio: Tensor,
    energies: Tensor,
    carry: dict[str, Any],
    rng: Rng,
    nfe: int,
) -> State:
    """Metropolis and Hastings' choice, chain by chain; a ratio that is no number is refused."""
    taken = rng.fork(5).uniform().log().to(log_ratio.dtype) < log_ratio
    x = torch.where(_each(taken, proposal) > 0, proposal, state.x)  # type: ignore[arg-type]
    carry = carry | {
        "energy": torch.where(taken, energies, carry["energy"]),
        "accepted": carry["accepted"] + taken,
        "proposed": carry["proposed"] + 1,
        "log_ratio": log_ratio.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).double(),
    }
    return state.advance(x, s, nfe=nfe, carry=carry, energy=carry["energy"].float())


def ula(energy: Energy, size: float, temperature: float = 1.0) -> Step:
    """x + size * force + sqrt(2 kT size) noise: unadjusted, wrong by O(size)."""
    force = force_of(energy)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        noise = rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr]
        moved = x + size * force(x) + (2 * temperature * size) ** 0.5 * noise  # type: ignore[arg-type,operator]
        carry = carry | {
            "energy": energy(moved),
            "accepted": carry["accepted"] + 1,
            "proposed": carry["proposed"] + 1,
        }
        return state.advance(moved, s, carry=carry, energy=carry["energy"].float())

    return step


def mala(energy: Energy, size: float, temperature: float = 1.0) -> Step:
    """Langevin's proposal, accepted or refused (Roberts and Tweedie 1996)."""
    force = force_of(energy)

    def log_proposal(there: Tensor, here: Tensor) -> Tensor:
        off = there - here - size * force(here)
        return -off.flatten(1).square().sum(1) / (4 * temperature * size)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        noise = rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr]
        y = x + size * force(x) + (2 * temperature * size) ** 0.5 * noise  # type: ignore[arg-type,operator]
        energies = energy(y)
        ratio = (carry["energy"] - energies) / temperature + log_proposal(x, y) - log_proposal(y, x)  # type: ignore[arg-type]
        return _decide(state, s, y, ratio, energies, carry, rng, 2)

    return step


def metropolis(energy: Energy, size: float, temperature: float = 1.0) -> Step:
    """x + size * noise, accepted or refused (Metropolis et al. 1953)."""

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        y = x + size * rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr,operator]
        energies = energy(y)
        return _decide(state, s, y, (carry["energy"] - energies) / temperature, energies, carry, rng, 1)

    return step


def leapfrog(
    force: Force, x: Tensor, p: Tensor, size: float, count: int, mass: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """`count` kick-drift-kick steps, one force each but the first's; reversible and volume preserving."""
    p = p + 0.5 * size * force(x)
    for i in range(count):
        x = x + size * p / mass
        p = p + (size if i + 1 < count else 0.5 * size) * force(x)
    return x, p


def hmc(
    energy: Energy,
    size: float,
    length: int,
    temperature: float = 1.0,
    mass: Tensor | float = 1.0,
    jitter: float = 0.2,
) -> Step:
    """Hamiltonian Monte Carlo (Duane et al. 1987) on E / kT, its length drawn anew within +- `jitter` at
    each step so that no trajectory is a period. `mass` is one number or one per site.
    """
    pull = force_of(energy)

    def force(x: Tensor) -> Tensor:
        return pull(x) / temperature

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        root = torch.as_tensor(mass, dtype=x.dtype).sqrt()  # type: ignore[union-attr]
        p = root * rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr]
        # all chains share a length, so that they move together; it depends on the step alone
        u = (
            Rng(rng.seed, torch.zeros(1, dtype=torch.int64), rng.step[:1], rng.stream)
            .fork(6)
            .uniform()
            .item()
        )
        count = max(1, round(length * (1 + jitter * (2 * u - 1))))
        y, q = leapfrog(force, x, p, size, count, mass)  # type: ignore[arg-type]
        kinetic = lambda v: 0.5 * (v**2 / mass).flatten(1).sum(1)  # noqa: E731  the formula's name
        energies = energy(y)
        ratio = (carry["energy"] - energies) / temperature + kinetic(p) - kinetic(q)
        return _decide(state, s, y, ratio, energies, carry, rng, count)

    return step
