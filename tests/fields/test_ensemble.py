"""The second law, exactly: divergences from equilibrium fall, heat baths balance, p-values are uniform."""

import math

import pytest
import torch

from bowstring.core.process import Gaussian, Schedule, cosine, linear, square_root
from bowstring.energy.projections import symbol
from bowstring.fields.ensemble import (
    balance_p_values,
    flip_matrix,
    forward_divergence,
    gaussian_divergence,
    ising_law,
    relaxation,
    states,
    uniformity,
)


def test_noise_only_ever_brings_a_gaussian_ensemble_nearer_to_equilibrium():
    power, times = (1 / (0.1 + symbol(6, 6))).flatten(), torch.linspace(0.01, 0.999, 100)
    for schedule in (linear, cosine, square_root, Schedule("cubic", lambda t: (1 - t) ** 3)):
        values = forward_divergence(Gaussian(schedule), power, torch.ones_like(power), times)
        assert (values.diff() < 0).all() and values[-1] < 0.1
    reference = torch.distributions.kl_divergence(
        torch.distributions.Normal(0.3, 1.7), torch.distributions.Normal(0.0, 1.0)
    )
    ours = gaussian_divergence(torch.tensor([1.7**2]), torch.tensor([0.3]))
    torch.testing.assert_close(ours, reference)


def test_a_heat_bath_is_in_detailed_balance_and_relaxes_monotonically():
    law = ising_law(2, 3, 0.4)
    matrix = flip_matrix(law, 6)
    flow = law[:, None] * matrix
    torch.testing.assert_close(flow, flow.T)
    torch.testing.assert_close(matrix.sum(1), torch.ones(64, dtype=torch.float64))
    start = torch.zeros(64)
    start[5] = 1.0
    values = relaxation(law, matrix, start, 400)
    assert (values.diff() <= 0).all() and values[-1] < 1e-3 * values[0]


def test_the_ising_law_has_the_symmetries_of_its_lattice():
    law, spins = ising_law(3, 3, 0.3), states(9)
    torch.testing.assert_close(law, law.flip(0))  # all spins turned over
    bonds = lambda s: (s.view(3, 3) * (s.view(3, 3).roll(1, 0) + s.view(3, 3).roll(1, 1))).sum()
    aligned, other = spins[0], spins[5]
    ratio = math.exp(0.3 * float(bonds(aligned) - bonds(other)))
    assert (law[0] / law[5]).item() == pytest.approx(ratio)
    assert set(spins[law.argmax()].tolist()) in ({1.0}, {-1.0})


def test_balanced_flows_have_uniform_p_values_and_a_drift_has_not():
    rng = torch.Generator().manual_seed(0)
    there = torch.binomial(torch.full((400,), 900.0), torch.full((400,), 0.5), generator=rng)
    assert uniformity(balance_p_values(torch.stack([there, 900 - there], 1))) > 0.01
    drift = torch.binomial(torch.full((400,), 900.0), torch.full((400,), 0.53), generator=rng)
    assert uniformity(balance_p_values(torch.stack([drift, 900 - drift], 1))) < 1e-6
