"""Chains against laws that are known: moments, <exp(-dH)> = 1, the virial, reversibility, orders."""

import math
from functools import partial

import pytest
import torch

from bowstring.core.loop import State, iterate, last
from bowstring.core.rng import Rng
from bowstring.energy.diagnostics import bulk_size, effective_size, r_hat, split_halves, tail_size, virial
from bowstring.energy.mcmc.chains import hmc, leapfrog, mala, metropolis, ula
from bowstring.energy.mcmc.sampler import BoltzmannSampler
from bowstring.energy.potential import EnergyPotential, phi4

WELL = EnergyPotential(0.0, 0.0, 2.0, 0.0)  # x^2 per site: variance kT / 2
FIELD = phi4(0.2, 0.5)


def error_of_mean(draws):
    return draws.double().std().item() / math.sqrt(effective_size(draws))


@pytest.mark.parametrize(
    ("method", "temperature"), [("mala", 1.0), ("metropolis", 1.0), ("hmc", 1.0), ("hmc", 2.5), ("mala", 0.4)]
)
def test_adjusted_chains_have_the_right_variance_at_every_temperature(method, temperature):
    sampler = BoltzmannSampler(WELL, method, temperature=temperature, num_integration_steps=5)
    run = sampler.sample(torch.zeros(60, 2, 2), num_samples=500, num_warmup=150, seed=1)
    squares = run.draws[..., 0, 0] ** 2
    assert abs(squares.mean().item() - temperature / 2) < 4 * error_of_mean(squares)
    aim = {"mala": 0.574, "metropolis": 0.234, "hmc": 0.8}[method]
    assert run.exact and not run.stuck.any() and abs(run.acceptance.mean() - aim) < 0.12


def test_an_unadjusted_chain_is_flagged_and_its_bias_is_the_known_one():
    """For E = x^2 the chain x + size (-2 x) + noise has variance 1 / (2 - 2 size)."""
    size = 0.2
    run = BoltzmannSampler(WELL, "ula", step_size=size).sample(
        torch.zeros(200, 2, 2), num_samples=400, num_warmup=50, seed=2
    )
    squares = run.draws[..., 0, 0] ** 2
    assert not run.exact
    assert abs(squares.mean().item() - 1 / (2 - 2 * size)) < 4 * error_of_mean(squares)
    assert squares.mean().item() - 0.5 > 8 * error_of_mean(squares)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_virial_of_an_interacting_field_is_its_temperature(temperature):
    run = BoltzmannSampler(FIELD, "hmc", temperature=temperature).sample(
        torch.zeros(40, 4, 4), 250, 100, seed=3
    )
    flat = run.draws.flatten(0, 1)
    values = virial(flat, FIELD.score(flat)).view(run.energy.shape)
    assert abs(values.mean().item() - temperature) < 4 * error_of_mean(values)


def test_the_mean_of_exp_of_minus_the_energy_error_is_one():
    """Creutz's equality: a wrong mass, sign or half step breaks it."""
    n, mass = 4000, torch.tensor([[1.0, 2.0], [0.5, 1.0]])
    start = BoltzmannSampler(FIELD, "hmc").sample(torch.zeros(n, 2, 2), 1, 60, seed=4).draws[:, -1]
    p = mass.sqrt() * Rng.of(5, n).normal(2, 2)
    y, q = leapfrog(FIELD.score, start, p, 0.25, 6, mass)
    kinetic = lambda v: 0.5 * (v**2 / mass).sum((1, 2))
    change = (FIELD(y) - FIELD(start) + kinetic(q) - kinetic(p)).double()
    weight = change.neg().exp()
    assert change.abs().mean() > 0.02
    assert abs(weight.mean().item() - 1) < 4 * weight.std().item() / math.sqrt(n)


def test_leapfrog_goes_back_the_way_it_came_and_is_of_second_order():
    x, p = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind(0)
    y, q = leapfrog(FIELD.score, x, p, 0.1, 12)
    back, turned = leapfrog(FIELD.score, y, -q, 0.1, 12)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(turned, -p)
    total = lambda x, p: FIELD(x) + 0.5 * (p**2).sum((1, 2))
    errors = [
        (total(*leapfrog(FIELD.score, x, p, 0.8 / n, n)) - total(x, p)).abs().max().item()
        for n in (16, 32, 64)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25) and errors[1] / errors[2] == pytest.approx(
        4, rel=0.1
    )


