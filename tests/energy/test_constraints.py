"""Tilts against exact Gaussian posteriors, hulls and last projections, tokens' tilts, refusals."""

import math

import pytest
import torch

from bowstring.core.loop import State, iterate, last
from bowstring.core.process import Gaussian, Masked, karras, uniform
from bowstring.core.rng import Rng
from bowstring.core.samplers.continuous import dpmpp_2m
from bowstring.core.samplers.masked import unmask
from bowstring.energy.constraints import (
    Refused,
    allowed,
    biased,
    level_set,
    project_x_0,
    tilted,
    until_valid,
)
from bowstring.energy.potential import EnergyPotential, phi4
from bowstring.energy.projections import affine, box_and_mass, intersection, mass, mass_and_norm, symbol

PROCESS = Gaussian()
H = 8
POWER = (1 / (0.2 + symbol(H, H))).float()


def exact(x, t):
    """The mean of x_0 given x_t, for a Gaussian field whose modes have POWER."""
    alpha, sigma = PROCESS.at(t, x)
    return torch.fft.ifft2(torch.fft.fft2(x) * alpha * POWER / (alpha**2 * POWER + sigma**2)).real


def sampled(denoise, count, steps=40, seed=0, high=80.0):
    rng = Rng.of(seed, count)
    times = karras(steps, PROCESS.schedule, low=0.01, high=high)
    return last(iterate(dpmpp_2m(denoise, PROCESS), State.begin(rng.normal(H, H)), times, rng)).x


@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_a_quadratic_tilt_gives_every_mode_the_variance_of_the_product_law(eta):
    """Precisions add: 1 / POWER + eta (lambda_k + 1). The literal x_t gradient keeps a fifth of it at
    best.
    """
    energy = EnergyPotential(1.0, 0.0, 1.0, 0.0)
    x = sampled(tilted(exact, energy, PROCESS, POWER, eta), 1500)
    variance = torch.fft.fft2(x).abs().square().mean(0) / H**2
    ratio = variance * (1 / POWER + eta * (symbol(H, H) + 1).float())
    assert (ratio - 1).abs().max() < 0.02 + 4 * math.sqrt(2 / 1500)
    assert abs(ratio.mean().item() - 1) < 0.02


def test_a_linear_tilt_moves_the_mean_as_bayes_says():
    """exp(eta h sum x) moves every site by eta h times the variance of the mean mode."""
    pull = lambda x: -0.3 * x.flatten(1).sum(1)
    x = sampled(tilted(exact, pull, PROCESS, POWER), 2000, steps=60, high=800.0)  # noise has no mean to lose
    error = math.sqrt(POWER[0, 0].item() / H**2 / 2000)
    assert abs(x.mean().item() - 0.3 * POWER[0, 0].item()) < 4 * error + 0.01


def test_a_tilt_by_nothing_changes_nothing():
    rest = lambda x: 0.0 * x.flatten(1).sum(1)
    torch.testing.assert_close(sampled(tilted(exact, rest, PROCESS, POWER), 3), sampled(exact, 3))


