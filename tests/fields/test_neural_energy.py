"""A neural energy learns the score of a law that is known, and chains sample it."""

import math

import torch

from bowstring.core.rng import Rng
from bowstring.energy.mcmc.sampler import BoltzmannSampler
from bowstring.energy.projections import symbol
from bowstring.fields.neural_energy import NeuralEnergy, score_matching


def test_score_matching_finds_the_score_of_a_gaussian_field():
    torch.manual_seed(0)
    power, sigma = (1 / (0.6 + symbol(8, 8))).float(), 0.3
    data = torch.fft.ifft2(torch.fft.fft2(Rng.of(0, 2000).normal(8, 8)) * power.sqrt()).real
    energy, rng = NeuralEnergy(24, 3), torch.Generator().manual_seed(0)
    search = torch.optim.AdamW(energy.parameters(), lr=1e-2, weight_decay=0.0)
    for i in range(160):
        for group in search.param_groups:
            group["lr"] = 1e-2 * (1 - i / 160)
        search.zero_grad()
        score_matching(energy, data[torch.randint(2000, (64,), generator=rng)], sigma, rng).backward()
        search.step()
    x = data + sigma * Rng.of(1, 2000).normal(8, 8)
    exact = -torch.fft.ifft2(torch.fft.fft2(x) / (power + sigma**2)).real
    error = (energy.score(x).detach() - exact).square().mean() / exact.square().mean()
    assert error < 0.03


def test_chains_cannot_leave_a_neural_energy_and_its_score_is_its_slope():
    torch.manual_seed(1)
    energy = NeuralEnergy(8, 3).requires_grad_(requires_grad=False)
    torch.nn.init.normal_(energy.out)
    x, d = torch.randn(2, 4, 4).double(), torch.randn(2, 4, 4).double()
    double = energy.double()
    slope = (double(x + 1e-5 * d) - double(x - 1e-5 * d)) / 2e-5
    torch.testing.assert_close(slope, -(double.score(x).detach() * d).sum((1, 2)), atol=1e-6, rtol=1e-5)
    run = BoltzmannSampler(energy.float(), "mala").sample(torch.zeros(8, 4, 4), 50, 50)
    assert math.isfinite(run.energy.abs().max()) and run.acceptance.min() > 0.2
