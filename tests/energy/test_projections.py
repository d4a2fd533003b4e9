"""Projections land on their set, move nothing that lies on it, and are nearer than any other point of it."""

import pytest
import torch

from bowstring.energy.projections import (
    box_and_mass,
    coarse,
    dirichlet,
    divergence_free,
    mass,
    mass_and_norm,
    nonnegative_and_mass,
    symbol,
)


def fields(b=5, n=8, seed=0, dtype=torch.float64):
    return torch.randn(b, n, n, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def bonds(x):
    return 0.5 * ((x - x.roll(1, 1)) ** 2 + (x - x.roll(1, 2)) ** 2).sum((1, 2))


LOW = fields(5, 4, 7)
SETS = {
    "mass": (mass(3.0), lambda x: [x.sum((1, 2)) - 3]),
    "mass and norm": (mass_and_norm(3.0, 20.0), lambda x: [x.sum((1, 2)) - 3, x.square().sum((1, 2)) - 20]),
    "simplex": (nonnegative_and_mass(3.0), lambda x: [x.sum((1, 2)) - 3, x.clamp(max=0).sum((1, 2))]),
    "box": (
        box_and_mass(-0.5, 0.5, 3.0),
        lambda x: [x.sum((1, 2)) - 3, (x.abs() - 0.5).clamp(min=0).sum((1, 2))],
    ),
    "coarse": (coarse(LOW), lambda x: [x.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).mean((2, 4)) - LOW]),
    "dirichlet": (dirichlet(9.0), lambda x: [bonds(x) - 9]),
    "dirichlet, rougher": (dirichlet(400.0), lambda x: [bonds(x) - 400]),
}


@pytest.mark.parametrize("name", SETS)
def test_it_lands_on_its_set_and_stays(name):
    project, faults = SETS[name]
    x = fields()
    y = project(x)
    assert all(fault.abs().max() < 1e-9 for fault in faults(y))
    torch.testing.assert_close(project(y), y, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", SETS)
def test_no_other_point_of_the_set_is_nearer(name):
    project, _ = SETS[name]
    x = fields()
    distance = (project(x) - x).flatten(1).norm(dim=1)
    for seed in range(30):
        scale = 0.02 if seed % 2 else 1.0
        other = project(project(x) + scale * fields(seed=seed + 1))
        assert ((other - x).flatten(1).norm(dim=1) >= distance - 1e-9).all()


def test_single_precision_is_kept_to_rounding():
    x = fields(3, 64, dtype=torch.float32)
    assert (mass(1.0)(x).double().sum((1, 2)) - 1).abs().max() < 1e-2
    assert (mass(1.0)(x.double()).sum((1, 2)) - 1).abs().max() < 1e-10
    assert mass(1.0)(x).dtype == torch.float32


def test_each_sample_may_have_its_own_mass():
    wanted = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    for project in (mass(wanted), mass_and_norm(wanted, 20.0), nonnegative_and_mass(wanted)):
        torch.testing.assert_close(project(fields()).sum((1, 2)), wanted)


def test_a_constant_field_reaches_the_sphere_too():
    y = mass_and_norm(0.0, 2.0)(torch.ones(1, 4, 4, dtype=torch.float64))
    assert y.sum().item() == pytest.approx(0, abs=1e-12) and y.square().sum().item() == pytest.approx(2)


def test_a_flow_loses_its_sources_and_nothing_else():
    x = torch.randn(2, 8, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = divergence_free(x)
    divergence = y[..., 0] - y[..., 0].roll(1, 1) + y[..., 1] - y[..., 1].roll(1, 2)
    assert divergence.abs().max() < 1e-12
    torch.testing.assert_close(divergence_free(y), y)
    # what was taken away is a gradient: it is orthogonal to every flow without sources
    assert ((x - y) * y).sum((1, 2, 3)).abs().max() < 1e-10


def test_the_symbol_is_the_lattice_laplacian():
    x = fields(1, 8)
    laplace = 4 * x - x.roll(1, 1) - x.roll(-1, 1) - x.roll(1, 2) - x.roll(-1, 2)
    torch.testing.assert_close(torch.fft.ifft2(torch.fft.fft2(x) * symbol(8, 8)).real, laplace)


def test_a_field_that_cannot_become_rough_is_refused():
    smooth = torch.cos(2 * torch.pi * torch.arange(8) / 8).double().expand(1, 8, 8)
    assert bonds(dirichlet(9.0)(smooth + 1e-3 * fields(1))).item() == pytest.approx(9)
    for x in (torch.ones(1, 8, 8, dtype=torch.float64), smooth):
        with pytest.raises(ValueError, match="Add noise"):
            dirichlet(9e9)(x)
    assert bonds(dirichlet(0.0)(smooth)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("project", "says"),
    [
        (mass_and_norm(8.0, 0.5), "below mass"),
        (box_and_mass(0.0, 0.1, 100.0), "does not fit"),
        (dirichlet(-1.0), "cannot be"),
    ],
)
def test_what_cannot_be_is_refused(project, says):
    with pytest.raises(ValueError, match=says):
        project(fields())
