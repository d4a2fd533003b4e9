"""Do fields obey their laws, and how fast are they drawn? Beside BlackJAX and TorchEBM where they are
installed.

Everything in one run, one core each for the chains; effective sizes are by our own estimator for all.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor

from ..core.guidance import energy_guided
from ..core.loop import Denoise, State, iterate, last
from ..core.process import Gaussian, karras
from ..core.rng import Rng
from ..core.samplers.continuous import dpmpp_2m
from ..energy.constraints import tilted
from ..energy.diagnostics import frechet
from ..energy.mcmc.lattice import sweeps
from ..energy.mcmc.sampler import BoltzmannSampler
from ..energy.potential import EnergyPotential, phi4
from ..energy.projections import mass, mass_and_norm, symbol
from ..fields.ensemble import (
    balance_p_values,
    flip_matrix,
    forward_divergence,
    ising_law,
    relaxation,
    uniformity,
)
from ..fields.metrics import field_statistics, histogram_divergence, spectrum_error
from ..fields.model import FieldModel
from ..fields.sampling import Constraints, MultiScaleGenerator, fields, relaxed
from ..fields.solvers import cahn_hilliard
from ..fields.weights import load_fields
from ..train.fields import FieldRecipe, training_step
from ..train.optim import optimisers
from .sampling import MONITORS, chain_numbers

PROCESS = Gaussian()
RELAX = 20  # sweeps after the network; from noise, 400 are needed


def exact_denoiser(power: Tensor) -> Denoise:
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = PROCESS.at(t, x)
        return torch.fft.ifft2(torch.fft.fft2(x) * alpha * power / (alpha**2 * power + sigma**2)).real

    return denoise


def tilt(count: int) -> dict[str, float]:
    """Largest relative error of a mode's variance under a quadratic tilt, which is known exactly."""
    side, eta, energy = 16, 1.0, EnergyPotential(1.0, 0.0, 1.0, 0.0)
    rate = symbol(side, side).float()
    power = 1 / (0.2 + rate)
    exact = 1 / (1 / power + eta * (rate + 1))
    out = {}
    literal = energy_guided(exact_denoiser(power), energy, PROCESS, eta)
    for name, denoise in (
        ("tilt_error", tilted(exact_denoiser(power), energy, PROCESS, power, eta)),
        ("tilt_error_literal", literal),
    ):
        rng = Rng.of(0, count)
        times = karras(50, PROCESS.schedule, low=0.01)
        x = last(iterate(dpmpp_2m(denoise, PROCESS), State.begin(rng.normal(side, side)), times, rng)).x
        variance = torch.fft.fft2(x).abs().square().mean(0) / side**2
        rows, which = rate.mul(1e4).round().unique(return_inverse=True)
        ratio = torch.zeros(len(rows)).index_add_(0, which.flatten(), (variance / exact).flatten())
        out[name] = float((ratio / which.flatten().bincount() - 1).abs().max())
    return out


def second_law() -> dict[str, float]:
    """Share of steps on which the divergence from equilibrium falls, and whether flows balance."""
    power = (1 / (0.05 + symbol(32, 32))).flatten()
    gaussian = forward_divergence(PROCESS, power, torch.ones_like(power), torch.linspace(0.01, 0.999, 200))
    law = ising_law(3, 3, 0.4)
    start = torch.zeros(len(law))
    start[0] = 1.0
    relaxing = relaxation(law, flip_matrix(law, 9), start, 200)
    falls = torch.cat([gaussian.diff() < 0, relaxing.diff() < 0])
    energy, chains = phi4(0.25, 0.5), 20_000
    tuned = BoltzmannSampler(energy, num_integration_steps=4).sample(Rng.of(1, 64).normal(4, 4), 5, 300)
    settled = last(
        iterate(
            sweeps(energy, tuned.step_size, 4, cluster_updates=2, count=60),
            State.begin(Rng.of(2, chains).normal(4, 4)),
            torch.zeros(2),
            Rng.of(2, chains),
        )
    )
    moved = last(
        iterate(sweeps(energy, tuned.step_size, 4), State.begin(settled.x), torch.zeros(2), Rng.of(3, chains))
    )
    before, after = (MONITORS["magnetisation"](s.x) for s in (settled, moved))  # type: ignore[arg-type]
    edges = before.quantile(torch.linspace(0, 1, 9)[1:-1])
    flows = torch.zeros(8, 8).index_put_(
        (torch.bucketize(before, edges), torch.bucketize(after, edges)), torch.ones(chains), accumulate=True
    )
    pairs = torch.tensor(
        [[flows[i, j], flows[j, i]] for i in range(8) for j in range(i) if flows[i, j] + flows[j, i] > 40]
    )
    return {
        "kl_monotone": falls.float().mean().item(),
        "balance_uniform_p": uniformity(balance_p_values(pairs)),
        "balance_pairs": len(pairs),
    }


