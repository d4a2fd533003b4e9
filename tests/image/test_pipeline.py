import numpy as np
import pytest
import torch
from PIL import Image

from bowstring.core.guidance import cfg
from bowstring.core.loop import State, iterate, last
from bowstring.core.process import uniform
from bowstring.core.rng import Rng
from bowstring.core.samplers.continuous import dpmpp_2m
from bowstring.engine import ArrowEngine
from bowstring.image.autoencoder import ImageAutoencoder
from bowstring.image.files import read_picture_metadata, squared
from bowstring.image.sampling import PROCESS, ImageSampling, caption_tokens, image_denoiser, sample_images
from bowstring.image.weights import save_autoencoder
from bowstring.text.weights import save_model
from tests.conftest import build_network

CLOSE = dict(atol=2e-4, rtol=2e-4)


@pytest.fixture(scope="module")
def network():
    return build_network(modalities=["text", "image"])


@pytest.fixture(scope="module")
def known(codec):
    return [caption_tokens(codec, "a fox", "noto"), caption_tokens(codec, "the big red house by the sea")]


@pytest.fixture(scope="module")
def engine(tmp_path_factory, network, codec):
    folder = tmp_path_factory.mktemp("painting")
    save_model(folder, network, codec, blocks=[4], context=128)
    torch.manual_seed(0)
    pixels = ImageAutoencoder()
    pixels.fit_basis(torch.rand(2, 3, 256, 256) * 2 - 1)
    save_autoencoder(folder, pixels)
    return ArrowEngine.load(folder)


def test_a_picture_depends_on_seed_and_number_alone(network, known):
    how = ImageSampling(steps=3, seed=5)
    *_, both = sample_images(network, known, how)
    *_, second = sample_images(network, known[1:], how, first=1)
    torch.testing.assert_close(both.x[1:], second.x, **CLOSE)
    *_, again = sample_images(network, known, how)
    assert (again.x == both.x).all()
    *_, other = sample_images(network, known, ImageSampling(steps=3, seed=6))
    assert (other.x - both.x).abs().mean() > 0.1


def test_one_pass_per_step_guidance_included(network, known):
    before = network.forwards
    states = [*sample_images(network, known, ImageSampling(steps=5, cfg_scale=3.0, sampler="ddim"))]
    assert network.forwards - before == 5 + 1  # and one that reads the captions
    assert states[-1].nfe.tolist() == [5, 5]


def test_guidance_in_one_pass_is_guidance_from_two(network, known):
    x = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.8, 0.8])
    from bowstring.image.sampling import NULL_PROMPT

    with torch.no_grad():
        asked, free = image_denoiser(network, known, 1.0), image_denoiser(network, [NULL_PROMPT] * 2, 1.0)
        torch.testing.assert_close(
            image_denoiser(network, known, 2.5)(x, t), cfg(asked, free, 2.5)(x, t), **CLOSE
        )


@pytest.mark.parametrize(("steps", "rows"), [(3, {1.0: 2, 2.0: 4, 3.0: 2}), (6, {1.0: 2, 2.0: 4, 3.0: 4})])
def test_guidance_of_one_is_off_and_costs_one_branch(network, known, steps, rows, monkeypatch):
    """At any number of steps; shortcuts hold a guidance of 3 already."""
    seen, flow = set(), network.flow

    def counted(x, *rest, **more):
        seen.add(len(x["image"]))
        return flow(x, *rest, **more)

    monkeypatch.setattr(network, "flow", counted)
    for cfg_scale, expected in rows.items():
        seen.clear()
        *_, state = sample_images(network, known, ImageSampling(steps, cfg_scale))
        assert seen == {expected}, cfg_scale
        if cfg_scale == 1:
            plain = iterate(dpmpp_2m(image_denoiser(network, known, 1.0), PROCESS), *begun(2, steps))
            torch.testing.assert_close(state.x, last(plain).x, **CLOSE)


def begun(count, steps):
    rng = Rng.of(0, count)
    return State.begin(PROCESS.prior(rng.fork(1), 64, 64)), uniform(steps), rng


def test_guidance_leads_away_from_a_negative_prompt(network, known, codec):
    x, t = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([0.8, 0.8])
    away = caption_tokens(codec, "a blurry thing")
    with torch.no_grad():
        asked, free = image_denoiser(network, known, 1.0), image_denoiser(network, [away] * 2, 1.0)
        guided = image_denoiser(network, known, 2.5, negative=away)(x, t)
    torch.testing.assert_close(guided, cfg(asked, free, 2.5)(x, t), **CLOSE)
    *_, few = sample_images(network, known, ImageSampling(steps=2), negative=away)
    *_, plain = sample_images(network, known, ImageSampling(steps=2, sampler="dpmpp_2m"), negative=away)
    assert torch.equal(few.x, plain.x)  # shortcuts know no other prompt to lead away from


def test_several_pictures_come_in_one_batch(engine):
    before = engine.network.forwards
    three = engine.image("a fox", n=3, steps=2, seed=5)
    assert engine.network.forwards - before <= 4
    one = engine.image("a fox", steps=2, seed=5)
    assert (np.asarray(three[0]).astype(int) - one.image).__abs__().max() <= 1
    assert [made.settings["number"] for made in three] == [0, 1, 2]
    assert np.abs(three[0].image.astype(int) - three[1].image).mean() > 1
    small = engine.image("a fox", steps=2, seed=5, size=64, negative_prompt="a dog")
    assert small.image.shape == (64, 64, 3)
    assert (small.settings["size"], small.settings["negative_prompt"]) == (64, "a dog")


