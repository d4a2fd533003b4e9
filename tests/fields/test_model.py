"""A model that corrects nothing is the exact linear-Gaussian one: spectra, conservation, and scales
follow.
"""

import math

import pytest
import torch

from bowstring.core.loop import last
from bowstring.core.rng import Rng
from bowstring.energy.diagnostics import frechet, virial
from bowstring.energy.potential import phi4
from bowstring.energy.projections import box_and_mass, symbol
from bowstring.fields.metrics import histogram_divergence, spectrum, spectrum_error
from bowstring.fields.model import (
    FAMILIES,
    HEADS,
    KINDS_OF_FIELDS,
    KNOTS,
    LAM,
    WAVES,
    FieldModel,
    fitted_power,
    interpolate,
    wiener,
)
from bowstring.fields.network import FieldNetwork, Patches
from bowstring.fields.sampling import Constraints, MultiScaleGenerator, denoising, fields, relaxed
from bowstring.fields.weights import load_fields, save_fields
from tests.fields.conftest import SMALL


def test_a_network_that_adds_nothing_changes_nothing(model, linear_model):
    few = [fields(one, "phi4", 0.44, count=2, steps=3) for one in (model, linear_model)]
    torch.testing.assert_close(*few)


def test_tables_give_back_the_power_they_were_fitted_to():
    """Gaussian fields of two sizes with known spectra; Whittle's estimate is within its own error."""
    sets = []
    for side, seed in ((16, 1), (32, 2)):
        rng, u = Rng.of(seed, 1500), torch.linspace(0, 1, 1500)
        power = 1 / (symbol(side, side).float() + 0.5 - 0.4 * u[:, None, None])
        sets.append((torch.fft.ifft2(torch.fft.fft2(rng.normal(side, side)) * power.sqrt()).real, u))
    made = FieldModel(FieldNetwork(SMALL, HEADS, len(KINDS_OF_FIELDS) + 2))
    made.log_power.copy_(fitted_power(sets).expand(len(FAMILIES), -1, -1).flatten())
    u = torch.tensor([0.25, 0.75])
    ratio = made.power("phi4", u, 16, 16) * (symbol(16, 16).float() + 0.5 - 0.4 * u[:, None, None])
    assert (ratio.log().flatten(1)[:, 1:].abs() < 0.08).all()
    assert ratio.log().flatten(1)[:, 0].abs().max() < 0.25


def test_the_linear_estimate_leaves_the_error_it_states():
    power = (1 / (0.3 + symbol(8, 8))).float()[None, None]
    x = torch.fft.ifft2(torch.fft.fft2(Rng.of(3, 4000).normal(1, 8, 8)) * power.sqrt()).real
    from bowstring.fields.model import FIELD_PROCESS

    t = torch.full((4000,), 0.6)
    alpha, sigma = FIELD_PROCESS.at(t, x)
    guess, left = wiener(alpha * x + sigma * Rng.of(4, 4000).normal(1, 8, 8), t, power)
    error = torch.fft.fft2(guess - x).abs().square().mean((0, 1)) / 64
    assert ((error / left[0, 0] - 1).abs() < 5 * math.sqrt(2 / 4000)).all()


@pytest.mark.parametrize("size", [64, 128])
def test_generated_spectra_are_those_of_the_table_in_every_band(linear_model, size):
    model = linear_model
    made = fields(model, "phi4", 0.44, size, count=48 if size == 64 else 12, steps=40)
    power = model.power("phi4", torch.tensor([0.5]), size, size)
    real = torch.fft.ifft2(torch.fft.fft2(Rng.of(8, len(made)).normal(size, size)) * power.sqrt()).real
    exact = spectrum(real, 8)[1] / spectrum(real, 8)[0]
    assert (spectrum_error(made, real, 8) < 0.02 + 6 * exact).all()