def real_fields(beta: float, count: int, seed: int) -> Tensor:
    """Fields of fresh chains that no training saw."""
    step = sweeps(phi4(beta / 2, 0.5), 0.09, cluster_updates=16, count=60)
    state, times = State.begin(Rng.of(seed, 32).normal(64, 64)), torch.zeros(8 + count // 32 + 1)
    return torch.cat([one.x for one in iterate(step, state, times, Rng.of(seed, 32))][8:])  # type: ignore[arg-type]


def quality(model: FieldModel, count: int) -> dict[str, Any]:
    """Generated phi4 fields beside as many real ones: by the network and `RELAX` sweeps of a chain, by the
    network alone, by the same sweeps from noise, and (the floor) other real fields. The worst of two
    couplings counts.
    """
    worst: dict[str, float] = {}
    everything: dict[str, Any] = {}
    for beta in (0.45, 0.6):
        energy, value = phi4(beta / 2, 0.5), torch.full((count,), beta)
        alone = fields(model, "phi4", beta, 64, count, seed=11)
        noise = relaxed(Rng.of(12, count).normal(64, 64), "phi4", value, RELAX, 13)
        real, other = real_fields(beta, 2 * count, 77).split(count)
        made = {"": relaxed(alone, "phi4", value, RELAX, 14), "_network_alone": alone}
        for name, x in (made | {"_chain_alone": noise, "_floor": other}).items():
            against = real if name == "_floor" else torch.cat([real, other])
            found = {
                f"spectrum_error{name}": spectrum_error(x, against).max().item(),
                f"frechet{name}": frechet(field_statistics(x, energy), field_statistics(real, energy)),
                f"boltzmann_kl{name}": histogram_divergence(energy(x), energy(against), 10),
            }
            everything |= {f"{key} at beta {beta}": value for key, value in found.items()}
            worst = {**worst, **{key: max(v, worst.get(key, 0.0)) for key, v in found.items()}}
    return worst | {"fields": everything}


def constraints(model: FieldModel) -> dict[str, float]:
    """Relative error of conserved quantities, before any projection and after it."""
    mean = torch.tensor([-0.3, 0.0, 0.1, 0.3])
    free = fields(model, "cahn-hilliard", 1.8, 64, 4, 25, seed=1, second=mean)
    drift = float(((free.mean((1, 2)) - mean).abs() / free.std((1, 2))).max())
    target = mass_and_norm(free.sum((1, 2)), 0.9 * free.square().sum((1, 2)))
    held = fields(
        model,
        "cahn-hilliard",
        1.8,
        64,
        4,
        25,
        seed=1,
        second=mean,
        constraints=Constraints(project_x_0=mass(mean * 4096), project_final=target),
    )
    norm = free.square().sum((1, 2))
    off = torch.maximum(
        (held.double().mean((1, 2)) - free.double().mean((1, 2))).abs(),
        (held.double().square().sum((1, 2)) / (0.9 * norm.double()) - 1).abs(),
    )
    return {"constraint_error": float(off.max()), "drift_before": drift}


def solver_agreement() -> float | None:
    """Largest difference of our phase separation from py-pde's on smooth waves, as a share of how far the
    field moved; None where py-pde is not installed."""
    if importlib.util.find_spec("pde") is None:
        return None
    import pde

    place = torch.arange(64, dtype=torch.float64) + 0.5
    start = 0.3 * torch.cos(math.pi / 16 * place)[:, None] * torch.sin(math.pi / 32 * place)[None]
    grid = pde.CartesianGrid([[0, 64], [0, 64]], [64, 64], periodic=True)
    equation = pde.CahnHilliardPDE(interface_width=1.0)
    field = pde.ScalarField(grid, start.numpy())
    theirs = equation.solve(field, t_range=20.0, dt=5e-3, tracker=None, backend="numpy").data
    *_, ours = cahn_hilliard(start[None], 2000, dt=0.01)
    return float((ours[0] - torch.from_numpy(theirs)).abs().max() / (ours[0] - start).abs().max())


ALONE = """
import re, sys, time, torch
from bowstring.fields.weights import load_fields
from bowstring.fields.sampling import MultiScaleGenerator, fields
model = load_fields()
scales = MultiScaleGenerator(model)
make = {"whole": lambda: fields(model, "phi4", 0.6, 256), "cascade": lambda: scales.sample(0.6)}[sys.argv[1]]
make()
began = time.perf_counter()
make()
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(time.perf_counter() - began, int(peak[1]) / 1024)
"""


def alone(what: str) -> tuple[float, float]:
    """Seconds and peak memory (MB) of one generation in a process of its own, all cores."""
    said = subprocess.run(
        [sys.executable, "-c", ALONE, what], capture_output=True, text=True, check=True
    ).stdout
    seconds, memory = said.split()
    return float(seconds), float(memory)


def training_speed() -> float:
    """Fields per second of training steps on 64 x 64 fields."""
    model, recipe = FieldModel(), FieldRecipe()
    batch = (torch.randn(64, 64, 64), torch.rand(64), torch.zeros(64))
    step = training_step(model, optimisers(model.network, recipe.rate), recipe)
    step("phi4", batch, 0)
    began = time.perf_counter()
    for i in range(8):
        step("phi4", batch, i)
    return 8 * 64 / (time.perf_counter() - began)


def measure(*, quick: bool, **_: Any) -> dict[str, Any]:
    """Everything the README says about fields."""
    load_before = os.getloadavg()[0]
    model = load_fields()
    made = quality(model, 192 if quick else 768)
    whole, cascade = ([alone(what) for _ in range(3)] for what in ("whole", "cascade"))
    big = MultiScaleGenerator(model).sample(0.6, 2)
    return {
        **chain_numbers(quick=quick),
        **tilt(6_000 if quick else 20_000),
        **constraints(model),
        **second_law(),
        **made,
        "seconds_256": sorted(s for s, _ in whole)[1],
        "seconds_cascade": sorted(s for s, _ in cascade)[1],
        "rss_mb": max(m for _, m in whole + cascade),
        "cascade_mass_error": float(max((big[i].mean() - big[2].mean()).abs() for i in range(2))),
        "train_samples_s": training_speed(),
        "solver_vs_py_pde": solver_agreement(),
        "machine": {"cores": os.cpu_count(), "load_before": load_before, "load_after": os.getloadavg()[0]},
    }
