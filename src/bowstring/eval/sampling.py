"""How many independent draws a second do chains on lattices give, one core each, beside BlackJAX and
TorchEBM?

Effective sizes are by our own estimator for all; step sizes are found in warm-up, which is not timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
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
from .results import Measured, announce
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


def draw_rates(states: list[Tensor], seconds: float, energy: EnergyPotential) -> dict[str, float]:
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


Contender = Callable[[int], dict[str, float]]  # a seed -> independent draws per second of every monitor


def lattice_chain(
    energy: EnergyPotential, side: tuple[int, int], clusters: int, chains: int, count: int, steps: int = 10
) -> Contender:
    """Ours on a lattice, step size found in warm-up, which is not timed."""
    begin = Rng.of(1, chains).normal(*side)
    sampler = BoltzmannSampler(energy, num_integration_steps=steps, cluster_updates=clusters)
    tuned = sampler.sample(begin, 5, 400)
    step = sweeps(energy, tuned.step_size, steps, cluster_updates=clusters)

    def run(seed: int) -> dict[str, float]:
        kept, seconds = timed_chain(step, State.begin(tuned.draws[:, -1]), count, seed)
        return draw_rates(kept, seconds, energy)

    return run


def free_chain(count: int) -> Contender:
    """Ours on the free field, whose draws are independent."""

    def run(seed: int) -> dict[str, float]:
        kept, seconds = timed_chain(free_field(FREE), State.begin(torch.zeros(16, 64, 64)), count, seed)
        return draw_rates(kept, seconds, FREE)

    return run


def in_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, dict[str, Measured]]:
    """Medians over rounds; in each round every contender runs once, and each begins one."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    order = [*contenders.items()]
    for seed in range(rounds):
        for name, run in order:
            announce(f"chains, round {seed + 1} of {rounds}: {name}")
            found[name].append(run(seed + 2))
        order = [*order[1:], order[0]]
    return {
        name: {key: Measured.median([one[key] for one in some]) for key in some[0]}
        for name, some in found.items()
    }


def free_energy_divergence(count: int) -> dict[str, Measured]:
    """Divergence of the free field's energies from their exact law, and of as many exact draws: the floor."""
    kept, _ = timed_chain(free_field(FREE), State.begin(torch.zeros(16, 64, 64)), count, 3)
    energies = FREE(torch.cat(kept)).double()
    exact = torch.special.gammainc(torch.tensor(64 * 64 / 2, dtype=torch.float64), energies)
    places = torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
    fresh = torch.rand(len(exact), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    n = len(exact)
    floor = histogram_divergence(fresh, places)
    return {
        "gff_kl": Measured(histogram_divergence(exact, places) - floor, n=n),
        "gff_kl_floor": Measured(floor, n=n),
    }


def chain_numbers(*, quick: bool) -> dict[str, Any]:
    n, rounds = (500, 2) if quick else (2000, 3)
    with one_core():
        contenders = {
            "phi4": lattice_chain(LATTICE, (64, 64), 8, 4, n),
            "phi4 without cluster updates": lattice_chain(LATTICE, (64, 64), 0, 4, n),
            "gff": free_chain(n // 10),
            "wells": lattice_chain(WELLS, (1, 2), 1, 4096, n // 8, 4),
            "wells without cluster updates": lattice_chain(WELLS, (1, 2), 0, 4096, n // 8, 4),
        } | rivals.chains(LATTICE, FREE, WELLS, draw_rates, n)
        found = in_turns(contenders, rounds)
    ours, gff, wells = found["phi4"], found["gff"], found["wells"]
    return {
        "phi4_mag_ess_s": ours["magnetisation"],
        "phi4_worst_ess_s": slowest(ours),
        "phi4_vs_blackjax": over(
            ours["magnetisation"], found.get("BlackJAX HMC, phi4", {}).get("magnetisation")
        ),
        "gff_energy_ess_s": gff["energy"],
        "gff_mag_ess_s": gff["magnetisation"],
        **free_energy_divergence(n // 4),
        "double_well_ratio": over(slowest(wells), slowest(found.get("BlackJAX HMC, wells", {}))),
        "double_well_ratio_magnetisation": over(
            wells["magnetisation"], found.get("BlackJAX HMC, wells", {}).get("magnetisation")
        ),
        "stuck_detected": stuck_detected(),
        "ess_per_second": found,
    }


def slowest(found: Mapping[str, Measured]) -> Measured | None:
    """The monitor with the fewest independent draws a second."""
    return min(found.values(), key=lambda one: one.value or 0.0) if found else None


def over(ours: Measured | None, theirs: Measured | None) -> Measured:
    """Ours over a rival's; None if it is not installed."""
    return ours.over(theirs) if ours is not None and theirs is not None else Measured(None, n=0)


def stuck_detected() -> bool:
    """Chains that began in both wells of a barrier of 40 kT never cross it, and R-hat says so."""
    deep = EnergyPotential(0.0, 0.0, -160.0, 160.0)
    begin = torch.ones(8, 1, 2)
    begin[::2] = -1
    found = BoltzmannSampler(deep, num_integration_steps=8, step_size=0.05).sample(begin, 300, 100)
    return bool(r_hat(MONITORS["magnetisation"](found.draws)) > 1.1)
