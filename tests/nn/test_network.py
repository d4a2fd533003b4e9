"""The mask rule, the cache, and what must have no effect at first."""

import pytest
import torch

from bowstring.core.conditioning import Conditioning
from bowstring.nn.config import NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork, causal, paired
from bowstring.nn.trunk import SHORT, attend, rotate, rotations
from tests.conftest import build_network

CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def text(network, b=2, length=24):
    rng = torch.Generator().manual_seed(1)
    clean = torch.randint(8, network.config.vocab, (b, length), generator=rng)
    return clean, torch.ones_like(clean)


def test_the_mask_rule_word_for_word():
    """Built pair by pair from the rule's sentence, not from its formula."""
    doc = torch.tensor([[1, 1, 1, 1, 1, 2, 2, 0]])
    block = torch.tensor([[0, 1, 1, 2, 2, 1, 2, 0]])
    mask = paired(doc, block)[0]
    n = doc.shape[1]
    for i in range(n):
        for j in range(n):
            same = doc[0, i] == doc[0, j]
            assert mask[i, j] == (same and block[0, i] == block[0, j])
            assert mask[i, n + j] == (same and block[0, j] < block[0, i])
            assert not mask[n + i, j]
            assert mask[n + i, n + j] == (same and j <= i) == causal(doc)[0, i, j]


def test_the_clean_stream_of_a_pair_is_the_plain_causal_pass(network):
    clean, doc = text(network)
    noisy = torch.where(torch.rand(clean.shape, generator=torch.Generator().manual_seed(2)) < 0.5, 1, clean)
    _, hidden = network.pair(noisy, clean, doc, torch.arange(24)[None].expand(2, -1) // 4)
    torch.testing.assert_close(hidden, network.plain(clean, doc), **CLOSE)


def test_a_cached_block_is_what_training_saw(network):
    """Reading a prefix into the cache and scoring one block equals that block of the one-pass layout."""
    clean, doc = text(network)
    block = torch.arange(24)[None].expand(2, -1) // 8
    noisy = torch.where(torch.arange(24) % 3 == 0, 1, clean)
    trained, _ = network.pair(noisy, clean, doc, block)
    position = torch.arange(24.0)[None].expand(2, -1)
    valid = torch.ones(2, 16, dtype=torch.bool)
    _, cache = network.prefill(clean[:, :16], position[:, :16], valid)
    scored = network.block_hidden(noisy[:, 16:], position[:, 16:], Conditioning(cache))
    torch.testing.assert_close(scored, trained[:, 16:], **CLOSE)


def test_reading_in_two_pieces_is_reading_at_once_and_padding_is_invisible(network):
    clean, _ = text(network, b=1)
    position, valid = torch.arange(24.0)[None], torch.ones(1, 24, dtype=torch.bool)
    whole, cache = network.prefill(clean, position, valid)
    _, first = network.prefill(clean[:, :9], position[:, :9], valid[:, :9])
    second, grown = network.prefill(clean[:, 9:], position[:, 9:], valid[:, 9:], Conditioning(first))
    torch.testing.assert_close(second, whole[:, 9:], **CLOSE)
    torch.testing.assert_close(grown.layers[-1][0], cache.layers[-1][0], **CLOSE)
    padded = torch.cat([torch.full((1, 5), 77), clean], 1)
    seen = torch.cat([torch.zeros(1, 5, dtype=torch.bool), valid], 1)
    shifted, _ = network.prefill(padded, (seen.cumsum(1) - 1).clamp(min=0).float(), seen)
    torch.testing.assert_close(shifted[:, 5:], whole, **CLOSE)


def test_rope_scores_depend_on_differences_of_real_positions():
    q, k = torch.randn(2, 1, 1, 1, 64, generator=torch.Generator().manual_seed(0)).unbind(0)
    score = lambda a, b: (
        rotate(q, *rotations(torch.tensor([[a]]))) * rotate(k, *rotations(torch.tensor([[b]])))
    ).sum()
    assert score(3.25, 1.5).item() == pytest.approx(score(11.0, 9.25).item(), abs=1e-4)


def test_a_fresh_cross_attention_slot_and_step_size_change_nothing():
    network = UnifiedScoreNetwork(NetworkConfig(width=128, depth=3, ffn_hidden=192, rank=32, vocab=64)).eval()
    clean, doc = text(network)
    entries = Conditioning(entries=torch.randn(2, 5, 128))
    torch.testing.assert_close(network.plain(clean, doc, entries), network.plain(clean, doc))
    x, position = torch.randn(2, 4, 128), torch.arange(4.0)[None]
    t = torch.full((1, 1), 0.5)
    half, _ = network(x, position, t, step_size=torch.full((1, 1), 0.5))
    none, _ = network(x, position, t)
    torch.testing.assert_close(half, none)


def test_entries_guide_once_their_gate_is_open(network):
    clean, doc = text(network)
    entries = torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(3))
    guided = network.plain(clean, doc, Conditioning(entries=entries))
    assert (guided - network.plain(clean, doc)).abs().max() > 1e-2
    masked = Conditioning(entries=entries, entries_mask=torch.arange(5)[None].expand(2, -1) < 2)
    few = Conditioning(entries=entries[:, :2])
    torch.testing.assert_close(network.plain(clean, doc, masked), network.plain(clean, doc, few), **CLOSE)


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_same_learning_and_not(masked):
    """Values and gradients are those of torch's own attention, on both sides of the limit."""
    rng = torch.Generator().manual_seed(0)
    for length in (5, SHORT + 1):
        q, k, v = (torch.randn(2, 3, length, 16, generator=rng, requires_grad=True) for _ in range(3))
        mask = torch.rand(2, 1, length, length, generator=rng) < 0.6 if masked else None
        mask = None if mask is None else mask | torch.eye(length, dtype=torch.bool)
        both = [one(q, k, v, mask) for one in (attend, torch.nn.functional.scaled_dot_product_attention)]
        torch.testing.assert_close(*both, **CLOSE)
        ours, theirs = (torch.autograd.grad(y.square().sum(), (q, k, v)) for y in both)
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_each_token_has_its_own_time(network):
    x, position = torch.randn(1, 6, 128), torch.arange(6.0)[None]
    t = torch.tensor([[0.0, 0.0, 0.0, 0.7, 0.7, 0.7]])
    order = torch.arange(6)
    mask = (order[None] <= order[:, None])[None, None]
    given = Conditioning(mask=mask)
    mixed, _ = network(x, position, t, conditioning=given)
    clean, _ = network(x, position, torch.zeros(1, 1), conditioning=given)
    torch.testing.assert_close(mixed[:, :3], clean[:, :3], **CLOSE)
    assert (mixed[:, 3:] - clean[:, 3:]).abs().max() > 1e-3


