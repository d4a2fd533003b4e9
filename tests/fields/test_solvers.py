"""Solvers: mass and free energy, exact decay rates, an independent implementation where it is installed."""

import itertools
import math

import pytest
import torch

from bowstring.core.rng import Rng
from bowstring.energy.potential import EnergyPotential
from bowstring.fields.solvers import cahn_hilliard, cosines, free_energy, heat


def mixture(side=32):
    x = 0.2 + 0.1 * Rng.of(0, 3).normal(side, side).double()
    return x


def test_phase_separation_keeps_mass_and_lowers_the_free_energy_at_every_step():
    x = mixture()
    states = [x, *cahn_hilliard(x, 300)]
    mass = torch.stack([s.sum((1, 2)) for s in states])
    energy = torch.stack([free_energy(s) for s in states])
    assert (mass - mass[0]).abs().max() < 1e-10 * 32 * 32
    assert (energy.diff(dim=0) < 0).all()
    assert states[-1].abs().max() > 0.8  # it did separate


def test_a_small_wave_grows_at_the_rate_of_linear_theory():
    """About 0 the wave number k grows as k^2 (1 - k^2): Cahn 1961. The scheme is first order in dt."""
    n, k = 32, 2 * math.pi / 16
    wave = 1e-6 * torch.cos(k * torch.arange(n, dtype=torch.float64))[None, None].expand(1, n, n)

    def rate(dt):
        *_, end = cahn_hilliard(wave, round(8 / dt), dt)
        return math.log(float(end.abs().max() / wave.abs().max())) / 8

    exact = k**2 * (1 - k**2)
    errors = [abs(rate(dt) - exact) for dt in (0.1, 0.05, 0.025)]
    assert errors[-1] < 0.02 * exact
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1) == errors[1] / errors[2]


def test_the_cosine_basis_is_orthonormal_and_heat_modes_decay_at_their_own_rate():
    basis = cosines(12)
    torch.testing.assert_close(basis @ basis.T, torch.eye(12, dtype=torch.float64))
    x = (basis[3][:, None] * basis[5][None])[None]
    rate = 4 * math.sin(math.pi * 3 / 24) ** 2 + 4 * math.sin(math.pi * 5 / 24) ** 2
    torch.testing.assert_close(heat(x, torch.tensor([2.0])), math.exp(-2 * rate) * x)


def test_heat_is_the_gradient_flow_of_the_kinetic_energy_between_walls():
    """One short step is x + dt * score of EnergyPotential(kinetic), whose walls are insulated too."""
    x = Rng.of(1, 2).normal(6, 9).double()
    flow = EnergyPotential(1.0, 0.0, 1e-12, 0.0, periodic=False).score(x)
    moved = (heat(x, torch.full((2,), 1e-5)) - x) / 1e-5
    torch.testing.assert_close(moved, flow, atol=1e-3, rtol=1e-3)


def test_heat_keeps_mass_and_its_entropy_never_falls():
    x = Rng.of(2, 4).uniform(16, 16).double()
    x = x / x.sum((1, 2), keepdim=True)
    entropies = [
        torch.special.entr(heat(x, torch.full((4,), t))).sum((1, 2)) for t in (0.0, 0.5, 1.0, 4.0, 20.0)
    ]
    assert all((b >= a).all() for a, b in itertools.pairwise(entropies))
    torch.testing.assert_close(
        heat(x, torch.full((4,), 20.0)).sum((1, 2)), torch.ones(4, dtype=torch.float64)
    )


def test_phase_separation_agrees_with_py_pde():
    """Smooth waves on 64 x 64 sites, so that its finite differences are as good as our modes."""
    pde = pytest.importorskip("pde")
    place = torch.arange(64, dtype=torch.float64) + 0.5
    start = 0.3 * torch.cos(2 * math.pi / 32 * place)[:, None] * torch.sin(2 * math.pi / 64 * place)[None]
    grid = pde.CartesianGrid([[0, 64], [0, 64]], [64, 64], periodic=True)
    theirs = pde.CahnHilliardPDE(interface_width=1.0).solve(
        pde.ScalarField(grid, start.numpy()), t_range=20.0, dt=5e-3, tracker=None, backend="numpy"
    )
    *_, ours = cahn_hilliard(start[None], 2000, dt=0.01)
    moved = float((ours[0] - start).abs().max())
    assert float((ours[0] - torch.from_numpy(theirs.data)).abs().max()) < 0.05 * moved