def test_a_picture_does_not_depend_on_threads(engine):
    tokens = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    before, made = torch.get_num_threads(), []
    start = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            made.append((engine.image_pipeline.picture(tokens), engine.image_pipeline._tokens_of(start, 1)))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    for pixels, encoded in made[1:]:
        assert (pixels == made[0][0]).all() and torch.equal(encoded, made[0][1])


def test_inpainting_keeps_tokens_and_strength_says_where_to_begin(network, known):
    start = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(1))
    where = torch.zeros(2, 64, dtype=torch.bool)
    where[:, :40] = True
    *_, state = sample_images(network, known, ImageSampling(steps=4), start, where=where)
    torch.testing.assert_close(state.x[:, :40], start[:, :40], atol=1e-5, rtol=1e-5)
    assert (state.x[:, 40:] - start[:, 40:]).abs().mean() > 0.1
    first, *_ = sample_images(network, known, ImageSampling(steps=4), start, strength=0.25)
    assert first.t.tolist() == [0.25, 0.25]
    alpha, sigma = PROCESS.at(first.t, first.x)
    eps = (first.x - alpha * start) / sigma
    assert abs(eps.std().item() - 1) < 4 / (2 * eps.numel()) ** 0.5


def test_the_engine_paints_files_that_say_how(engine, tmp_path):
    result = engine.image("a sleepy fox", style="noto", steps=2, seed=3)
    assert result.image.shape == (512, 512, 3) and result.image.dtype == np.uint8
    assert result.nfe == 2 and len(result.seconds) == 3
    result.save(tmp_path / "fox.png")
    facts = read_picture_metadata((tmp_path / "fox.png").read_bytes())
    assert (facts["prompt"], facts["seed"], facts["style"]) == ("a sleepy fox", 3, "noto")
    again = engine.diffuse("a sleepy fox", "image", num_steps=2, style="noto", seed=3)
    assert (again == result.image).all()


def test_what_a_mask_leaves_is_kept_to_the_bit(engine):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 256, (512, 512, 3), np.uint8)
    mask = np.zeros((512, 512), bool)
    mask[100:201, 300:400] = True
    result = engine.image("a hat", start=start, mask=mask, steps=2)
    assert (result.image[~mask] == start[~mask]).all()
    assert (result.image[mask] != start[mask]).mean() > 0.5


def test_pictures_and_masks_of_any_kind_paint_the_same(engine, tmp_path):
    rng = np.random.default_rng(0)
    start = rng.integers(0, 256, (300, 600, 3), np.uint8)
    mask = np.zeros((300, 600), np.uint8)
    mask[100:200, 200:400] = 1
    made = engine.image("a hat", start=start, mask=mask, steps=2, seed=np.int64(3))
    made.save(tmp_path / "hat.png")
    kept = np.ones((512, 512), bool)
    kept[213:299] = False
    assert (made.image[kept] == squared(start, 512)[kept]).all()
    Image.fromarray(start).save(tmp_path / "start.png")
    Image.fromarray(mask * 255).save(tmp_path / "mask.png")
    for begin, where in (
        (Image.fromarray(start), Image.fromarray(mask * 255)),
        (start / 255, mask.astype(float)),
        (torch.tensor(start).permute(2, 0, 1), torch.tensor(mask).bool()),
        (tmp_path / "start.png", str(tmp_path / "mask.png")),
    ):
        again = engine.image("a hat", start=begin, mask=where, steps=2.0, seed=torch.tensor(3))
        assert (again.image == made.image).all() and again.settings == made.settings


def test_mistakes_are_told(engine, network, codec, tmp_path):
    with pytest.raises(ValueError, match="style is 'oil'"):
        engine.image("a fox", style="oil")
    with pytest.raises(ValueError, match="give the picture, too"):
        engine.image("a fox", mask=np.ones((4, 4), bool))
    with pytest.raises(ValueError, match="nothing is to be painted"):
        engine.image("a fox", start=np.zeros((4, 4, 3), np.uint8), mask=np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="steps is 0"):
        engine.image("a fox", steps=0)
    with pytest.raises(TypeError, match="start is 3; expected a path, a PIL image"):
        engine.image("a fox", start=3)
    with pytest.raises(ValueError, match="cfg_scale is nan; expected a number from 0 to 20; 1 is off"):
        engine.image("a fox", cfg_scale=float("nan"))
    with pytest.raises(ValueError, match="strength is 2"):
        engine.image("a fox", strength=2)
    with pytest.raises(ValueError, match=r"size is 1024; expected .* from 16 to 512; pictures have 512"):
        engine.image("a fox", size=1024)
    with pytest.raises(ValueError, match="size is 64, which would change the pixels that a mask keeps"):
        engine.image("a fox", start=np.zeros((4, 4, 3), np.uint8), mask=np.ones((4, 4), bool), size=64)
    with pytest.raises(ValueError, match="a negative prompt needs it above 1"):
        engine.image("a fox", negative_prompt="a dog", cfg_scale=1)
    with pytest.raises(TypeError, match="colour"):
        engine.image("a fox", colour="red")
    with pytest.raises(ValueError, match="empty"):
        engine.image(" ")
    save_model(tmp_path, network, codec)
    with pytest.raises(FileNotFoundError, match="cannot be drawn"):
        ArrowEngine.load(tmp_path).image("a fox", steps=1)
