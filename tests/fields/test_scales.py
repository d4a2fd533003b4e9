"""Block means and details: exact inverse, mass across scales, and the Gaussian law of one given the other."""

import math

import torch

from bowstring.core.rng import Rng
from bowstring.energy.projections import symbol
from bowstring.fields.scales import covariance, filtered, given_mean, haar, unhaar

POWER = (1 / (0.3 + symbol(8, 12))).float()[None]


def gaussian(count):
    noise = torch.fft.fft2(Rng.of(0, count).normal(8, 12))
    return torch.fft.ifft2(noise * POWER.sqrt()).real


def test_a_field_comes_back_from_its_means_and_details_and_mass_is_that_of_the_means():
    x = Rng.of(1, 3).normal(6, 10).double()
    mean, details = haar(x)
    torch.testing.assert_close(unhaar(mean, details), x)
    torch.testing.assert_close(mean[:, 1, 2], x[:, 2:4, 4:6].mean((1, 2)))
    other = unhaar(mean, torch.randn_like(details))
    torch.testing.assert_close(other.sum((1, 2)), x.sum((1, 2)), atol=1e-10, rtol=0)


def test_the_covariance_of_folded_modes_is_what_fields_show():
    parts = torch.cat([haar(gaussian(6000))[0][:, None], haar(gaussian(6000))[1]], 1)
    modes = torch.fft.fft2(parts.double()).permute(0, 2, 3, 1) / math.sqrt(4 * 6)
    seen = (modes[..., :, None] * modes[..., None, :].conj()).mean(0)
    exact = covariance(POWER)[0]
    size = torch.einsum("hwi,hwj->hwij", *[torch.diagonal(exact, dim1=-2, dim2=-1).real.sqrt()] * 2)
    assert ((seen - exact).abs() < 5 * size / math.sqrt(6000)).all()


def test_what_the_mean_leaves_unsaid_is_uncorrelated_with_it_and_has_the_stated_power():
    mean, details = haar(gaussian(6000))
    noise = torch.full((1,), 0.04)
    blurred = mean + 0.2 * Rng.of(9, 6000).normal(4, 6)
    gain, left = given_mean(POWER, noise)
    rest = details - filtered(blurred, gain)
    power = torch.fft.fft2(rest).abs().square().mean(0) / 24
    assert ((power / left[0] - 1).abs() < 5 * math.sqrt(2 / 6000)).all()
    shared = (torch.fft.fft2(rest) * torch.fft.fft2(blurred)[:, None].conj()).mean(0).abs() / 24
    spread = (left[0] * (torch.fft.fft2(blurred).abs().square().mean(0) / 24)).sqrt()
    assert (shared < 5 * spread / math.sqrt(6000)).all()
