"""BlackJAX and TorchEBM on the same lattices, measured as ours are: HMC of ten leapfrog steps, step size
found by their own adaptation (BlackJAX) or given ours (TorchEBM, which has none), compilation and warm-up
not timed.

What is not installed is left out; `pip install "bowstring[physics-bench]"` brings both.
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


def blackjax_hmc(
    energy: EnergyPotential, side: tuple[int, int], chains: int, count: int, length: int, method: str = "hmc"
) -> tuple[list[Tensor], float]:
    """`count` states of `chains` chains, and the seconds they took."""
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
    began = time.perf_counter()
    _, positions = walk(jax.random.key(2), settled)
    jax.block_until_ready(positions)
    seconds = time.perf_counter() - began
    return list(torch.from_numpy(np.array(positions)).view(count, chains, *side)), seconds


def torchebm_hmc(
    energy: EnergyPotential, side: tuple[int, int], chains: int, count: int, length: int, size: float
) -> tuple[list[Tensor], float]:
    from torchebm.core import BaseModel
    from torchebm.samplers import HamiltonianMonteCarlo

    class Lattice(BaseModel):
        def forward(self, x: Tensor) -> Tensor:
            return energy(x.view(-1, *side))

    sampler = HamiltonianMonteCarlo(Lattice(), step_size=size, n_leapfrog_steps=length)
    x = sampler.sample(x=Rng.of(1, chains).normal(side[0] * side[1]), n_steps=200).detach()
    began = time.perf_counter()
    kept = sampler.sample(x=x, n_steps=count, return_trajectory=True)
    seconds = time.perf_counter() - began
    kept = kept[0] if isinstance(kept, tuple) else kept  # (chains, steps, sites)
    return list(kept.detach().transpose(0, 1).view(-1, chains, *side)), seconds


def measure(
    phi4: EnergyPotential, free: EnergyPotential, wells: EnergyPotential, rates: Rates, *, quick: bool
) -> dict[str, Any]:
    """Independent draws per second of each rival on each lattice."""
    out: dict[str, Any] = {}
    grid, pair, n = (64, 64), (1, 2), 1500 if quick else 6000
    if importlib.util.find_spec("blackjax"):
        out["BlackJAX HMC"] = {
            "phi4": rates(*blackjax_hmc(phi4, grid, 4, n, 10), phi4),
            "gff": rates(*blackjax_hmc(free, grid, 4, n, 10), free),
            "wells": rates(*blackjax_hmc(wells, pair, 1024, n // 2, 8), wells),
        }
        out["BlackJAX NUTS"] = {"phi4": rates(*blackjax_hmc(phi4, grid, 4, n // 6, 10, "nuts"), phi4)}
    if importlib.util.find_spec("torchebm"):
        out["TorchEBM HMC"] = {
            "phi4": rates(*torchebm_hmc(phi4, grid, 4, n // 5, 10, 0.09), phi4),
            "gff": rates(*torchebm_hmc(free, grid, 4, n // 5, 10, 0.3), free),
            "wells": rates(*torchebm_hmc(wells, pair, 1024, n // 5, 8, 0.15), wells),
        }
    return out