def test_every_pass_is_counted():
    network = build_network()
    clean, doc = text(network)
    network.plain(clean, doc)
    network.pair(clean, clean, doc, doc)
    assert network.forwards == 2


SMALL = NetworkConfig(width=128, depth=2, ffn_hidden=192, rank=32)


def flowing(network, x, t, cached=5):
    tokens = torch.arange(8, 8 + cached)[None].expand(len(x), -1)
    position = torch.arange(float(cached))[None].expand(len(x), -1)
    _, cache = network.prefill(tokens, position, torch.ones(len(x), cached, dtype=torch.bool))
    position = {"image": torch.full((1, 64), float(cached))}
    return network.flow({"image": x}, {"image": t}, position, None, Conditioning(cache))["image"]


def test_a_fresh_head_gives_the_best_linear_estimate_of_the_velocity():
    network = UnifiedScoreNetwork(SMALL, ["text", "image"])
    spread = torch.linspace(0.3, 2, 64)
    network.heads["image"].std.copy_(spread)
    rng = torch.Generator().manual_seed(0)
    x_0 = spread * torch.randn(40, 64, 64, generator=rng)
    eps, t = torch.randn(x_0.shape, generator=rng), torch.full((40,), 0.4)
    x_t = 0.6 * x_0 + 0.4 * eps
    velocity = flowing(network, x_t, t)
    best = ((eps - x_0) * x_t).sum((0, 1)) / x_t.square().sum((0, 1))  # least squares, channel by channel
    n = 40 * 64
    spread_of_best = (spread / (0.36 * spread**2 + 0.16).sqrt()) / (x_t.square().mean((0, 1)) * n).sqrt()
    slope = (velocity / x_t)[0, 0]
    assert ((best - slope).abs() < 4 * spread_of_best).all()
    left = (eps - x_0 - velocity).square().mean((0, 1))
    expected = spread**2 / (0.36 * spread**2 + 0.16)
    assert ((left / expected - 1).abs() < 4 * (2 / n) ** 0.5).all()


def test_an_unknown_modality_is_refused():
    with pytest.raises(ValueError, match="unknown modality 'smell'"):
        UnifiedScoreNetwork(NetworkConfig(), ["smell"])


def test_a_flow_sees_its_cache_and_its_time():
    network = UnifiedScoreNetwork(SMALL, ["image"])
    torch.nn.init.normal_(network.heads["image"].down.weight, std=0.1)
    torch.nn.init.normal_(network.trunk.modulation.out.weight, std=0.1)
    x = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0.3, 0.7])
    one = flowing(network, x, t)
    alone = flowing(network, x[1:], t[1:])
    torch.testing.assert_close(one[1:], alone, **CLOSE)
    assert (flowing(network, x, t, cached=3) - one).abs().max() > 1e-4
    assert network.forwards == 6