def test_what_has_no_power_is_conserved_without_any_projection(model):
    quiet = FieldModel(model.network)
    table = model.log_power.view(len(FAMILIES), KNOTS, WAVES + 1).clone()
    table[:, :, 0] = -60.0
    quiet.log_power.copy_(table.flatten())
    mean = torch.tensor([0.3, -0.2])
    made = fields(quiet, "cahn-hilliard", 1.5, count=2, steps=12, second=mean)
    torch.testing.assert_close(made.mean((1, 2)), mean, atol=1e-5, rtol=0)


def test_coarse_to_fine_keeps_mass_and_block_means(model):
    small, middle, large = MultiScaleGenerator(model, (4, 3, 3)).sample(0.44, count=2)
    assert [x.shape[1] for x in (small, middle, large)] == [64, 128, 256]
    torch.testing.assert_close(large.mean((1, 2)), small.mean((1, 2)), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        torch.nn.functional.avg_pool2d(large[:, None], 4)[:, 0], small, atol=1e-5, rtol=0
    )


def test_constraints_are_heeded_in_the_fields_own_units(model):
    box = box_and_mass(-1.0, 1.0, 100.0)
    made = fields(
        model, "phi4", 0.44, count=2, steps=8, constraints=Constraints(project_x_0=box, project_final=box)
    )
    assert made.abs().max() <= 1 + 1e-5
    torch.testing.assert_close(made.sum((1, 2)), torch.full((2,), 100.0), atol=2e-2, rtol=0)
    pull = lambda x: -0.05 * x.flatten(1).sum(1)
    free, pulled = (
        fields(model, "phi4", 0.44, count=4, steps=12, constraints=w)
        for w in (Constraints(), Constraints(pull))
    )
    shift = 0.05 * model.power("phi4", torch.tensor([0.5]), 64, 64)[0, 0, 0]
    assert abs((pulled - free).mean() - shift) < 0.1 * shift


def test_a_sample_depends_on_its_seed_and_number_alone(model):
    three, again = fields(model, "phi4", 0.3, count=3, steps=4), fields(model, "phi4", 0.3, count=3, steps=4)
    assert torch.equal(three, again)
    units = model.whole("phi4", torch.tensor([0.2083333]), torch.zeros(1), 64, 64)
    low = FAMILIES["phi4"].lowest_noise
    alone = last(denoising(units, (1, 64, 64), 4, Rng.of(0, 1, first=2), low=low)).x
    torch.testing.assert_close(units.scale * alone, three[2:, None], atol=1e-4, rtol=1e-4)


def test_a_folder_gives_the_model_back_and_a_wrong_one_is_refused(model, tmp_path):
    save_fields(tmp_path, model)
    back = load_fields(tmp_path)
    torch.testing.assert_close(back.log_power, model.log_power)
    torch.testing.assert_close(
        fields(back, "ising", 0.3, steps=2), fields(model, "ising", 0.3, steps=2), atol=1e-2, rtol=0
    )
    text = (tmp_path / "metadata.json").read_text()
    (tmp_path / "metadata.json").write_text(text.replace('"version"', '"versoin"'))
    with pytest.raises(ValueError, match="versoin"):
        load_fields(tmp_path)
    with pytest.raises(FileNotFoundError, match="train fields"):
        load_fields(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"family": "spin-glass", "value": 0.3}, "expected 'phi4'"),
        ({"family": "phi4", "value": 0.9}, "knows 0.2 to 0.68"),
        ({"family": "phi4", "value": float("nan")}, "knows 0.2 to 0.68"),
        ({"family": "phi4", "value": 0.3, "size": 100}, "expected 64, 128 or 256"),
        ({"family": "phi4", "value": 0.3, "count": 0}, "count is 0"),
        ({"family": "phi4", "value": 0.3, "count": -1}, "count is -1"),
        ({"family": "phi4", "value": 0.3, "steps": 0}, "steps is 0"),
        ({"family": "phi4", "value": 0.3, "relax": -1}, "relax is -1"),
        ({"family": "phi4", "value": 0.3, "seed": 1.5}, "seed is 1.5"),
        ({"family": "cahn-hilliard", "value": 1.0, "second": 0.9}, "mean is .* knows -0.4 to 0.4"),
        ({"family": "cahn-hilliard", "value": 1.0, "second": float("nan")}, "mean is"),
    ],
)
def test_what_was_not_learned_is_refused(model, wrong, message):
    with pytest.raises(ValueError, match=message):
        fields(model, **wrong)


