"""Markov chains that leave exp(-E / kT) as it is: Langevin, Metropolis, Hamiltonian.

Shapes: b chains of states `(b, ...)`, numbers `(b,)` included; each chain accepts or refuses alone. A kernel
is a `Step`: times only count. Energies give `(b,)`; an energy with a method `score` is used with it, any
other is differentiated.

Unadjusted Langevin is biased by its step size. `sampler.BoltzmannSampler` tunes and runs these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...core.loop import State, Step, each, flat
from ...core.options import real, shown, whole
from ...core.rng import Rng
from ..potential import Energy, Force, force_of


def positive(step_size: float, temperature: float) -> tuple[float, float]:
    """Both, checked.

    Raises:
        ValueError: one that is not above 0 and finite.
    """
    return real(step_size, "step_size", above=0), real(temperature, "temperature", above=0)


def check_mass(mass: Tensor | float, shape: tuple[int, ...] | None = None) -> None:
    """
    Raises:
        ValueError: a mass that is not positive and finite, or does not belong to states of this shape.
    """
    if not isinstance(mass, Tensor):
        real(mass, "mass", above=0)
    elif not bool((mass > 0).all() and mass.isfinite().all()):
        raise ValueError(f"mass is {shown(mass)} with a value that is not positive; expected all above 0")
    elif shape is not None and mass.shape not in ((), shape):
        raise ValueError(f"mass is {tuple(mass.shape)}; expected one number, or one per site {shape}")


def started(state: State, energy: Energy) -> dict[str, Any]:
    """What a chain remembers: counts, and the energy of where it is, found anew where the state does not
    know it because something else has moved the sample.
    """
    if state.carry is None:
        none = torch.zeros(len(state.t), dtype=torch.float64, device=state.t.device)
        return {"energy": energy(state.x), "accepted": none, "proposed": none, "log_ratio": none}  # type: ignore[arg-type]
    if bool(state.energy.isnan().any()):
        return state.carry | {"energy": energy(state.x)}  # type: ignore[arg-type]
    return state.carry


def _decide(
    state: State,
    s: Tensor,
    proposal: Tensor,
    log_ratio: Tensor,
    energies: Tensor,
    carry: dict[str, Any],
    rng: Rng,
    nfe: int | Tensor,
) -> State:
    """Metropolis and Hastings' choice, chain by chain; a ratio that is no number is refused."""
    taken = rng.fork(5).uniform().log().to(log_ratio.dtype) < log_ratio
    x = torch.where(each(taken, proposal), proposal, state.x)  # type: ignore[arg-type]
    carry = carry | {
        "energy": torch.where(taken, energies, carry["energy"]),
        "accepted": carry["accepted"] + taken,
        "proposed": carry["proposed"] + 1,
        "log_ratio": log_ratio.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).double(),
    }
    return state.advance(x, s, nfe=nfe, carry=carry, energy=carry["energy"].float())


def ula(energy: Energy, step_size: float, temperature: float = 1.0) -> Step:
    """x + step_size * force + sqrt(2 kT step_size) noise: unadjusted, wrong by O(step_size)."""
    step_size, temperature = positive(step_size, temperature)
    force = force_of(energy)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        noise = rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr]
        moved = x + step_size * force(x) + (2 * temperature * step_size) ** 0.5 * noise  # type: ignore[arg-type,operator]
        carry = carry | {
            "energy": energy(moved),
            "accepted": carry["accepted"] + 1,
            "proposed": carry["proposed"] + 1,
        }
        return state.advance(moved, s, carry=carry, energy=carry["energy"].float())

    return step


def mala(energy: Energy, step_size: float, temperature: float = 1.0) -> Step:
    """Langevin's proposal, accepted or refused (Roberts and Tweedie 1996)."""
    step_size, temperature = positive(step_size, temperature)
    force = force_of(energy)

    def log_proposal(there: Tensor, here: Tensor) -> Tensor:
        off = there - here - step_size * force(here)
        return -flat(off).square().sum(1) / (4 * temperature * step_size)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        noise = rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr]
        y = x + step_size * force(x) + (2 * temperature * step_size) ** 0.5 * noise  # type: ignore[arg-type,operator]
        energies = energy(y)
        ratio = (carry["energy"] - energies) / temperature + log_proposal(x, y) - log_proposal(y, x)  # type: ignore[arg-type]
        return _decide(state, s, y, ratio, energies, carry, rng, 2)

    return step


def metropolis(energy: Energy, step_size: float, temperature: float = 1.0) -> Step:
    """x + step_size * noise, accepted or refused (Metropolis et al. 1953)."""
    step_size, temperature = positive(step_size, temperature)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        y = x + step_size * rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr,operator]
        energies = energy(y)
        return _decide(state, s, y, (carry["energy"] - energies) / temperature, energies, carry, rng, 1)

    return step


def leapfrog(
    force: Force, x: Tensor, p: Tensor, step_size: float, count: int | Tensor, mass: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """`count` kick-drift-kick steps, one number for all chains or one each `(b,)`; one force a step but the
    first's. Reversible and volume preserving.
    """
    left = torch.as_tensor(count, device=x.device).expand(len(x))
    p = p + 0.5 * step_size * force(x)
    for i in range(int(left.max())):
        going, goes_on = each(left > i, x), each(left > i + 1, x)
        x = torch.where(going, x + step_size * p / mass, x)
        kick = force(x)
        half = p + 0.5 * step_size * kick
        p = torch.where(goes_on, p + step_size * kick, torch.where(going, half, p))
    return x, p


def path_lengths(steps: int, jitter: float, rng: Rng) -> Tensor:
    """How many integration steps each chain takes, `(b,)`: `steps` within +- `jitter`, drawn anew each time.

    In single precision, ties to even: the kernels count the same.
    """
    spread = jitter * (2 * rng.fork(6).uniform() - 1)
    return (steps * (1 + spread)).round().clamp(min=1).long()


def hmc(
    energy: Energy,
    step_size: float,
    num_integration_steps: int,
    temperature: float = 1.0,
    mass: Tensor | float = 1.0,
    jitter: float = 0.2,
) -> Step:
    """Hamiltonian Monte Carlo (Duane et al. 1987) on E / kT. Each chain draws its number of integration
    steps anew within +- `jitter`, so that no trajectory is a period. `mass` is one number or one per site.

    Raises:
        ValueError: a number out of its range, or a mass that is not positive everywhere.
    """
    step_size, temperature = positive(step_size, temperature)
    steps, jitter = whole(num_integration_steps, "num_integration_steps", 1), real(jitter, "jitter", 0, 1)
    check_mass(mass)
    pull = force_of(energy)

    def force(x: Tensor) -> Tensor:
        return pull(x) / temperature

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        x, carry = state.x, started(state, energy)
        root = torch.as_tensor(mass, dtype=x.dtype, device=x.device).sqrt()  # type: ignore[union-attr]
        p = root * rng.normal(*x.shape[1:]).to(x.dtype)  # type: ignore[union-attr]
        count = path_lengths(steps, jitter, rng)
        y, q = leapfrog(force, x, p, step_size, count, mass)  # type: ignore[arg-type]
        kinetic = lambda v: 0.5 * flat(v**2 / mass).sum(1)  # noqa: E731  the formula's name
        energies = energy(y)
        ratio = (carry["energy"] - energies) / temperature + kinetic(p) - kinetic(q)
        return _decide(state, s, y, ratio, energies, carry, rng, count)

    return step
