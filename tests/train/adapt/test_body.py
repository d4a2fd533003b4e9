"""The body that gradients pass through, beside the decoder that runs."""

import numpy as np
import pytest
import torch

from bowstring.decode.config import DecoderConfig, Rope
from bowstring.decode.decoder import Decoder, DenseMatrix, LayerWeights
from bowstring.text.decoder import decoder_of
from bowstring.train.adapt.body import Bends, Body
from bowstring.train.adapt.fit import (
    FitOptions,
    Row,
    answer_losses,
    batches,
    causal_batch,
    control_net,
    divergence,
    fit,
    lora,
    masked_losses,
    share,
    whole,
)
from tests.conftest import build_network

rng = np.random.default_rng(0)


def random_decoder(**changes):
    sizes = {
        "width": 32,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "head": 16,
        "ffn": 48,
        "vocab": 96,
        "context": 64,
    }
    c = DecoderConfig(
        **({"family": "llama", "epsilon": 1e-5, "rope": Rope(interleaved=True)} | sizes | changes)
    )
    normal = lambda *shape: (0.2 * rng.normal(size=shape)).astype(np.float32)
    matrix = lambda *shape: DenseMatrix(normal(*shape))
    norm = lambda n: 1 + normal(n)
    layers = [
        LayerWeights(
            attention_norm=norm(c.width),
            q=matrix(c.heads * c.head, c.width),
            k=matrix(c.kv_heads * c.head, c.width),
            v=matrix(c.kv_heads * c.head, c.width),
            out=matrix(c.width, c.heads * c.head),
            ffn_norm=norm(c.width),
            gate=matrix(c.ffn, c.width),
            up=matrix(c.ffn, c.width),
            down=matrix(c.width, c.ffn),
            q_bias=normal(c.heads * c.head),
            k_bias=normal(c.kv_heads * c.head),
            v_bias=normal(c.kv_heads * c.head),
            q_norm=norm(c.head),
            k_norm=norm(c.head),
        )
        for _ in range(c.layers)
    ]
    return Decoder(c, matrix(c.vocab, c.width), layers, norm(c.width))


def our_decoder():
    torch.manual_seed(0)
    network = build_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return decoder_of(network.eval(), 64)


def shaken(bends):
    generator = torch.Generator().manual_seed(1)
    for one in bends.parameters():
        one.add_(0.1 * torch.randn(one.shape, generator=generator))
    return bends


KINDS = [lambda b: lora(b, 3, 0), lambda b: control_net(b, 5, 0), lambda b: whole(b, [1]), lambda b: Bends()]


@pytest.mark.parametrize("make", [our_decoder, random_decoder, lambda: random_decoder(rope=Rope())])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_decoder_with_the_same_deltas(make, kind):
    decoder = make()
    body = Body(decoder)
    bends = shaken(kind(body))
    tokens = rng.integers(10, 90, 12)
    bent = decoder.with_deltas(bends.deltas())
    expected = bent.logits(bent.forward(tokens, bent.cache()))
    ids, position, mask, *_ = causal_batch([Row(tuple(tokens[:4]), tuple(tokens[4:]))])
    with torch.no_grad():
        made = body.logits(body.hidden(ids, position, mask, bends))[0]
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_fresh_deltas_change_nothing_to_the_bit_and_go_on_from_where_they_were(kind):
    body = Body(random_decoder())
    rows = [Row((3, 4), (5, 6, 7)), Row((3,), (9, 8))]
    fresh = kind(body)
    with torch.no_grad():
        assert torch.equal(answer_losses(body, rows, fresh), answer_losses(body, rows))
        moved = shaken(fresh)
        torch.testing.assert_close(
            answer_losses(body, rows, Bends.of(moved.deltas())), answer_losses(body, rows, moved)
        )


def test_losses_are_sums_over_the_answer_alone_whatever_else_is_in_the_batch():
    decoder = random_decoder()
    body, rows = Body(decoder), [Row((3, 4, 5), (6, 7)), Row((8,), (9, 10, 11, 12, 13, 14))]
    with torch.no_grad():
        together = answer_losses(body, rows)
        alone = torch.cat([answer_losses(body, [row]) for row in rows])
    torch.testing.assert_close(together, alone)
    hidden = decoder.forward(np.array([3, 4, 5, 6]), decoder.cache())
    logits = torch.from_numpy(decoder.logits(hidden)).log_softmax(-1)
    assert float(together[0]) == pytest.approx(-float(logits[2, 6] + logits[3, 7]), rel=1e-4)


