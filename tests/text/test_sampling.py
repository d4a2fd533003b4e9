"""Writing: the sampler's own law, its halting, its cache, its determinism."""

import itertools

import pytest
import torch

from bowstring.eval.likelihood import HeldText, causal_nll, nelbo, sampler_nll, text_rows
from bowstring.text.sampling import (
    Sampling,
    admissible,
    ended,
    fill_gap,
    log_likelihood,
    sample_text,
)
from bowstring.text.tokenizer import EOS, KINDS, MASK, PAD, SEP
from tests.conftest import build_network

HEAD = [KINDS["text"], 9, SEP]


@pytest.fixture(scope="module")
def small():
    """Twelve tokens, four of which can be written."""
    return build_network(vocab=12)


@pytest.mark.parametrize(
    ("order", "steps"), [("confidence", 1), ("confidence", 2), ("margin", 3), ("leftmost", 3)]
)
def test_the_samplers_likelihood_is_a_law(small, order, steps, monkeypatch):
    """Over all texts it sums to one: a step counted twice, a leaked token or a wrong mask breaks this."""
    everything = [
        HeldText("text", "x", HEAD, list(tokens), 1) for tokens in itertools.product(range(8, 12), repeat=6)
    ]
    never = torch.tensor([MASK, EOS, *KINDS.values(), SEP, 6, 7])
    monkeypatch.setattr("bowstring.text.sampling.NEVER", never)
    with torch.no_grad():
        nll = sampler_nll(small, everything, Sampling(block=3, steps=steps, order=order), 64)
    assert nll.neg().exp().sum().item() == pytest.approx(1, abs=1e-3)


def test_samples_follow_the_law(small, monkeypatch):
    never = torch.tensor([MASK, EOS, *KINDS.values(), SEP, 6, 7])
    monkeypatch.setattr("bowstring.text.sampling.NEVER", never)
    how = Sampling(block=2, steps=2, max_tokens=2, temperature=1, top_p=1, seed=4)
    n, texts = 4000, list(itertools.product(range(8, 12), repeat=2))
    *_, state = sample_text(small, [HEAD] * n, how, 64)
    with torch.no_grad():
        law = (
            sampler_nll(small, [HeldText("text", "x", HEAD, list(t), 1) for t in texts], how, 64).neg().exp()
        )
    found = torch.stack([(state.x == torch.tensor(t)).all(1).float().mean() for t in texts])
    assert ((found - law).abs() <= 4 * (law * (1 - law) / n).sqrt() + 1e-3).all()


def test_blocks_of_one_token_bound_what_is_exact(network):
    """With blocks of one the bound has no slack: it is the likelihood of reading order."""
    rng = torch.Generator().manual_seed(0)
    body = torch.randint(8, 512, (16,), generator=rng).tolist()
    rows = text_rows([HeldText("text", "x", HEAD, body, 1)])
    with torch.no_grad():
        bound = nelbo(network, rows, 1, 1)
        held = [HeldText("text", "x", HEAD, body, 1)]
        exact = sampler_nll(network, held, Sampling(block=1, steps=1), 64)
    # the sampler forbids reserved ids and therefore gives the rest a little more
    assert 0 <= (bound - exact).item() < 16 * 0.2
    read = log_likelihood(network, [[*HEAD, *body]], given=len(HEAD))
    torch.testing.assert_close(causal_nll(network, rows), -read)


def test_both_modes_repeat_themselves_and_do_not_see_their_batch(network, codec):
    known = [[KINDS["text"], *codec.encode(p), SEP] for p in ("a fox", "a much longer prompt about a bear")]
    for mode in ("ar", "diffusion"):
        how = Sampling(mode=mode, max_tokens=24, seed=3)
        *_, alone = sample_text(network, known[:1], how, 128)
        *_, again = sample_text(network, known[:1], how, 128)
        *_, together = sample_text(network, known, how, 128)
        assert torch.equal(alone.x, again.x)
        assert torch.equal(alone.x[0], together.x[0])


def test_a_text_starts_fully_masked_and_each_step_reveals_what_it_should(network):
    states = list(sample_text(network, [HEAD], Sampling(max_tokens=16, block=8, steps=4), 128))
    assert (states[0].x == MASK).all()
    hidden = [int((state.x == MASK).sum()) for state in states]
    assert hidden == sorted(hidden, reverse=True) and hidden[-1] == 0
    assert int(states[-1].nfe[0]) <= 8


@pytest.mark.parametrize(("block", "tokens"), [(4, 192), (8, 184), (16, 96), (3, 99)])
def test_as_many_steps_as_tokens_reveal_one_token_each(network, monkeypatch, block, tokens):
    """Rounding of the common time must not let a step reveal two."""
    never = torch.tensor([MASK, EOS, *KINDS.values(), SEP, 6, 7])
    monkeypatch.setattr("bowstring.text.sampling.NEVER", never)
    states = list(sample_text(network, [HEAD], Sampling(max_tokens=tokens, block=block, steps=block), 256))
    hidden = [int((state.x == MASK).sum()) for state in states]
    assert hidden == list(range(tokens, -1, -1))


def test_only_admissible_tokens_are_written(network):
    logits = torch.zeros(1, 4, 512)
    x = torch.tensor([[MASK, 9, MASK, MASK]])
    allowed = admissible(logits, x, gap=False).isfinite()
    assert not allowed[..., [MASK, SEP, PAD]].any()
    assert allowed[0, :, EOS].tolist() == [True, False, False, False]
    assert admissible(logits, x, gap=True).isfinite()[0, :, [PAD, EOS]].any(0).tolist() == [True, False]


def test_a_sample_halts_at_its_end_and_nothing_stands_behind_it():
    class State:
        x = torch.tensor([[8, EOS, 0, 0], [8, MASK, EOS, 0], [8, 9, 9, MASK]])

    assert ended(State()).tolist() == [True, False, False]


def test_a_context_that_is_full_slides(network):
    *_, state = sample_text(network, [HEAD], Sampling(max_tokens=96, block=8, steps=2, seed=2), 48)
    assert not (state.x == MASK).any()


def test_a_gap_keeps_its_suffix(network):
    *_, state = fill_gap(network, HEAD, 6, [20, 21, 22], Sampling(steps=3), 64)
    assert state.x[0, 6:].tolist() == [20, 21, 22] and not (state.x == MASK).any()


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "gan"}, {"order": "best"}, {"block": 33}, {"steps": 0}, {"temperature": -0.1}, {"top_p": 1.5}],
)
def test_sampling_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        Sampling(**wrong)
