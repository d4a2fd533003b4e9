"""Energies bond by bond, scores against differences, bounds from below."""

import itertools
import math

import pytest
import torch

from bowstring.energy.potential import EnergyPotential, at_temperature, mixing_entropy, phi4, score, total

CASES = [
    EnergyPotential(kinetic=1.3, pair=0.4, quadratic=-0.7, quartic=0.9, field=0.2, periodic=periodic)
    for periodic in (True, False)
]


def by_bonds(energy, x):
    """The definition, site by site and bond by bond."""
    h, w = x.shape
    out = sum(
        0.5 * energy.quadratic * v**2 + 0.25 * energy.quartic * v**4 - energy.field * v
        for v in x.flatten().tolist()
    )
    for i, j in itertools.product(range(h), range(w)):
        for a, b in ((i + 1, j), (i, j + 1)):
            if energy.periodic or (a < h and b < w):
                p, q = x[i, j].item(), x[a % h, b % w].item()
                out += 0.5 * energy.kinetic * (p - q) ** 2 - energy.pair * p * q
    return out


@pytest.mark.parametrize("energy", CASES, ids=["torus", "walls"])
def test_an_energy_is_its_bonds(energy):
    x = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert energy(x).tolist() == pytest.approx([by_bonds(energy, one) for one in x])


@pytest.mark.parametrize("energy", [*CASES, phi4(0.325, 0.5)], ids=["torus", "walls", "phi4"])
def test_the_score_is_minus_the_gradient(energy):
    x = torch.randn(3, 4, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(energy.score(x), score(energy, x))


def test_a_checkerboard_costs_kinetic_energy():
    """Central differences are blind to it."""
    x = (torch.arange(16).view(1, 4, 4) // 4 + torch.arange(4)) % 2 * 2.0 - 1
    assert EnergyPotential(1.0, 0, 1.0, 0.0)(x).item() == 0.5 * 32 * 4 + 0.5 * 16


def test_phi4_is_the_lattice_action():
    x = torch.randn(2, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    k, lam = 0.3, 0.7
    bonds = (x * (x.roll(1, 1) + x.roll(1, 2))).sum((1, 2))
    action = -2 * k * bonds + (x**2 + lam * (x**2 - 1) ** 2).sum((1, 2))
    torch.testing.assert_close(phi4(k, lam)(x), action - lam * 25)


@pytest.mark.parametrize(
    "wrong", [{"quartic": -1.0}, {"quartic": 0.0}, {"quartic": 0.0, "quadratic": 1.0, "pair": 0.5}]
)
def test_an_energy_without_a_lower_bound_is_refused(wrong):
    with pytest.raises(ValueError, match="no lower bound"):
        EnergyPotential(**wrong)


def test_a_quadratic_energy_is_accepted_exactly_when_it_is_bounded():
    """The bound per site is sharp: its checkerboard or uniform field has that eigenvalue."""
    EnergyPotential(0.0, 0.25, 1.001, 0.0)
    x = torch.ones(1, 4, 4, dtype=torch.float64)
    assert EnergyPotential(0.0, 0.25, 1.001, 0.0)(x).item() == pytest.approx(16 * 0.0005)


def test_sums_and_temperatures():
    x = torch.randn(2, 4, 4)
    a, b = CASES[0], phi4(0.2, 1.0)
    torch.testing.assert_close(total([a, b], [2.0, 0.5])(x), 2 * a(x) + 0.5 * b(x))
    torch.testing.assert_close(at_temperature(a, 4.0)(x), a(x) / 4)
    with pytest.raises(ValueError, match="one each"):
        total([a], [1.0, 2.0])
    with pytest.raises(ValueError, match="above 0"):
        at_temperature(a, 0.0)


def test_a_uniform_density_has_the_largest_mixing_entropy():
    rho = torch.rand(1, 4, 4)
    rho = rho / rho.sum()
    assert (
        mixing_entropy(rho).item()
        < mixing_entropy(torch.full((1, 4, 4), 1 / 16)).item()
        == pytest.approx(math.log(16))
    )
    with pytest.raises(ValueError, match="expected none below 0"):
        mixing_entropy(-rho)
