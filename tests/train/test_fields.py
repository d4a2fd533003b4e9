"""Data of fields: their own laws, held-out chains, symmetric copies; the training resumes where it
stopped.
"""

import math

import pytest
import torch

from bowstring.energy.potential import phi4
from bowstring.fields.model import FAMILIES, FIELD_PROCESS, HEADS, KINDS_OF_FIELDS, FieldModel
from bowstring.fields.network import FieldNetwork
from bowstring.nn.config import NetworkConfig
from bowstring.train.fields import (
    MIX,
    FieldRecipe,
    denoising_errors,
    draw_times,
    equilibrium_fields,
    fit_fields,
    heat_fields,
    mixture_fields,
    split_fields,
    symmetric_copies,
)
from bowstring.train.schedule import Run


def test_equilibrium_fields_pass_the_virial_at_their_own_coupling():
    x, beta, _ = equilibrium_fields("phi4", 64, 16, seed=1, settle=200)["phi4"]
    works = [
        -(one * phi4(b / 2, 0.5).score(one[None])[0]).mean() for one, b in zip(x, beta.tolist(), strict=True)
    ]
    works = torch.stack(works)
    assert abs(works.mean().item() - 1) < 4 * works.std().item() / math.sqrt(64)
    spins, _, _ = equilibrium_fields("ising", 8, 16, seed=1, settle=100)["ising"]
    assert (spins.abs() == 1).all()


def test_mixtures_keep_their_composition_and_hot_plates_their_mean():
    x, log, mean = mixture_fields(16, 16, seed=0)["cahn-hilliard"]
    torch.testing.assert_close(x.mean((1, 2)), mean, atol=1e-5, rtol=0)
    assert ((log >= FAMILIES["cahn-hilliard"].low) & (log <= FAMILIES["cahn-hilliard"].high)).all()
    x, _, _ = heat_fields(6, 16, seed=0)["heat"]
    torch.testing.assert_close(x.mean((1, 2)), torch.ones(6), atol=1e-4, rtol=0)
    assert (x > -1e-4).all()


def test_a_chain_is_never_cut_by_the_split():
    data = {
        f"phi4/16/{what}": torch.arange(80.0).view(80, *[1] * n)
        for what, n in (("x", 2), ("u", 0), ("second", 0))
    }
    train, test = (split_fields(data, "phi4", 16, held_out=h)[1] for h in (False, True))
    assert len(train) + len(test) == 80 and not set((train // 8).tolist()) & set((test // 8).tolist())


def test_turned_copies_are_as_likely():
    x, energy = torch.randn(20, 12, 12), phi4(0.3, 0.5)
    y = symmetric_copies(x, "phi4", torch.Generator().manual_seed(0))
    torch.testing.assert_close(energy(y), energy(x), atol=1e-3, rtol=1e-5)
    assert not torch.equal(x, y)
    plate = symmetric_copies(x, "heat", torch.Generator().manual_seed(0))
    torch.testing.assert_close(plate[:, 0].abs().sum() + plate[:, -1].abs().sum() + plate[:, 1:-1,
    0].abs().sum()
        + plate[:, 1:-1, -1].abs().sum(), x[:, 0].abs().sum() + x[:, -1].abs().sum() + x[:, 1:-1,
        0].abs().sum() + x[:, 1:-1, -1].abs().sum())  # fmt: skip


def test_times_have_the_stated_log_signal_to_noise_ratios():
    rng = torch.Generator().manual_seed(0)
    logs = []
    for centred in (False, True):
        keep = FIELD_PROCESS.schedule.keep(draw_times(256, rng, centred=centred).double())
        logs.append((keep / (1 - keep)).log())
    flat, normal = logs
    assert -9 - 1e-3 <= flat[0] < -8.9 and 8.4 < flat[-1] <= 8.5 + 1e-3 and flat.diff().max() < 2 * 17.5 / 256
    assert abs(normal.mean() - 1.0) < 0.05 and abs(normal.std() - 2.2) < 0.1


@pytest.fixture(scope="module")
def data():
    out = {}
    for name, side in MIX:
        rng = torch.Generator().manual_seed(side)
        if name.endswith("-details"):
            continue
        out[f"{name}/{side}/x"] = torch.randn(16, side, side, generator=rng).half()
        out[f"{name}/{side}/u"], out[f"{name}/{side}/second"] = torch.rand(16, generator=rng), torch.zeros(16)
    return out


def small():
    """A field model with a network of one layer."""
    torch.manual_seed(0)
    config = NetworkConfig(width=64, depth=1, ffn_hidden=64, vocab=1, rank=1)
    return FieldModel(FieldNetwork(config, HEADS, len(KINDS_OF_FIELDS) + 2))


def curve(folder, data, stop=None):
    out = []
    run = Run(folder, every_seconds=0.0)
    for moment, _, loss, _, _ in fit_fields(FieldRecipe(steps=3, warm_up=1), data, run, small()):
        out.append(loss)
        if moment.step == stop:
            break
    return out


def test_a_resumed_training_of_fields_has_the_curve_of_an_uninterrupted_one(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "bowstring.train.fields.MIX", {("phi4", 64): (0.5, 2), ("phi4-quarter-details", 64): (0.5, 2)}
    )
    whole = curve(tmp_path / "a", data)
    assert curve(tmp_path / "b", data, stop=1)[:1] + curve(tmp_path / "b", data) == whole
    assert all(0.5 < loss < 1.5 for loss in whole)


def test_white_noise_leaves_nothing_to_learn_beyond_the_linear_estimate(data, tmp_path):
    *_, (_, _, _, _, model) = fit_fields(FieldRecipe(steps=1), data, Run(tmp_path), small())
    for parameter in model.network.heads["8"].leave.parameters():
        parameter.data.zero_()
    batch = (torch.randn(16, 64, 64), torch.rand(16), torch.zeros(16))
    mse, vlb = denoising_errors(model, "phi4", batch, torch.Generator().manual_seed(0))
    assert abs(mse.mean().item() - 1) < 0.03
    # its integrand is the share of signal, whose mean over log ratios from -9 to 8.5 is 8.5 / 17.5
    assert abs(vlb.mean().item() - 8.5 / 17.5) < 0.05