def test_chains_depend_neither_on_their_batch_nor_on_a_stop():
    x = torch.randn(6, 4, 4, generator=torch.Generator().manual_seed(1))
    for step in (mala(FIELD, 0.05), hmc(FIELD, 0.2, 5)):
        whole = last(iterate(step, State.begin(x), torch.zeros(13), Rng.of(3, 6)))
        alone = last(iterate(step, State.begin(x[:2]), torch.zeros(13), Rng.of(3, 2)))
        assert torch.equal(whole.x[:2], alone.x)
        half = last(iterate(step, State.begin(x), torch.zeros(6), Rng.of(3, 6)))
        rest = last(iterate(step, State.from_tensors(half.tensors()), torch.zeros(13), Rng.of(3, 6)))
        assert torch.equal(rest.x, whole.x)


def test_a_chain_that_cannot_move_is_reported():
    wall = lambda x: torch.where(x.flatten(1).abs().amax(1) > 1e-6, torch.inf, 0.0)
    run = BoltzmannSampler(wall, "metropolis", step_size=1.0).sample(
        torch.zeros(3, 2, 2), num_samples=20, num_warmup=0
    )
    assert run.stuck.all() and math.isnan(bulk_size(run.draws[..., 0, 0]))


@pytest.mark.parametrize("method", ["mala", "metropolis", "hmc", "ula"])
def test_chains_of_single_numbers_have_the_right_variance(method):
    sampler = BoltzmannSampler(lambda x: x**2 / 2, method, step_size=0.02 if method == "ula" else 0.5)
    found = sampler.sample(torch.randn(300, generator=torch.Generator().manual_seed(0)), 150, 60, seed=3)
    squares = found.draws**2
    assert found.draws.shape == (300, 150) and found.report(sampler.energy)["escaped"] == 0
    assert abs(squares.mean().item() - 1) < 4 * error_of_mean(squares) + (0.011 if method == "ula" else 0)


@pytest.mark.parametrize("clusters", [0, 1])
def test_a_mass_per_site_changes_the_path_and_not_the_law(clusters):
    mass, x = torch.linspace(0.5, 4, 16).view(4, 4), torch.zeros(48, 4, 4)
    sampler = BoltzmannSampler(FIELD, mass=mass, cluster_updates=clusters)
    plain = BoltzmannSampler(FIELD, cluster_updates=clusters)
    heavy, light = (one.sample(x, 160, 60, seed=6) for one in (sampler, plain))
    assert abs(heavy.report(FIELD)["virial"] - 1) < 0.05 > abs(light.report(FIELD)["virial"] - 1)
    first, other = (one.sample(x, 1, 0, seed=6) for one in (sampler, plain))
    assert not torch.allclose(first.draws.abs(), other.draws.abs())  # the mass is heeded
    alike = BoltzmannSampler(FIELD, mass=torch.ones(4, 4)).sample(x, 3, 3, seed=6)
    assert torch.equal(alike.draws, BoltzmannSampler(FIELD).sample(x, 3, 3, seed=6).draws)


def test_every_chain_has_a_number_of_integration_steps_of_its_own():
    """Frictionless motion in no field: the distance says how many steps were taken."""
    n = 400
    free = lambda x: 0.0 * x.sum(1)
    step = hmc(free, 1.0, 10, jitter=0.3)
    state = last(iterate(step, State.begin(torch.zeros(n, 1)), torch.zeros(2), Rng.of(0, n)))
    momentum = Rng.of(0, n).at(torch.zeros(n, dtype=torch.int64)).normal(1)
    steps = (state.x / momentum)[:, 0]
    torch.testing.assert_close(steps, state.nfe.float(), atol=1e-3, rtol=1e-4)
    assert sorted(set(state.nfe.tolist())) == list(range(7, 14))
    alone = last(iterate(step, State.begin(torch.zeros(1, 1)), torch.zeros(2), Rng.of(0, 1, first=7)))
    assert torch.equal(alone.x[0], state.x[7])


