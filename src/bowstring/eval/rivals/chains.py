"""BlackJAX and TorchEBM on the same lattices, measured as ours are: HMC of ten leapfrog steps, step size
found by their own adaptation (BlackJAX) or given ours (TorchEBM, which has none), compilation and warm-up
not timed.

A contender is prepared once and then runs whenever it is its turn. What is not installed is left out;
`pip install "bowstring[physics-bench]"` brings both.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...core.rng import Rng
from ...energy.potential import EnergyPotential

Chain = Callable[[int], tuple[list[Tensor], float]]  # a seed -> states, and the seconds they took
Rates = Callable[[list[Tensor], float, EnergyPotential], dict[str, float]]


def jax_energy(energy: EnergyPotential, side: tuple[int, int]) -> Callable[[Any], Any]:
    """The same energy for flat jax arrays."""
    import jax.numpy as jnp

    def of(flat: Any) -> Any:
        x = flat.reshape(side)
        near = jnp.roll(x, 1, 0) + jnp.roll(x, 1, 1)  # each bond once
        own = 2 * energy.kinetic + 0.5 * energy.quadratic
        return jnp.sum(
            -(energy.kinetic + energy.pair) * near * x
            + own * x**2
            + 0.25 * energy.quartic * x**4
            - energy.field * x
        )

    return of


def blackjax_chain(
    energy: EnergyPotential, side: tuple[int, int], chains: int, count: int, length: int, method: str = "hmc"
) -> Chain:
    """`count` states of `chains` chains a turn, and the seconds they took."""
    import blackjax
    import jax
    import numpy as np

    cost = jax_energy(energy, side)
    n = side[0] * side[1]
    log_density = lambda x: -cost(x)  # noqa: E731
    begin = jax.numpy.asarray(Rng.of(1, chains).normal(n).numpy())
    kind, settings = (
        (blackjax.hmc, {"num_integration_steps": length}) if method == "hmc" else (blackjax.nuts, {})
    )
    adapt = blackjax.window_adaptation(kind, log_density, target_acceptance_rate=0.8, **settings)
    (_, found), _ = adapt.run(jax.random.key(0), begin[0], num_steps=500)
    kernel = kind(log_density, **found)
    first = jax.vmap(kernel.init)(begin)

    @jax.jit
    def walk(key: Any, state: Any) -> Any:
        def one(state: Any, key: Any) -> Any:
            state, _ = jax.vmap(kernel.step)(jax.random.split(key, chains), state)
            return state, state.position

        return jax.lax.scan(one, state, jax.random.split(key, count))

    settled, _ = walk(jax.random.key(1), first)
    jax.block_until_ready(settled)

    def run(seed: int) -> tuple[list[Tensor], float]:
        began = time.perf_counter()
        _, positions = walk(jax.random.key(seed), settled)
        jax.block_until_ready(positions)
        seconds = time.perf_counter() - began
        return list(torch.from_numpy(np.array(positions)).view(count, chains, *side)), seconds

    return run


def torchebm_chain(
    energy: EnergyPotential, side: tuple[int, int], chains: int, count: int, length: int, size: float
) -> Chain:
    from torchebm.core import BaseModel
    from torchebm.samplers import HamiltonianMonteCarlo

    class Lattice(BaseModel):
        def forward(self, x: Tensor) -> Tensor:
            return energy(x.view(-1, *side))

    sampler = HamiltonianMonteCarlo(Lattice(), step_size=size, n_leapfrog_steps=length)
    begin = sampler.sample(x=Rng.of(1, chains).normal(side[0] * side[1]), n_steps=200).detach()

    def run(seed: int) -> tuple[list[Tensor], float]:
        torch.manual_seed(seed)
        began = time.perf_counter()
        kept = sampler.sample(x=begin, n_steps=count, return_trajectory=True)
        seconds = time.perf_counter() - began
        kept = kept[0] if isinstance(kept, tuple) else kept  # (chains, steps, sites)
        return list(kept.detach().transpose(0, 1).view(-1, chains, *side)), seconds

    return run


def chains(
    phi4: EnergyPotential, free: EnergyPotential, wells: EnergyPotential, rates: Rates, n: int
) -> dict[str, Callable[[int], dict[str, float]]]:
    """Every rival on every lattice: a seed -> independent draws per second of each monitor."""

    def rated(chain: Chain, energy: EnergyPotential) -> Callable[[int], dict[str, float]]:
        return lambda seed: rates(*chain(seed), energy)

    out: dict[str, Callable[[int], dict[str, float]]] = {}
    grid, pair = (64, 64), (1, 2)
    if importlib.util.find_spec("blackjax"):
        out["BlackJAX HMC, phi4"] = rated(blackjax_chain(phi4, grid, 4, n, 10), phi4)
        out["BlackJAX HMC, gff"] = rated(blackjax_chain(free, grid, 4, n, 10), free)
        out["BlackJAX HMC, wells"] = rated(blackjax_chain(wells, pair, 1024, n // 2, 8), wells)
        out["BlackJAX NUTS, phi4"] = rated(blackjax_chain(phi4, grid, 4, n // 6, 10, "nuts"), phi4)
    if importlib.util.find_spec("torchebm"):
        out["TorchEBM HMC, phi4"] = rated(torchebm_chain(phi4, grid, 4, n // 5, 10, 0.09), phi4)
        out["TorchEBM HMC, gff"] = rated(torchebm_chain(free, grid, 4, n // 5, 10, 0.3), free)
        out["TorchEBM HMC, wells"] = rated(torchebm_chain(wells, pair, 1024, n // 5, 8, 0.15), wells)
    return out
