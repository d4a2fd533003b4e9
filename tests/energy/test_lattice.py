"""The native chain against its readable twin, clusters against enumerated and exact Ising laws, and
ladders.
"""

import math

import pytest
import torch

from bowstring import _native
from bowstring.core.loop import State, iterate, last
from bowstring.core.rng import Rng
from bowstring.energy.diagnostics import effective_size
from bowstring.energy.mcmc.chains import hmc
from bowstring.energy.mcmc.lattice import fits, free_field, mode_variances, normals, sweeps, swendsen_wang
from bowstring.energy.mcmc.sampler import BoltzmannSampler, parallel_tempering
from bowstring.energy.potential import EnergyPotential, phi4
from bowstring.energy.projections import symbol
from bowstring.fields.ensemble import ising_law, states

native = pytest.mark.skipif(_native.library() is None, reason="the kernels were not built")
SPINS = EnergyPotential(0.0, 0.3, 1.0, 1.0)  # with |x| = 1 an Ising model at beta 0.3


def run(step, x, count, seed=0):
    return last(iterate(step, State.begin(x), torch.zeros(count + 1), Rng.of(seed, len(x))))


@native
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 17), (16, 16), (64, 64)])
@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_the_native_trajectory_is_the_readable_one(shape, temperature):
    """Same numbers, same proposals, same decisions, for every length of a row's tail."""
    energy = EnergyPotential(0.3, 0.5, -0.4, 1.5, 0.1)
    x = Rng.of(3, 6).normal(*shape)
    for jitter in (0.0, 0.5):  # lengths that vary from chain to chain are the same ones, too
        ours = run(sweeps(energy, 0.05, 7, temperature, jitter=jitter), x, 3)
        twin = run(hmc(energy, 0.05, 7, temperature, jitter=jitter), x, 3)
        torch.testing.assert_close(ours.x, twin.x, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(ours.carry["accepted"], twin.carry["accepted"])
        torch.testing.assert_close(ours.energy, twin.energy, atol=2e-3, rtol=1e-5)


@native
def test_native_normals_are_those_of_the_counter():
    rng = Rng.of(11, 5).at(torch.arange(5)).fork(2)
    for one in (rng, rng.fork(63), rng.fork(1000).fork(3)):
        for size in (1, 3, 64, 1001):
            torch.testing.assert_close(normals(one, size), one.normal(size), atol=2e-6, rtol=1e-5)


@native
def test_numbers_of_samples_reach_the_kernel_whatever_they_are_stored_as():
    sample, step = torch.arange(5, dtype=torch.int32), torch.arange(10)[::2]
    short, strided = Rng(11, sample, step.int()), Rng(11, torch.arange(5), step)
    assert torch.equal(normals(short, 4), normals(strided, 4))
    torch.testing.assert_close(normals(strided, 4), strided.normal(4), atol=2e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="expected one each for 6 chains"):
        run_with = sweeps(SPINS, 0.1)
        run_with(State.begin(torch.ones(6, 2, 2)), torch.zeros(6), torch.zeros(6), strided)


@native
def test_a_step_of_many_sweeps_has_other_numbers_in_each():
    """Sweep 48 and later have streams that once met those of the first sweeps' own."""
    energy, x, rng = EnergyPotential(0.0, 0.0, 1.0, 0.0), torch.zeros(2000, 1, 1), Rng.of(3, 2000)
    step = sweeps(energy, 0.3, 3, count=60)
    ours = last(iterate(step, State.begin(x), torch.zeros(2), rng)).x
    twin = State.begin(x)
    for i in range(60):
        at = rng.at(torch.zeros(2000, dtype=torch.int64))
        twin = hmc(energy, 0.3, 3)(twin, twin.t, twin.t, at if i == 0 else at.fork(15 + i))
    torch.testing.assert_close(ours, twin.x, atol=1e-4, rtol=1e-4)


@native
def test_chains_do_not_depend_on_who_else_is_in_the_batch():
    step, x = sweeps(phi4(0.3, 0.5), 0.1, cluster_updates=2, count=3), Rng.of(1, 4).normal(8, 8)
    whole = run(step, x, 4).x
    alone = last(iterate(step, State.begin(x[2:3]), torch.zeros(5), Rng.of(0, 1, first=2))).x
    assert torch.equal(whole[2], alone[0])


@pytest.mark.parametrize("clusters", ["wolff", "swendsen-wang"])
def test_clusters_sample_the_enumerated_ising_law(clusters):
    """All 512 states of 3 x 3 spins: the mean energy and the mean square of the sum, each within 4 errors."""
    law, all_states = ising_law(3, 3, 0.3), states(9).view(-1, 3, 3)
    step = sweeps(SPINS, 0.1, 0, cluster_updates=2) if clusters == "wolff" else swendsen_wang(SPINS)
    begin = Rng.of(5, 400).normal(3, 3).sign()
    kept = [s.x for s in iterate(step, State.begin(begin), torch.zeros(61), Rng.of(5, 400))][10:]
    x = torch.stack(kept, 1)
    bonds = lambda y: (y * (y.roll(1, -1) + y.roll(1, -2))).sum((-1, -2))
    for observable in (bonds, lambda y: y.sum((-1, -2)) ** 2):
        draws, exact = observable(x), float((law * observable(all_states)).sum())
        error = draws.std().item() / math.sqrt(effective_size(draws))
        assert abs(draws.mean().item() - exact) < 4 * error


def test_clusters_reach_the_exact_energy_of_a_large_ising_model():
    """Onsager's mean bond at beta = 0.3, from his integral; 24 x 24 sites are large at this temperature."""
    beta = 0.3
    k = 2 * math.sinh(2 * beta) / math.cosh(2 * beta) ** 2
    angle = torch.linspace(0, math.pi / 2, 20001, dtype=torch.float64)
    elliptic = torch.trapezoid(1 / (1 - k**2 * angle.sin() ** 2).sqrt(), angle).item()
    per_site = 1 / math.tanh(2 * beta) * (1 + 2 / math.pi * (2 * math.tanh(2 * beta) ** 2 - 1) * elliptic)
    step = sweeps(SPINS, 0.1, 0, cluster_updates=20, count=4)
    begin = Rng.of(6, 40).normal(24, 24).sign()
    x = torch.stack([s.x for s in iterate(step, State.begin(begin), torch.zeros(81), Rng.of(6, 40))][20:], 1)
    draws = (x * (x.roll(1, -1) + x.roll(1, -2))).mean((-1, -2))
    error = draws.std().item() / math.sqrt(effective_size(draws))
    assert abs(draws.mean().item() - per_site) < 4 * error and error < 0.003


@pytest.mark.parametrize("clusters", [0, 2])
def test_the_lattice_sampler_passes_creutz_and_the_virial(clusters):
    sampler = BoltzmannSampler(phi4(0.3, 0.5), cluster_updates=clusters, num_integration_steps=6)
    chains = sampler.sample(Rng.of(2, 32).normal(8, 8), 300, 150, seed=4)
    said = chains.report(sampler.energy)
    ratios = chains.log_ratio.exp()
    assert abs(said["creutz"] - 1) < 4 * ratios.std().item() / math.sqrt(effective_size(ratios))
    assert abs(said["virial"] - 1) < 0.02 and said["stuck"] == 0 and said["r_hat"] < 1.05


def test_a_free_field_has_its_covariance_and_forgets_at_once():
    energy = EnergyPotential(1.0, 0.0, 0.3, 0.0)
    step = free_field(energy)
    kept = [s.x for s in iterate(step, State.begin(torch.zeros(50, 8, 8)), torch.zeros(121), Rng.of(8, 50))]
    x = torch.cat(kept)
    power = torch.fft.fft2(x).abs().square().mean(0) / 64
    exact = 1 / (symbol(8, 8) + 0.3)
    assert ((power / exact - 1).abs() < 5 * math.sqrt(2 / len(x))).all()
    torch.testing.assert_close(mode_variances(energy, 8, 8), exact)
    assert effective_size(torch.stack(kept, 1).mean((2, 3))) > 0.85 * len(x)


def test_a_ladder_of_temperatures_crosses_a_barrier_that_a_chain_does_not():
    """Two wells at -1 and 1 with a barrier of 20 kT: all chains begin in one, half should end in the
    other.
    """
    wells = EnergyPotential(0.0, 0.0, -80.0, 80.0)
    temperatures, n = [1.0, 2.5, 6.0, 16.0], 100
    kernels = [sweeps(wells, 0.03 * t**0.25, 5, t, count=3) for t in temperatures]
    x, times = torch.ones(4 * n, 1, 1), torch.zeros(121)
    cold = last(iterate(kernels[0], State.begin(x[:n]), times, Rng.of(1, n))).x
    ladder = parallel_tempering(kernels, temperatures, wells)
    end = last(iterate(ladder, State.begin(x), times, Rng.of(1, 4 * n)))
    assert (cold > 0).all()
    assert abs((end.x[::4] > 0).float().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(n)
    assert end.carry["swapped"][::4].min() > 10
    torch.testing.assert_close(end.energy, wells(end.x))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step_size": math.nan}, "step_size is nan"),
        ({"num_integration_steps": -1}, "num_integration_steps is -1"),
        ({"cluster_updates": -1}, "cluster_updates is -1"),
        ({"count": 0}, "count is 0"),
        ({"count": 2**62}, "count is"),
        ({"temperature": 0}, "temperature is 0"),
        ({"jitter": 2}, "jitter is 2"),
    ],
)
def test_a_call_that_would_not_end_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        sweeps(SPINS, **({"step_size": 0.1} | options))


def test_what_a_kernel_cannot_do_is_said():
    with pytest.raises(ValueError, match="Set cluster_updates to 0"):
        sweeps(EnergyPotential(field=0.1), 0.1, cluster_updates=1)
    with pytest.raises(ValueError, match="not a Gaussian field"):
        mode_variances(phi4(0.3, 0.5), 4, 4)
    assert not fits(EnergyPotential(periodic=False), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="whole number of ladders"):
        run(parallel_tempering([hmc(SPINS, 0.1, 2)] * 2, [1.0, 2.0], SPINS), torch.ones(3, 2, 2), 1)