def test_rows_that_begin_alike_are_computed_in_lines_and_lose_what_each_loses_alone(monkeypatch):
    """Losses, their gradients and divergences: of chats that share a beginning and differ in all else."""
    body, chat = Body(random_decoder()), tuple(range(20, 32))
    rows = [Row((*chat, *range(40, 41 + i)), tuple(range(50, 53 + 2 * i))) for i in range(5)]
    rows.append(Row(chat, (7,)))
    monkeypatch.setattr("bowstring.train.adapt.fit.LINE", 40)
    lines = [*batches(rows)]
    assert [first for first, _ in lines] == [0, 3, 4]
    assert max(batch.tokens.shape[1] for _, batch in lines) <= 40

    def learned(parts):
        bends = shaken(lora(body, 3, 0))
        places = [one.requires_grad_() for one in bends.parameters()]
        losses = torch.cat([answer_losses(body, part, bends) for part in parts])
        moved = sum(divergence(body, part, bends) * sum(len(row.body) for row in part) for part in parts)
        return losses, moved, torch.autograd.grad(losses.square().sum() + moved, places)

    together, alone = learned([rows]), learned([[row] for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_masked_losses_are_those_of_the_block_that_the_decoder_would_draft(seed):
    """What was written sees itself causally; a block sees that and all of itself, its last tokens masked."""
    decoder, mask = random_decoder(), 2
    head, block, behind = (3, 4, 5), (6, 7, 8, 9), (10, 11)
    drawn = torch.Generator().manual_seed(seed)
    at = 4 * int(torch.randint(2, (1,), generator=drawn))
    part = (*block, *behind)[at : at + 4]
    first = int(torch.randint(len(part), (1,), generator=drawn))
    noisy = np.array([*part[:first], *[mask] * (len(part) - first)])
    cache = decoder.cache()
    decoder.forward(np.array([*head, *block[:at]]), cache)
    full = np.ones((len(part), len(part)), bool)
    belief = torch.from_numpy(decoder.logits(decoder.forward(noisy, cache, full))).log_softmax(-1)
    expected = -sum(float(belief[i, part[i]]) for i in range(first, len(part)))
    with torch.no_grad():
        rng = torch.Generator().manual_seed(seed)
        made = masked_losses(Body(decoder), [Row(head, (*block, *behind))], mask, 4, rng)
    assert float(made) == pytest.approx(expected, rel=1e-4)


def test_the_same_seed_and_steps_learn_the_same_and_a_loss_falls():
    body = Body(random_decoder())
    rows = [Row((3 + i % 5, 20 + i % 7), (40 + i % 5, 50 + i % 7)) for i in range(35)]
    options = FitOptions(rate=2e-2, steps=30, rows=8, seed=3)
    first, steps, _ = fit(body, lora(body, 4, 0), rows, options)
    second, *_ = fit(body, lora(body, 4, 0), rows, options)
    assert steps == 30
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    with torch.no_grad():
        assert answer_losses(body, rows, first).mean() < 0.6 * answer_losses(body, rows).mean()


def test_what_does_no_better_on_rows_set_aside_is_not_learned():
    body = Body(random_decoder())
    rows = [Row((3,), (int(rng.integers(10, 90)),)) for _ in range(32)]
    made, *_ = fit(body, lora(body, 2, 0), rows, FitOptions(rate=0.5, steps=25, rows=4))
    with torch.no_grad():
        assert answer_losses(body, rows[::8], made).mean() <= answer_losses(body, rows[::8]).mean()


def test_shares_are_those_of_the_levels():
    body = Body(random_decoder())
    sizes = body.sizes()
    assert share(body, whole(body, range(2))) == sum(o * k for o, k in sizes.values()) / body.parameters()
    assert share(body, lora(body, 1, 0)) == sum(o + k for o, k in sizes.values()) / body.parameters()


def test_what_is_believed_of_kept_rows_is_measured_as_a_divergence_and_stays_nearer():
    decoder = random_decoder()
    body = Body(decoder)
    kept = [Row((3, 4), tuple(map(int, rng.integers(10, 90, 6)))) for _ in range(8)]
    fresh, moved = lora(body, 2, 0), shaken(lora(body, 2, 0))
    with torch.no_grad():
        assert float(divergence(body, kept, fresh)) == pytest.approx(0, abs=1e-6)
        bent, expected, count = decoder.with_deltas(moved.deltas()), 0.0, 0
        for row in kept:
            tokens = np.array([*row.head, *row.body[:-1]])
            both = [
                torch.from_numpy(one.logits(one.forward(tokens, one.cache()))[1:]).log_softmax(-1)
                for one in (decoder, bent)
            ]
            expected += float((both[0].exp() * (both[0] - both[1])).sum())
            count += len(row.body)
        assert float(divergence(body, kept, moved)) == pytest.approx(expected / count, rel=1e-3)
    rows = [Row((5 + i % 5, 20), (40 + i % 5,)) for i in range(20)]
    ends = [
        fit(body, lora(body, 4, 0), rows, FitOptions(rate=1e-2, steps=20, rows=8, keep=keep), kept)[0]
        for keep in (0.0, 5.0)
    ]
    with torch.no_grad():
        far, near = (float(divergence(body, kept, one)) for one in ends)
    assert near < 0.7 * far