def test_networks_see_a_torus_and_start_without_a_correction():
    torch.manual_seed(1)
    net = FieldNetwork(SMALL, {"8": Patches(2, 1, 8)}, 3)
    x, t, condition = torch.randn(2, 2, 32, 32), torch.rand(2), torch.randn(2, 3)
    assert (net("8", x, t, condition) == 0).all() and net.forwards == 1
    head = net.heads["8"]
    torch.nn.init.normal_(head.down.weight)
    tokens = head.embed(x)
    torch.testing.assert_close(head.embed(x.roll((8, -16), (2, 3))), tokens.roll((1, -2), (2, 3)))
    moved = head.spread(tokens.roll((1, -2), (2, 3)))
    torch.testing.assert_close(moved, head.spread(tokens).roll((8, -16), (2, 3)), atol=1e-4, rtol=1e-4)
    torch.nn.init.normal_(head.leave.weight)
    shifted = net("8", x.roll(8, 3), t, condition)  # the trunk sees places, so only sites move along exactly
    plain = net("8", x, t, condition)
    assert shifted.shape == (2, 1, 32, 32) and not torch.allclose(plain, plain[:1].expand(2, -1, -1, -1))
    net.heads["8"].down.weight.data.zero_()  # without the trunk's answer, sites move along exactly
    alone = [net("8", y, t, condition) for y in (x, x.roll(8, 3))]
    torch.testing.assert_close(alone[0].roll(8, 3), alone[1], atol=1e-5, rtol=1e-5)


def test_distances_have_their_known_values():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(4000, 3, generator=rng, dtype=torch.float64)
    assert frechet(a, a) < 1e-9
    b = 2 * torch.randn(200_000, 3, generator=rng, dtype=torch.float64) + 3
    unit = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, 3) / math.sqrt(2)
    assert frechet(a, b, unit) == pytest.approx(3 * 9 + 3 * (1 + 4 - 4), rel=0.03)
    normal = torch.randn(50_000, generator=rng)
    assert histogram_divergence(torch.randn(50_000, generator=rng), normal) < 1e-3
    moved = 0.3 + torch.randn(50_000, generator=rng)
    assert histogram_divergence(moved, normal, 60) == pytest.approx(
        0.045, rel=0.1
    )  # KL of unit normals is d^2 / 2


def test_interpolation_is_exact_at_knots_and_linear_between():
    table = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 4.0]])
    found = interpolate(table, torch.tensor([0.0, 0.25, 1.0]))
    assert found.tolist() == [[0.0, 1.0], [1.0, 3.0], [4.0, 4.0]]


def test_relaxed_fields_follow_the_law_of_their_own_coupling():
    """From anywhere, enough sweeps give the virial 1 of E / kT; families without an energy are refused."""
    beta = torch.tensor([0.3, 0.5]).repeat(24)
    x = relaxed(Rng.of(5, 48).normal(16, 16), "phi4", beta, 120, seed=1)
    for b in (0.3, 0.5):
        here = x[beta == b]
        work = virial(here, phi4(b / 2, LAM).score(here))
        assert abs(work.mean().item() - 1) < 4 * work.std().item() / math.sqrt(len(here))
    assert (relaxed(Rng.of(6, 4).normal(16, 16), "ising", torch.full((4,), 0.3), 5, seed=1).abs() == 1).all()
    with pytest.raises(ValueError, match="no equilibrium"):
        relaxed(x, "heat", beta, 3, seed=0)
