"""Energies of pictures: a law that is known, and tries that are told."""

import pytest
import torch

from bowstring.core.loop import last
from bowstring.engine import ArrowEngine
from bowstring.image import sampling
from bowstring.image.autoencoder import ImageAutoencoder
from bowstring.image.sampling import PROCESS, ImageSampling, sample_images
from bowstring.image.weights import save_autoencoder
from bowstring.text.weights import save_model
from tests.conftest import build_network


@pytest.fixture(scope="module")
def network():
    return build_network(modalities=["text", "image"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory, network, codec):
    folder = tmp_path_factory.mktemp("obeying")
    save_model(folder, network, codec, blocks=[4], context=128)
    torch.manual_seed(0)
    pixels = ImageAutoencoder()
    save_autoencoder(folder, pixels)
    return ArrowEngine.load(folder)


def pull(to, stiffness=1.0):
    """stiffness / 2 |x - to|^2 of each picture's numbers."""
    return lambda x: 0.5 * stiffness * (x - to).square().sum((1, 2))


def test_gaussian_pictures_under_a_quadratic_energy_have_the_product_law(network, monkeypatch):
    """N(0, 1) times exp(-3/2 (x - 2)^2) is N(1.5, 1/4); 16,384 numbers, four standard errors and the steps'
    bias.
    """

    def exact(x, t):
        alpha, sigma = PROCESS.at(t, x)
        return alpha * x / (alpha**2 + sigma**2)

    monkeypatch.setattr(sampling, "image_denoiser", lambda *_: exact)
    how = ImageSampling(steps=100, sampler="ddim", seed=1)
    x = last(sample_images(network, [[2, 4]] * 4, how, energy=pull(2.0, 3.0))).x
    assert x.mean().item() == pytest.approx(1.5, abs=0.03)
    assert x.var().item() == pytest.approx(0.25, rel=0.06)


def test_weights_say_how_strongly_a_picture_is_pulled(engine):
    """Weight 0 leaves every bit; larger ones come closer."""
    asked = {"steps": 3, "cfg_scale": 1.0, "seed": 4, "size": 16}
    energy, found = pull(0.7), []
    for weight in (0.0, 1.0, 30.0):
        made = engine.image("a fox", energies=[(lambda x: found.append(x) or energy(x), weight)], **asked)
        plain = engine.image("a fox", **asked)
        if not weight:
            assert (made.image == plain.image).all()
    assert energy(found[-1]).item() < 0.1 * energy(found[0]).item()


def test_what_is_not_valid_is_painted_again_with_stronger_energies(engine):
    asked = {"steps": 2, "cfg_scale": 1.0, "seed": 4, "size": 16}
    seen = []
    made = engine.image("a fox", valid=lambda one: seen.append(one) or len(seen) == 3, retries=4, **asked)
    assert [(one.strength, one.valid) for one in made.tries] == [(1, False), (2, False), (4, True)]
    assert (made.image == made.tries[-1].made.image).all() and not made.notes
    assert (made.tries[0].made.image == engine.image("a fox", **asked).image).all()
    never = engine.image("a fox", constraints=[lambda one: False], candidates=2, retries=1, **asked)
    assert [one.to_json()["energy"] for one in never.tries] == [None, None] and "valid" in never.notes[0]
    assert len(engine.image("a fox", n=2, valid=lambda one: True, **asked)) == 2
    assert made.tries[0].energy == 0
    (one,) = engine.image("a fox", energies=[(pull(0.7), 1.0)], **asked).tries
    assert one.energy is None and one.to_json()["energy"] is None  # the tokens, which had one, are no more