def test_hull_while_sampling_and_set_at_the_end_are_met_exactly():
    square = 40.0
    norm = lambda x: x.flatten(1).square().sum(1)
    hull = level_set(mass_and_norm(2.0, square), norm, square)
    rng, times = Rng.of(0, 20), uniform(20)
    step, ends = dpmpp_2m(project_x_0(exact, mass(2.0)), PROCESS), mass_and_norm(2.0, square)
    x = last(iterate(step, State.begin(rng.normal(H, H)), times, rng, project_final=ends)).x
    torch.testing.assert_close(x.sum((1, 2)), torch.full((20,), 2.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm(x), torch.full((20,), square), atol=1e-3, rtol=0)
    inside = Rng.of(1, 5).normal(H, H) * 0.1
    assert torch.equal(hull(inside), inside)


def test_samples_that_stop_early_end_on_the_set_too():
    """Some halt at once, some later, some reach the last time: all of them are put there, once."""
    ball, norm = mass_and_norm(2.0, 40.0), lambda x: x.flatten(1).square().sum(1)
    early = lambda state: (state.x[:, 0, 0] > 0) & (state.steps == 3) | (state.x[:, 1, 1] > 0)
    start = State.begin(Rng.of(0, 30).normal(H, H))
    states = list(iterate(dpmpp_2m(exact, PROCESS), start, uniform(8), Rng.of(0, 30), early, ball))
    ended = [s.halted | (s.steps == 8) for s in states]
    assert 0 < ended[0].sum() < ended[3].sum() < 30 and ended[-1].all()
    for state, here in zip(states, ended, strict=True):
        torch.testing.assert_close(norm(state.x[here]), torch.full((int(here.sum()),), 40.0))
    assert ((norm(states[2].x[~ended[2]]) - 40).abs() > 1e-2).any()


def test_a_tilted_sample_does_not_depend_on_its_batch():
    energy = EnergyPotential(1.0, 0.0, -2.0, 3.0)
    denoise, t = tilted(exact, energy, PROCESS, POWER, 2.0), torch.full((6,), 0.4)
    x = Rng.of(4, 6).normal(H, H)
    assert torch.equal(denoise(x, t)[:1], denoise(x[:1], t[:1]))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: tilted(exact, phi4(0.1, 1.0), PROCESS, POWER, float("nan")), "eta is nan"),
        (lambda: tilted(exact, phi4(0.1, 1.0), PROCESS, POWER, rounds=0), "rounds is 0"),
        (lambda: tilted(exact, phi4(0.1, 1.0), PROCESS, -POWER), "power has"),
        (lambda: until_valid(None, None, count=0), "count is 0"),
        (lambda: until_valid(None, None, count=1, growth=float("inf")), "growth is inf"),
        (lambda: intersection([]), "no set"),
        (lambda: mass(float("nan"))(torch.ones(1, 4)), "finite"),
        (lambda: box_and_mass(1.0, 0.0, 0.0), "high is 0.0"),
        (lambda: EnergyPotential(kinetic=float("nan")), "kinetic is nan"),
        (lambda: EnergyPotential(thermal=-1.0), "thermal is -1.0"),
    ],
)
def test_options_that_mean_nothing_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_linear_constraints_and_intersections_give_the_nearest_point():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 16, generator=rng), torch.randn(3, generator=rng)
    x = torch.randn(5, 4, 4, generator=rng, dtype=torch.float64)
    y = affine(a, b)(x)
    torch.testing.assert_close(y.flatten(1) @ a.double().T, b.double().expand(5, 3), atol=1e-10, rtol=0)
    moved = (x - y).flatten(1)  # orthogonal to the null space: a combination of rows
    rest = moved - moved @ torch.linalg.pinv(a.double()) @ a.double()
    assert rest.abs().max() < 1e-10
    with pytest.raises(ValueError, match="depend on each other"):
        affine(torch.ones(2, 16), b[:2])
    quarter = intersection([lambda x: x.clamp(min=0), mass(3.0)], close=1e-9)
    z = quarter(x)
    assert (z >= -1e-8).all()
    torch.testing.assert_close(z.flatten(1).sum(1), torch.full((5,), 3.0, dtype=torch.float64))
    flat, tau = x.flatten(1), (x - z).flatten(1)
    for i in range(5):  # a projection onto a simplex subtracts one number wherever something is left
        assert tau[i][z.flatten(1)[i] > 1e-6].std() < 1e-6 and (flat[i] - tau[i] >= -1e-6).all()
    with pytest.raises(ValueError, match="do they meet"):
        intersection([mass(0.0), mass(1.0)], rounds=5)(x)


def test_tokens_tilted_by_an_energy_have_the_product_law():
    base, energy = torch.tensor([0.5, 0.3, 0.2, 1e-9]).log(), torch.tensor([0.0, 1.0, -1.0, 0.0])
    denoise = lambda x, t: base.expand(*x.shape, 4)
    rng = Rng.of(0, 4000)
    start = State.begin(Masked(3).prior(rng, 2))
    step = unmask(biased(denoise, energy, 0.7), Masked(3))
    x = last(iterate(step, start, uniform(4), rng)).x
    wanted = torch.softmax(base - 0.7 * energy, 0)[:3]
    seen = x.flatten().bincount(minlength=3)[:3] / x.numel()
    assert ((seen - wanted).abs() < 4 * (wanted * (1 - wanted) / x.numel()).sqrt()).all()
    only = allowed(denoise, torch.tensor([False, True, False, False]))
    assert (last(iterate(unmask(only, Masked(3)), start, uniform(4), rng)).x == 1).all()
    with pytest.raises(ValueError, match="allow at least one"):
        allowed(denoise, torch.zeros(4, dtype=torch.bool))


def test_refused_samples_are_drawn_again_under_a_stronger_energy_until_the_budget_ends():
    sample = lambda which, eta, attempt: eta * (which + 1.0)
    x, took = until_valid(sample, lambda x: x >= 4, count=4)
    assert x.tolist() == [4.0, 4.0, 6.0, 4.0] and took.tolist() == [4.0, 2.0, 2.0, 1.0]
    with pytest.raises(Refused, match="2 of 4 samples were still invalid after 2 attempts") as caught:
        until_valid(sample, lambda x: x >= 5, count=4, budget=2)
    assert caught.value.valid.tolist() == [False, False, True, True]
