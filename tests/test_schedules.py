"""Schedules that metadata name reach every sampler, and the linear one changes nothing."""

import torch

from bowstring.core.loop import last
from bowstring.core.process import cosine, custom, falling, linear, square_root, uniform
from bowstring.core.samplers import masked
from bowstring.image.sampling import ImageSampling, sample_images
from bowstring.text import options as text_options
from bowstring.text.sampling import Sampling, sample_text, writes
from bowstring.text.tokenizer import KINDS, MASK, SEP
from tests.conftest import build_network

CAPTION = [KINDS["text"], 9, SEP]


def test_times_fall_as_the_schedule_does():
    assert (falling(5, linear) == uniform(5)).all()
    assert torch.allclose(falling(4, cosine), 1 - cosine.keep(uniform(4)))
    grid = custom([0, 0.5, 1], [1, 0.2, 0])
    assert torch.allclose(falling(2, grid), torch.tensor([1.0, 0.8, 0.0]))


def test_pictures_are_sampled_at_the_times_of_their_schedule():
    network, how = build_network(modalities=["text", "image"]).eval(), ImageSampling(steps=3, cfg_scale=1)
    times = [state.t[0].item() for state in sample_images(network, [CAPTION], how, schedule=square_root)]
    assert torch.allclose(torch.tensor(times), falling(3, square_root))
    plain = last(sample_images(network, [CAPTION], how))
    same = last(sample_images(network, [CAPTION], how, schedule=linear))
    assert (plain.x == same.x).all()


def test_masks_of_a_block_fall_by_their_schedule():
    """With keep = 1 - sqrt(t), 16 sqrt(1 - k / 4) of 16 are masked after k of 4 steps; reveals round up."""
    network = build_network().eval()
    how = Sampling(max_tokens=16, block=16, steps=4, order="confidence", min_tokens=16)
    states = [*sample_text(network, [CAPTION], how, 64, schedule=square_root)]
    masked = [int((state.x == MASK).sum()) for state in states]
    wanted = [16 * (1 - k / 4) ** 0.5 for k in range(5)]
    assert all(exact - 1.5 < count <= exact for count, exact in zip(masked, wanted, strict=True))
    plain = [int((state.x == MASK).sum()) for state in sample_text(network, [CAPTION], how, 64)]
    assert plain == [16, 12, 8, 4, 0]
    assert not writes(Sampling(mode="diffusion"), square_root) and writes(Sampling(mode="ar"), square_root)


def test_every_order_that_is_offered_is_there():
    assert list(text_options.ORDERS) == sorted(masked.ORDERS)
