"""The forward path has the law of every time and of every pair of times; the way back has the data's."""

import math

import pytest
import torch

from bowstring.core.diffusion import ContinuousSampler, NoiseScheduler
from bowstring.core.process import Gaussian, cosine
from bowstring.core.rng import Rng
from bowstring.energy.diffusion import ForwardDiffusion, ReverseDiffusion
from bowstring.energy.potential import EnergyPotential
from bowstring.energy.projections import mass, symbol
from tests.oracles import gaussian_denoise

POWER = (1 / (0.2 + symbol(8, 8))).float()


def exact(x, t):
    """The mean of x_0 given x_t, for a Gaussian field whose modes have POWER."""
    alpha, sigma = Gaussian(cosine).at(t, x)
    return torch.fft.ifft2(torch.fft.fft2(x) * alpha * POWER / (alpha**2 * POWER + sigma**2)).real


@pytest.mark.parametrize("name", ["linear", "cosine", "sqrt"])
def test_a_forward_path_has_the_law_of_every_time_and_pair_of_times(name):
    n, forward = 40_000, ForwardDiffusion(NoiseScheduler(name))
    x_0 = 2 + 0.5 * Rng.of(9, n).normal(1)
    times = [0.2, 0.5, 0.9]
    path = list(forward.trajectory(x_0, times, seed=1))
    error = 5 * math.sqrt(2 / n)
    for i, t in enumerate(times):
        alpha, sigma = (f(torch.tensor(t)).item() for f in (forward.scheduler.alpha, forward.scheduler.sigma))
        variance = (0.5 * alpha) ** 2 + sigma**2
        for x in (path[i], forward.sample(x_0, t, seed=2)):
            assert x.mean().item() == pytest.approx(2 * alpha, abs=5 * (variance / n) ** 0.5)
            assert x.var().item() == pytest.approx(variance, rel=error)
        if i:
            before = forward.scheduler.alpha(torch.tensor(times[i - 1])).item()
            joint = torch.cov(torch.stack([path[i - 1][:, 0], path[i][:, 0]]))
            kept = alpha / before
            assert joint[0, 1].item() == pytest.approx(kept * joint[0, 0].item(), abs=5 / n**0.5)
    with pytest.raises(ValueError, match=r"above 0\.5"):
        list(forward.trajectory(x_0[:2], [0.5, 0.5]))


@pytest.mark.parametrize("method", ["ddpm", "ddim"])
def test_the_way_back_has_the_moments_of_the_data_in_any_stride(method):
    n, reverse = 8000, ReverseDiffusion(gaussian_denoise(Gaussian(cosine)), sampler=ContinuousSampler(method))
    uneven = torch.linspace(1, 0, 121).square().tolist()
    for steps in (120, uneven):
        x = reverse.sample((1,), num_samples=n, num_inference_steps=steps, seed=4)
        assert x.mean().item() == pytest.approx(0.7, abs=4 * 0.5 / n**0.5 + 0.01)
        assert x.std().item() == pytest.approx(0.5, rel=4 / (2 * n) ** 0.5 + 0.03)


def test_energy_and_conservation_hold_at_once():
    """Under a quadratic energy precisions add, mode by mode; the conserved mean mode has no variance left."""
    energy, n = EnergyPotential(1.0, 0.0, 1.0, 0.0), 1500
    reverse = ReverseDiffusion(
        exact, sampler=ContinuousSampler("dpmpp_2m"), energy=energy, power=POWER, conserve=mass(3.0)
    )
    x = reverse.sample((8, 8), num_samples=n, num_inference_steps=[*karras_times()], seed=6)
    assert (x.sum((1, 2)) - 3).abs().max() < 1e-4
    variance = (torch.fft.fft2(x).abs().square().mean(0) / 64).flatten()[1:]
    ratio = variance * (1 / POWER + symbol(8, 8).float() + 1).flatten()[1:]
    assert (ratio - 1).abs().max() < 0.02 + 5 * math.sqrt(2 / n)


def karras_times():
    from bowstring.core.process import karras

    return karras(40, cosine, low=0.01).tolist()