def test_a_chain_without_adjustment_that_leaves_what_is_allowed_is_flagged():
    inside = lambda x: torch.where(x > 0, x, torch.inf)
    sampler = BoltzmannSampler(inside, "ula", step_size=0.5)
    with pytest.warns(RuntimeWarning, match="chains stand where the energy is not finite"):
        found = sampler.sample(torch.ones(20), 50, 10)
    assert found.escaped.any() and not found.exact
    exact = BoltzmannSampler(inside, "mala", step_size=0.5).sample(torch.ones(20), 50, 10)
    assert not exact.escaped.any()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"step_size": math.nan}, "step_size is nan"),
        ({"step_size": 0}, "step_size is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": 0}, "temperature is 0"),
        ({"mass": 0}, "mass is 0"),
        ({"mass": math.inf}, "mass is inf"),
        ({"mass": torch.tensor([1.0, -1.0])}, "mass is an array"),
        ({"mass": torch.tensor([[1.0, math.nan], [1.0, 1.0]])}, "not positive"),
        ({"num_integration_steps": 0}, "num_integration_steps is 0"),
        ({"num_integration_steps": -3}, "num_integration_steps is -3"),
        ({"cluster_updates": -1}, "cluster_updates is -1"),
        ({"cluster_updates": 1, "method": "mala"}, "set cluster_updates to 0"),
        ({"mass": 2.0, "method": "mala"}, "mass is for the method hmc"),
        ({"method": "gibbs"}, "method is 'gibbs'; expected"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused_at_once(options, says):
    with pytest.raises(ValueError, match=says):
        BoltzmannSampler(FIELD, **options)


@pytest.mark.parametrize("kernel", [ula, mala, metropolis, partial(hmc, num_integration_steps=5)])
def test_a_kernel_alone_refuses_what_means_nothing(kernel):
    for wrong in ({"step_size": math.nan}, {"step_size": -0.1}, {"step_size": 0.1, "temperature": 0}):
        with pytest.raises(ValueError, match="expected a number above 0"):
            kernel(FIELD, **wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_samples": -1}, "num_samples is -1"),
        ({"num_warmup": -1}, "num_warmup is -1"),
        ({"thin": 0}, "thin is 0"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"x": torch.zeros(0, 2, 2)}, "expected real numbers"),
        ({"x": torch.zeros(2, 2, 2, dtype=torch.int64)}, "expected real numbers"),
        ({"x": torch.full((2, 2, 2), torch.nan)}, "not finite"),
        ({"x": torch.zeros(2, 3, 3)}, "one per site"),
    ],
)
def test_a_run_that_cannot_be_is_refused_at_once(options, says):
    given = {"x": torch.zeros(2, 2, 2), "num_samples": 5, "num_warmup": 5} | options
    with pytest.raises(ValueError, match=says):
        BoltzmannSampler(FIELD, mass=torch.ones(2, 2)).sample(**given)
    with pytest.raises(TypeError, match="seed is None"):
        BoltzmannSampler(FIELD).sample(torch.zeros(2, 2, 2), 5, 5, seed=None)


def test_an_energy_that_is_one_number_for_all_chains_is_refused():
    with pytest.raises(ValueError, match=r"energy gives \(\); expected one number per chain, \(4,\)"):
        BoltzmannSampler(lambda x: x.square().sum()).sample(torch.zeros(4, 2), 5, 5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_report_of_few_draws_says_that_it_cannot_say(n):
    said = BoltzmannSampler(FIELD).sample(torch.zeros(4, 2, 2), n, 0).report(FIELD)
    assert math.isnan(said["ess_bulk"]) and math.isnan(said["ess_tail"]) and said["r_hat"] == math.inf


def test_draws_come_out_as_arviz_keeps_them():
    pytest.importorskip("arviz_base")
    found = BoltzmannSampler(FIELD).sample(torch.zeros(3, 2, 2), 5, 2)
    tree = found.to_arviz("phi")
    assert tree["posterior"]["phi"].dims[:2] == ("chain", "draw")
    assert tree["posterior"]["phi"].shape == (3, 5, 2, 2) == tuple(found.draws.shape)
    assert tree["sample_stats"]["energy"].values[2, 4] == found.energy[2, 4]
    assert "5 draws of 3 chains" in repr(found) and len(repr(found)) < 200


def autoregressive(rho, n, b, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(b, n, generator=rng, dtype=torch.float64)
    for i in range(1, n):
        x[:, i] = rho * x[:, i - 1] + math.sqrt(1 - rho**2) * x[:, i]
    return x


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_the_effective_size_of_an_autoregressive_chain_is_known(rho):
    """n (1 - rho) / (1 + rho)."""
    draws = autoregressive(rho, 4000, 32, 0)
    expected = draws.numel() * (1 - rho) / (1 + rho)
    assert effective_size(draws) == pytest.approx(expected, rel=0.15)
    assert bulk_size(draws.exp()) == pytest.approx(bulk_size(draws), rel=1e-9)  # ranks alone count
    assert 0.2 * expected < tail_size(draws) < 3 * expected


def test_r_hat_is_one_for_chains_that_agree_and_more_for_others():
    draws = autoregressive(0.3, 1000, 4, 1)
    assert r_hat(draws) < 1.01
    shifted = draws + torch.tensor([0.0, 0.0, 0.0, 1.5])[:, None]
    wider = draws * torch.tensor([1.0, 1.0, 1.0, 3.0])[:, None]  # the same mean: only the folded ranks see it
    assert r_hat(shifted) > 1.1 and r_hat(wider) > 1.1
    assert split_halves(draws).shape == (8, 500)
