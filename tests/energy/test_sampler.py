"""Chains against laws that are known: moments, <exp(-dH)> = 1, the virial, reversibility, orders."""

import math

import pytest
import torch

from bowstring.core.loop import State, iterate, last
from bowstring.core.rng import Rng
from bowstring.energy.diagnostics import bulk_size, effective_size, r_hat, split, tail_size, virial
from bowstring.energy.mcmc.chains import hmc, leapfrog, mala
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
    sampler = BoltzmannSampler(WELL, method, temperature=temperature, length=5)
    run = sampler.sample(torch.zeros(60, 2, 2), keep=500, warm_up=150, seed=1)
    squares = run.x[..., 0, 0] ** 2
    assert abs(squares.mean().item() - temperature / 2) < 4 * error_of_mean(squares)
    assert run.exact and not run.stuck.any() and abs(run.acceptance.mean() - 0.5) < 0.45


def test_an_unadjusted_chain_is_flagged_and_its_bias_is_the_known_one():
    """For E = x^2 the chain x + size (-2 x) + noise has variance 1 / (2 - 2 size)."""
    size = 0.2
    run = BoltzmannSampler(WELL, "ula", size).sample(torch.zeros(200, 2, 2), keep=400, warm_up=50, seed=2)
    squares = run.x[..., 0, 0] ** 2
    assert not run.exact
    assert abs(squares.mean().item() - 1 / (2 - 2 * size)) < 4 * error_of_mean(squares)
    assert squares.mean().item() - 0.5 > 8 * error_of_mean(squares)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_virial_of_an_interacting_field_is_its_temperature(temperature):
    run = BoltzmannSampler(FIELD, "hmc", temperature=temperature).sample(
        torch.zeros(40, 4, 4), 250, 100, seed=3
    )
    values = torch.stack([virial(x, FIELD.score(x)) for x in run.x])
    assert abs(values.mean().item() - temperature) < 4 * error_of_mean(values)


def test_the_mean_of_exp_of_minus_the_energy_error_is_one():
    """Creutz's equality: a wrong mass, sign or half step breaks it."""
    n, mass = 4000, torch.tensor([[1.0, 2.0], [0.5, 1.0]])
    start = BoltzmannSampler(FIELD, "hmc").sample(torch.zeros(n, 2, 2), 1, 60, seed=4).x[-1]
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
    run = BoltzmannSampler(wall, "metropolis", size=1.0).sample(torch.zeros(3, 2, 2), keep=20, warm_up=0)
    assert run.stuck.all() and math.isnan(bulk_size(run.x[..., 0, 0]))


def autoregressive(rho, n, b, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.empty(n, b, dtype=torch.float64)
    x[0] = torch.randn(b, generator=rng, dtype=torch.float64)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + math.sqrt(1 - rho**2) * torch.randn(b, generator=rng, dtype=torch.float64)
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
    shifted = draws + torch.tensor([0.0, 0.0, 0.0, 1.0])
    wider = draws * torch.tensor([1.0, 1.0, 1.0, 3.0])  # the same mean: only the folded ranks see it
    assert r_hat(shifted) > 1.1 and r_hat(wider) > 1.1
    assert split(draws).shape == (500, 8)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match="expected one of"):
        BoltzmannSampler(WELL, "gibbs")
    with pytest.raises(ValueError, match="not finite"):
        BoltzmannSampler(WELL).sample(torch.full((2, 2, 2), torch.nan), 1, 0)
