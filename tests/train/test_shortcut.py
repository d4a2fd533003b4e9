"""Shortcuts: what they aim at is the teacher's own path, and they leave the many-step network alone."""

import copy
import math
from itertools import pairwise

import pytest
import torch

from bowstring.image.sampling import (
    DEFAULT_GUIDANCE,
    ImageSampling,
    caption_tokens,
    image_denoiser,
    sample_images,
)
from bowstring.text.sampling import BlockDiffusion, Sampling
from bowstring.train.data.corpora import story_documents
from bowstring.train.joint.shortcut import (
    draw_shortcuts,
    image_shortcut_loss,
    teacher_rollout,
    text_shortcut_loss,
)
from bowstring.train.text.losses import blocks_of, draw_noise, masked_tokens
from bowstring.train.text.packing import Corpus
from tests.conftest import build_network


def growth(x, t):
    return x * t[:, None, None]  # dx/dt = t x, so x(t) = x(0) exp(t^2 / 2)


def test_a_rollout_is_the_mean_velocity_of_the_path_to_second_order():
    x = torch.randn(3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t, size = torch.tensor([1.0, 1.0, 0.5], dtype=torch.float64), torch.tensor([1.0, 0.5, 0.25]).double()
    end = x * torch.exp(((t - size).square() - t.square()) / 2)[:, None, None]
    exact = (x - end) / size[:, None, None]
    errors = [(teacher_rollout(growth, x, t, size, n) - exact).abs().max().item() for n in (4, 8, 16)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > 1.8 and errors[-1] < 1e-3


def test_shortcuts_tile_the_time():
    t, size = draw_shortcuts(4000, torch.Generator().manual_seed(1))
    steps = t / size
    assert torch.equal(steps, steps.round()) and (steps >= 1).all() and (t <= 1).all()
    quarter = t[size == 0.25]
    for start in (0.25, 0.5, 0.75, 1.0):
        share = (quarter == start).float().mean().item()
        assert abs(share - 0.25) < 4 * math.sqrt(0.25 * 0.75 / len(quarter))


@pytest.fixture
def network():
    network = build_network(modalities=["text", "image"])
    torch.nn.init.zeros_(network.trunk.modulation.step_size.weight)
    return network


def test_only_networks_that_learned_it_take_shortcuts(network, codec):
    known = [caption_tokens(codec, "a fox")]
    assert network.shortcut_step_size(4) == 0.0
    before = network.forwards
    [*sample_images(network, known, ImageSampling(steps=4))]
    assert network.forwards - before == 4 + 1  # the caption is read once
    torch.nn.init.normal_(network.trunk.modulation.step_size.weight)
    assert (network.shortcut_step_size(4), network.shortcut_step_size(2), network.shortcut_step_size(5)) == (
        0.25,
        0.5,
        0.0,
    )


def test_guidance_is_inside_a_shortcut(network, codec):
    torch.nn.init.normal_(network.trunk.modulation.step_size.weight)
    known, x, t = [caption_tokens(codec, "a fox")], torch.randn(1, 64, 64), torch.ones(1)
    velocity = lambda w: x - image_denoiser(network, known, w, 0.25)(x, t)
    free, asked = velocity(0.0), velocity(DEFAULT_GUIDANCE)
    torch.testing.assert_close(velocity(1.5), free + 0.5 * (asked - free), atol=1e-4, rtol=1e-4)


@pytest.fixture
def rows(codec):
    return Corpus.of([*story_documents(60)], codec).epoch(0, 0, 128, {"story": 1.0}, 0.0, 0.0)[:3]


def jumped(network, teacher, rows, monkeypatch, size, width=8):
    monkeypatch.setattr("bowstring.train.joint.shortcut.BLOCK_SIZES", (width,))
    whole = lambda count, rng: (torch.ones(count), torch.full((count,), size))
    monkeypatch.setattr("bowstring.train.joint.shortcut.draw_shortcuts", whole)
    monkeypatch.setattr(
        "bowstring.train.joint.shortcut.truncate", lambda logits, *_: logits * 1e6
    )  # the likeliest
    with torch.no_grad():
        return text_shortcut_loss(network, teacher, rows, torch.Generator().manual_seed(4)).item()


def test_a_jump_of_one_token_is_what_the_teacher_believes_at_once(network, rows, monkeypatch):
    blind = copy.deepcopy(network)
    torch.nn.init.zeros_(blind.trunk.modulation.step_size.weight)
    assert abs(jumped(blind, blind, rows, monkeypatch, 0.125)) < 1e-5
    assert jumped(blind, blind, rows, monkeypatch, 1.0) > 3e-5


def test_a_jump_of_text_is_two_evaluations_of_the_teacher(network, rows, monkeypatch):
    """The same, block by block: the surest half of the jump stands before the teacher looks again."""
    made = jumped(network, network, rows, monkeypatch, 0.5)
    rng = torch.Generator().manual_seed(4)
    torch.randint(1, (), generator=rng)
    block, doc = blocks_of(rows, 8), torch.from_numpy(rows.doc)
    noise = draw_noise(rows, block, rng, leftmost=0.0)
    noisy, clean = masked_tokens(rows, noise), torch.from_numpy(rows.tokens)

    def believed(seen, sizes=None):
        with torch.no_grad():
            hidden, _ = network.pair(seen, clean, doc, block, step_size=sizes)
            return network.heads["text"](hidden).softmax(-1)

    first = believed(noisy)
    seen, early = noisy.clone(), torch.zeros_like(noise.masked)
    for group in noise.group[noise.masked].unique():
        places = ((noise.group == group) & noise.masked).nonzero().tolist()
        surest = sorted(places, key=lambda at: -first[tuple(at)].max().item())[:2]  # half of half a block
        for at in map(tuple, surest):
            seen[at], early[at] = first[at].argmax(), True
    wanted = torch.where(early[..., None], first, believed(seen))
    told = torch.zeros(len(rows), 2 * clean.shape[1])
    told[:, : clean.shape[1]] = 0.5
    own = believed(noisy, told)
    apart = (wanted * (wanted / own).log()).sum(-1)[noise.masked].mean().item()
    assert made == pytest.approx(apart, rel=1e-3)


def test_text_takes_shortcuts_where_blocks_get_fewer_steps_than_tokens(network):
    torch.nn.init.normal_(network.trunk.modulation.step_size.weight)
    sizes = {
        how: BlockDiffusion.sampled(network, 64, Sampling(block=how[0], steps=how[1])).step_size
        for how in ((4, 4), (4, 2), (16, 4), (16, 8), (4, 8))
    }
    assert sizes == {(4, 4): 0.0, (4, 2): 0.5, (16, 4): 0.25, (16, 8): 0.0, (4, 8): 0.0}


def test_learning_shortcuts_nears_the_teacher_and_leaves_many_steps_alone(network, codec):
    teacher = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    known = [caption_tokens(codec, caption) for caption in ("a fox", "two red cars")]
    x_0 = 0.5 * torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(2))
    learned = network.trunk.modulation.step_size.weight
    network.requires_grad_(requires_grad=False)
    learned.requires_grad_()
    optimiser, losses = torch.optim.Adam([learned], 1e-2), []
    for _ in range(12):
        loss = image_shortcut_loss(network, teacher, x_0, known, torch.Generator().manual_seed(3))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
    x, t = torch.randn(2, 64, 64), torch.tensor([0.3, 0.9])
    with torch.no_grad():
        assert torch.equal(
            image_denoiser(network, known, 2.0)(x, t), image_denoiser(teacher, known, 2.0)(x, t)
        )
