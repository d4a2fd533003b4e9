"""Do fields obey their laws, and how fast are they drawn? Beside BlackJAX and TorchEBM where they are
installed.

The chains take turns on one core; effective sizes are by our own estimator for all. What holds exactly (the
second law, projections) is tested and not measured.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.guidance import energy_guided
from ..core.loop import Denoise, State, iterate, last
from ..core.process import Gaussian, karras
from ..core.rng import Rng
from ..core.samplers.continuous import dpmpp_2m
from ..core.threads import one_thread
from ..energy.constraints import tilted
from ..energy.diagnostics import frechet
from ..energy.mcmc.lattice import sweeps
from ..energy.mcmc.sampler import BoltzmannSampler
from ..energy.potential import EnergyPotential, phi4
from ..energy.projections import symbol
from ..fields.ensemble import balance_p_values, uniformity
from ..fields.metrics import band_powers, field_statistics, histogram_divergence
from ..fields.model import FieldModel
from ..fields.sampling import MultiScaleGenerator, fields, relaxed
from ..fields.solvers import cahn_hilliard
from ..fields.weights import SHIPPED_FIELDS as FIELDS
from ..fields.weights import load_fields
from ..train.fields import FieldRecipe, training_step
from ..train.optim import optimisers
from ..train.schedule import Moment
from .report import resident_mb
from .results import Measured, Measurement, Setting, announce, jackknife
from .sampling import MONITORS, chain_numbers

GAUSSIAN = Gaussian()
RELAX = 20  # sweeps after the network; from noise, 400 are needed
PART = 32  # fields that are drawn at once
TILT_PARTS = 20  # as many as a jackknife leaves out
FIELD_SEED = 1_000_000  # of the first part; that of a later one is higher by the number of its first field


def exact_denoiser(power: Tensor) -> Denoise:
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = GAUSSIAN.at(t, x)
        return torch.fft.ifft2(torch.fft.fft2(x) * alpha * power / (alpha**2 * power + sigma**2)).real

    return denoise


def in_parts(make: Callable[[int, int], Tensor], count: int, most: int = PART) -> list[Tensor]:
    """What `make(first, n)` makes of `count` samples, part by part, each core at a part of its own.

    Threads within one operation wait for each other: beside other work, two drew 32 fields in 102 s and one
    in 19.
    """
    firsts = range(0, count, most)
    sizes = [min(most, count - first) for first in firsts]
    with one_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:  # threads that begin in it have one, too
        return [*pool.map(make, firsts, sizes)]


def tilted_power(denoise: Denoise, side: int, first: int, count: int) -> Tensor:
    """Mean power of every mode of generated fields, `(side, side)`."""
    rng = Rng.of(0, count, first)
    times = karras(50, GAUSSIAN.schedule, low=0.01)
    x = last(iterate(dpmpp_2m(denoise, GAUSSIAN), State.begin(rng.normal(side, side)), times, rng)).x
    return torch.fft.fft2(x).abs().square().mean(0) / side**2


def tilt_errors(count: int) -> dict[str, Measured]:
    """Largest relative error of a mode's variance under a quadratic tilt, which is known exactly."""
    side, eta, energy = 16, 1.0, EnergyPotential(1.0, 0.0, 1.0, 0.0)
    rate = symbol(side, side).float()
    power = 1 / (0.2 + rate)
    exact = 1 / (1 / power + eta * (rate + 1))
    rows, which = rate.mul(1e4).round().unique(return_inverse=True)

    def worst_error(parts: list[Tensor]) -> float:
        ratio = torch.stack(parts).mean(0) / exact
        by_rate = torch.zeros(len(rows)).index_add_(0, which.flatten(), ratio.flatten())
        return float((by_rate / which.flatten().bincount() - 1).abs().max())

    out: dict[str, Measured] = {}
    literal = energy_guided(exact_denoiser(power), energy, GAUSSIAN, eta)
    for name, denoise in (
        ("tilt_error", tilted(exact_denoiser(power), energy, GAUSSIAN, power, eta)),
        ("tilt_error_literal", literal),
    ):
        parts = in_parts(partial(tilted_power, denoise, side), count, count // TILT_PARTS)
        out[name] = replace(jackknife(worst_error, parts), n=count)
    return out


def balance() -> dict[str, Measured]:
    """Do flows of a chain at equilibrium balance? The p-value of all pairs of eight bins; beside it that of
    the same flows with one in five upward moves lost, which the test must see.
    """
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
    kept = torch.binomial(flows, torch.full_like(flows, 0.8), generator=torch.Generator().manual_seed(0))
    lossy = torch.where(torch.ones(8, 8).triu(1).bool(), kept, flows)
    pairs = pairs_of(flows)
    return {
        "balance_p": Measured(uniformity(balance_p_values(pairs)), n=len(pairs)),
        "balance_p_control": Measured(uniformity(balance_p_values(pairs_of(lossy))), n=len(pairs)),
    }


def pairs_of(flows: Tensor) -> Tensor:
    """Counts there and back of every pair of bins that was passed often enough, `(n, 2)`."""
    bins = range(len(flows))
    return torch.tensor(
        [[flows[i, j], flows[j, i]] for i in bins for j in range(i) if flows[i, j] + flows[j, i] > 40]
    )


def real_fields(beta: float, count: int, seed: int) -> Tensor:
    """Fields of fresh chains that no training saw."""
    step = sweeps(phi4(beta / 2, 0.5), 0.09, cluster_updates=16, count=60)
    state, times = State.begin(Rng.of(seed, 32).normal(64, 64)), torch.zeros(8 + count // 32 + 1)
    return torch.cat([one.x for one in iterate(step, state, times, Rng.of(seed, 32))][8:])  # type: ignore[arg-type]


def distances(x: Tensor, against: Tensor, real: Tensor, energy: EnergyPotential) -> dict[str, Measured]:
    """How far fields are from real ones: spectrum (the worst band), statistics, energies; errors are of `x`.

    Args:
        against: real fields, for what gets better with more of them. real: as many as `x`, since a Frechet
            distance falls with their number.
    """
    power, true = band_powers(x), band_powers(against).mean(0)
    known, energies, scores = field_statistics(real, energy), energy(against), energy(x)
    made = field_statistics(x, energy)
    return {
        "spectrum_error": over_rows(lambda rows: float((power[rows].mean(0) / true - 1).abs().max()), len(x)),
        "frechet": over_rows(lambda rows: frechet(made[rows], known), len(x)),
        "boltzmann_kl": over_rows(lambda rows: histogram_divergence(scores[rows], energies, 10), len(x)),
    }


def over_rows(statistic: Callable[[list[int]], float], count: int) -> Measured:
    """A statistic of `count` fields, its error from leaving some of them out."""
    return jackknife(statistic, range(count))


def field_numbers(model: FieldModel, count: int) -> dict[str, Any]:
    """Generated phi4 fields beside as many real ones: by the network and `RELAX` sweeps of a chain, by the
    network alone, by the same sweeps from noise, and (the floor) other real fields. The worst of two
    couplings counts.
    """
    worst: dict[str, Measured] = {}
    everything: dict[str, Measured] = {}
    for beta in (0.45, 0.6):
        energy, value = phi4(beta / 2, 0.5), torch.full((count,), beta)

        def draw(first: int, n: int, beta: float = beta) -> Tensor:
            return fields(model, "phi4", beta, 64, n, seed=FIELD_SEED + first)

        alone = torch.cat(in_parts(draw, count))
        noise = relaxed(Rng.of(12, count).normal(64, 64), "phi4", value, RELAX, 13)
        real, other = real_fields(beta, 2 * count, 77).split(count)
        made = {"": relaxed(alone, "phi4", value, RELAX, 14), "_alone": alone}
        for name, x in (made | {"_chain_alone": noise, "_floor": other}).items():
            against = real if name == "_floor" else torch.cat([real, other])
            found = {f"{key}{name}": one for key, one in distances(x, against, real, energy).items()}
            everything |= {f"{key} at beta {beta}": one for key, one in found.items()}
            worst |= {key: max(one, worst.get(key, one), key=of_value) for key, one in found.items()}
    return worst | {"fields": everything}


def of_value(one: Measured) -> float:
    return one.value or 0.0


def mass_drift(model: FieldModel) -> Measured:
    """Largest error of a mixture's mean without any projection, in standard deviations of the field."""
    mean = torch.tensor([-0.3, 0.0, 0.1, 0.3])
    free = fields(model, "cahn-hilliard", 1.8, 64, 4, 25, seed=1, second=mean)
    return Measured(float(((free.mean((1, 2)) - mean).abs() / free.std((1, 2))).max()), n=4)


def solver_agreement() -> Measured:
    """Largest difference of our phase separation from py-pde's on smooth waves, as a share of how far the
    field moved; None where py-pde is not installed."""
    if importlib.util.find_spec("pde") is None:
        return Measured(None, n=0)
    pde: Any = importlib.import_module("pde")  # its types differ between versions
    place = torch.arange(64, dtype=torch.float64) + 0.5
    start = 0.3 * torch.cos(math.pi / 16 * place)[:, None] * torch.sin(math.pi / 32 * place)[None]
    grid = pde.CartesianGrid([[0, 64], [0, 64]], [64, 64], periodic=True)
    equation = pde.CahnHilliardPDE(interface_width=1.0)
    field = pde.ScalarField(grid, start.numpy())
    theirs = equation.solve(field, t_range=20.0, dt=5e-3, tracker=None, backend="numpy").data
    *_, ours = cahn_hilliard(start[None], 2000, dt=0.01)
    return Measured(float((ours[0] - torch.from_numpy(theirs)).abs().max() / (ours[0] - start).abs().max()))


def generate_alone(what: str) -> tuple[float, float]:
    """Seconds and peak memory (MB) of one generation in a process of its own, all cores."""
    command = [sys.executable, "-m", "bowstring.eval.physics", what]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    seconds, memory = printed.split()
    return float(seconds), float(memory)


def print_generation(what: str) -> None:
    """What `generate_alone` runs in its process."""
    model = load_fields()
    scales = MultiScaleGenerator(model)
    make = {"whole": lambda: fields(model, "phi4", 0.6, 256), "cascade": lambda: scales.sample(0.6)}[what]
    make()
    began = time.perf_counter()
    make()
    print(time.perf_counter() - began, resident_mb())


def training_speed(batches: int = 8) -> Measured:
    """Fields per second of training steps on 64 x 64 fields."""
    model, recipe = FieldModel(), FieldRecipe()
    batch = (torch.randn(64, 64, 64), torch.rand(64), torch.zeros(64))
    step = training_step(model, optimisers(model.network, recipe.rate), recipe)
    step("phi4", batch, Moment(0, 0.0))
    taken = []
    for i in range(batches):
        began = time.perf_counter()
        step("phi4", batch, Moment(i, 0.0))
        taken.append(64 / (time.perf_counter() - began))
    return Measured.median(taken)


def measure_physics(setting: Setting) -> Measurement:
    """Everything the README says about fields."""
    quick, model = setting.quick, load_fields()
    numbers: dict[str, Any] = chain_numbers(quick=quick)
    announce("tilts and balance")
    numbers |= tilt_errors(4_000 if quick else 20_000) | balance() | {"mass_drift": mass_drift(model)}
    announce("generated fields beside real ones")
    numbers |= field_numbers(model, 96 if quick else 384)
    announce("speed")
    runs = {what: [generate_alone(what) for _ in range(3)] for what in ("whole", "cascade")}
    big = MultiScaleGenerator(model).sample(0.6, 2)
    numbers |= {
        "seconds_256": Measured.median([seconds for seconds, _ in runs["whole"]]),
        "seconds_cascade": Measured.median([seconds for seconds, _ in runs["cascade"]]),
        "rss_mb": Measured(max(memory for some in runs.values() for _, memory in some), n=6),
        "cascade_mass_error": Measured(
            float(max((big[i].mean() - big[2].mean()).abs() for i in range(2))), n=2
        ),
        "samples_per_s": training_speed(),
        "solver_vs_py_pde": solver_agreement(),
    }
    missing = {
        name: f"{package} is not installed"
        for package, name in (("blackjax", "BlackJAX"), ("torchebm", "TorchEBM"), ("pde", "solver_vs_py_pde"))
        if importlib.util.find_spec(package) is None
    }
    return Measurement(numbers, [FIELDS / "network.parquet"], missing)


if __name__ == "__main__":
    print_generation(sys.argv[1])
