"""How many independent draws a second do chains on lattices give, one core each, beside BlackJAX and
TorchEBM?

Effective sizes are by our own estimator for all; step sizes are found in warm-up, which is not timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .. import _native
from ..core.loop import State, Step, iterate
from ..core.rng import Rng
from ..energy.diagnostics import effective_size, r_hat
from ..energy.mcmc.lattice import free_field, sweeps
from ..energy.mcmc.sampler import BoltzmannSampler
from ..energy.potential import EnergyPotential, phi4
from ..fields.metrics import histogram_divergence
from .rivals import chains as rivals

LATTICE = phi4(0.325, 0.5)
FREE = EnergyPotential(1.0, 0.0, 0.1, 0.0)
WELLS = EnergyPotential(0.0, 0.0, -8.0, 8.0)  # 2 (x^2 - 1)^2 + a constant, at each of two sites
MONITORS: dict[str, Callable[[Tensor], Tensor]] = {
    "magnetisation": lambda x: x.mean((-1, -2)),
    "its size": lambda x: x.mean((-1, -2)).abs(),
    "its square": lambda x: x.mean((-1, -2)) ** 2,
    "mean square": lambda x: (x**2).mean((-1, -2)),
    "bonds": lambda x: (x * (x.roll(1, -1) + x.roll(1, -2))).mean((-1, -2)),
}


@contextmanager
def one_core() -> Iterator[None]:
    """This process and the threads that it starts meanwhile use one core."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)})
    torch.set_num_threads(1)
    _native.set_threads(1)
    yield
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)
    _native.set_threads(0)


def rates(states: list[Tensor], seconds: float, energy: EnergyPotential) -> dict[str, float]:
    """Independent draws per second of every monitor and of the energy, from fields `(n)(b, h, w)`."""
    x = torch.stack(states, 1)
    draws = {name: monitor(x) for name, monitor in MONITORS.items()}
    draws["energy"] = energy(x.flatten(0, 1)).view(len(x), -1)
    return {name: effective_size(value) / seconds for name, value in draws.items()}


def timed_chain(step: Step, state: State, count: int, seed: int) -> tuple[list[Tensor], float]:
    """`count` states after `state`, and the seconds they took."""
    times = torch.zeros(int(state.steps[0]) + count + 1)
    began = time.perf_counter()
    kept = [one.x for one in iterate(step, state, times, Rng.of(seed, len(state.t)))]
    return kept, time.perf_counter() - began  # type: ignore[return-value]


def lattice_rates(
    energy: EnergyPotential, side: tuple[int, int], clusters: int, chains: int, count: int, steps: int = 10
) -> dict[str, float]:
    """Ours on a lattice, step size found in warm-up, which is not timed."""
    begin = Rng.of(1, chains).normal(*side)
    sampler = BoltzmannSampler(energy, num_integration_steps=steps, cluster_updates=clusters)
    tuned = sampler.sample(begin, 5, 400)
    step = sweeps(energy, tuned.step_size, steps, cluster_updates=clusters)
    kept, seconds = timed_chain(step, State.begin(tuned.draws[:, -1]), count, 2)
    return rates(kept, seconds, energy)


def chain_numbers(*, quick: bool) -> dict[str, Any]:
    n = 1500 if quick else 6000
    with one_core():
        ours = lattice_rates(LATTICE, (64, 64), 8, 4, n)
        plain = lattice_rates(LATTICE, (64, 64), 0, 4, n)
        kept, seconds = timed_chain(free_field(FREE), State.begin(torch.zeros(16, 64, 64)), n // 10, 3)
        gff = rates(kept, seconds, FREE)
        wells = lattice_rates(WELLS, (1, 2), 1, 4096, n // 8, 4)
        wells_plain = lattice_rates(WELLS, (1, 2), 0, 4096, n // 8, 4)
        theirs = rivals.measure(LATTICE, FREE, WELLS, rates, quick=quick)
    energies = FREE(torch.cat(kept)).double()
    exact = torch.special.gammainc(torch.tensor(64 * 64 / 2, dtype=torch.float64), energies)
    places = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
    fresh = torch.rand(len(exact), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blackjax = theirs.get("BlackJAX HMC", {})
    out: dict[str, Any] = {
        "phi4_mag_ess_s": ours["magnetisation"],
        "phi4_worst_ess_s": min(ours.values()),
        "phi4_vs_blackjax": ours["magnetisation"] / blackjax["phi4"]["magnetisation"] if blackjax else None,
        "gff_energy_ess_s": gff["energy"],
        "gff_mag_ess_s": gff["magnetisation"],
        "gff_kl": histogram_divergence(exact, places) - histogram_divergence(fresh, places),
        "gff_kl_floor": histogram_divergence(fresh, places),
        "double_well_ratio": min(wells.values()) / min(blackjax["wells"].values()) if blackjax else None,
        "double_well_ratio_magnetisation": wells["magnetisation"] / blackjax["wells"]["magnetisation"]
        if blackjax
        else None,
        "stuck_detected": stuck_detected(),
        "ess_per_second": {
            "phi4": ours,
            "phi4 without cluster updates": plain,
            "gff": gff,
            "wells": wells,
            "wells without cluster updates": wells_plain,
        },
        "rivals": theirs,
    }
    return out


def stuck_detected() -> bool:
    """Chains that began in both wells of a barrier of 40 kT never cross it, and R-hat says so."""
    deep = EnergyPotential(0.0, 0.0, -160.0, 160.0)
    begin = torch.ones(8, 1, 2)
    begin[::2] = -1
    found = BoltzmannSampler(deep, num_integration_steps=8, step_size=0.05).sample(begin, 300, 100)
    return bool(r_hat(MONITORS["magnetisation"](found.draws)) > 1.1)
