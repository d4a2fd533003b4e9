"""Steps for tokens against a small joint table."""

from dataclasses import replace

import pytest
import torch

from bowstring.core.loop import State, iterate, last
from bowstring.core.process import SCHEDULES, Masked, custom, uniform
from bowstring.core.rng import Rng
from bowstring.core.samplers.masked import (
    ORDERS,
    ancestral_update,
    blocks,
    invert_cdf,
    remask,
    truncate,
    unmask,
    unmask_k,
    unmask_k_update,
)
from tests.oracles import MASK, TABLE, table_counts, table_denoise, within_four_errors

N = 20_000
LAWS = SCHEDULES | {"custom": custom([0, 0.2, 0.7, 1], [1, 0.5, 0.4, 0])}
ENTROPY = torch.special.entr(TABLE).sum().item()


def sample(step, n_steps, seed=0):
    return last(iterate(step, State.begin(torch.full((N, 3), MASK)), uniform(n_steps), Rng.of(seed, N))).x


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_one_token_at_a_time_draws_the_joint_law_in_every_order(order):
    assert within_four_errors(table_counts(sample(unmask_k(table_denoise, Masked(MASK), order), 3)), TABLE, N)


def test_ancestral_sampling_approaches_the_joint_law():
    shares = table_counts(sample(unmask(table_denoise, Masked(MASK)), 200))
    assert (shares - TABLE).abs().max() < 4 * 0.5 / N**0.5 * 0.8 + 0.005


def test_revealing_all_at_once_draws_independent_marginals():
    """The error of parallel decoding is real: a sampler that hid it would be wrong."""
    independent = (
        TABLE.sum((1, 2))[:, None, None] * TABLE.sum((0, 2))[None, :, None] * TABLE.sum((0, 1))[None, None, :]
    )
    assert within_four_errors(table_counts(sample(unmask_k(table_denoise, Masked(MASK)), 1)), independent, N)


@pytest.mark.parametrize("schedule", LAWS.values(), ids=LAWS)
def test_the_share_of_masks_follows_the_schedule_forwards_and_backwards(schedule):
    process, t = Masked(MASK, schedule), torch.full((N,), 0.4)
    keep = schedule.keep(t.double())[0].item()
    error = 4 * (keep * (1 - keep) / (3 * N)) ** 0.5
    forward = (
        (process.corrupt(torch.zeros(N, 3, dtype=torch.int64), t, Rng.of(0, N)) != MASK)
        .double()
        .mean()
        .item()
    )
    assert forward == pytest.approx(keep, abs=error)
    for step in (unmask(table_denoise, process), remask(table_denoise, process, cap=0.3)):
        state = last(
            iterate(
                step, State.begin(torch.full((N, 3), MASK)), torch.tensor([1.0, 0.8, 0.6, 0.4]), Rng.of(0, N)
            )
        )
        assert (state.x != MASK).double().mean().item() == pytest.approx(keep, abs=error + 1e-9)


def test_remasking_takes_tokens_back_and_keeps_the_law():
    x = torch.zeros(N, 3, dtype=torch.int64)
    t, s = torch.full((N,), 0.5), torch.full((N,), 0.4)
    again, _ = ancestral_update(Masked(MASK), remask=0.2)(
        x, table_denoise(x, t), t, s, Rng.of(0, N).at(torch.zeros(N).long()), None
    )
    assert (again == MASK).float().mean().item() == pytest.approx(0.2, abs=0.01)
    shares = table_counts(sample(remask(table_denoise, Masked(MASK), cap=0.05), 150))
    assert (shares - TABLE).abs().max() < 0.02


@pytest.mark.parametrize("schedule", LAWS.values(), ids=LAWS)
def test_an_exact_denoiser_has_nelbo_equal_to_the_entropy(schedule):
    """A wrong weight, a wrong mean or a leaked label all break this equality."""
    process, n = Masked(MASK, schedule), 60_000
    rng = Rng.of(5, n)
    flat = invert_cdf(TABLE.flatten().expand(n, 1, 12).float(), rng.uniform(1))[:, 0]
    x_0 = torch.stack([flat // 6, flat % 6 // 2, flat % 2], 1)
    t = (torch.arange(n) + 0.5)[torch.randperm(n, generator=torch.Generator().manual_seed(0))] / n
    t = t.clamp(1e-3, 1)
    x_t = process.corrupt(x_0, t, rng.fork(1))
    values = process.nelbo(table_denoise(x_t, t).clamp(min=-30), x_0, x_t, t)
    assert values.mean().item() == pytest.approx(
        ENTROPY, abs=4 * values.std().item() / n**0.5 + 0.01 * ENTROPY
    )


def test_the_bound_by_exact_counts_is_the_same_bound():
    n = 30_000
    rng = Rng.of(6, n)
    flat = invert_cdf(TABLE.flatten().expand(n, 1, 12).float(), rng.uniform(1))[:, 0]
    x_0 = torch.stack([flat // 6, flat % 6 // 2, flat % 2], 1)
    values = Masked(MASK).nelbo_exact_count(table_denoise, x_0, rng.fork(1), torch.arange(n) % 3 + 1)
    assert values.mean().item() == pytest.approx(ENTROPY, abs=4 * values.std().item() / n**0.5)


def test_nelbo_refuses_a_state_that_contradicts_the_data():
    x = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="disagrees"):
        Masked(MASK).nelbo(torch.zeros(1, 3, 4), x, x + 1, torch.tensor([0.5]))


class TableBlocks:
    """The table as a block model: its carry is the tokens so far."""

    def score(self, carry, noisy):
        done = carry["tokens"]
        rest = torch.full((len(noisy), 3 - done.shape[1] - noisy.shape[1]), MASK)
        return table_denoise(torch.cat([done, noisy, rest], 1), None)[
            :, done.shape[1] : done.shape[1] + noisy.shape[1]
        ]

    def commit(self, carry, tokens):
        return {"tokens": torch.cat([carry["tokens"], tokens], 1)}


@pytest.mark.parametrize(
    ("edges", "per_block"),
    [([(0, 1), (1, 2), (2, 3)], 1), ([(0, 2), (2, 3)], 2)],
    ids=["autoregression", "blocks"],
)
def test_blocks_draw_the_joint_law(edges, per_block):
    step = blocks(TableBlocks(), unmask_k_update(Masked(MASK)), edges, per_block)
    start = State.begin(
        torch.full((N, 3), MASK), carry={"model": {"tokens": torch.zeros(N, 0, dtype=torch.int64)}}
    )
    state = last(iterate(step, start, uniform(len(edges) * per_block), Rng.of(1, N)))
    assert within_four_errors(table_counts(state.x), TABLE, N)


class Counting:
    """A block model without a memory that is sure of one token, and counts what was committed."""

    def score(self, carry, noisy):
        return torch.tensor([0.0, 9.0, 0.0, 0.0]).expand(*noisy.shape, 4)

    def commit(self, carry, tokens):
        return {"written": carry["written"] + tokens.shape[1]}


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (7, 7)])
def test_a_long_text_has_no_holes_however_many_blocks_it_has(size, steps):
    """Each step writes into its own block, and the block's last leaves nothing masked there."""
    length = 5000
    edges = [(i, min(i + size, length)) for i in range(0, length, size)]
    step, times = blocks(Counting(), unmask_k_update(Masked(MASK)), edges, steps), uniform(len(edges) * steps)
    blank = State.begin(torch.full((1, length), MASK), carry={"model": {"written": 0}, "update": None})
    for block in range(0, len(edges), 11):
        state = replace(blank, steps=torch.tensor([block * steps]))
        for k in range(block * steps, (block + 1) * steps):
            state = step(state, times[k : k + 1], times[k + 1 : k + 2], Rng.of(0, 1).at(state.steps))
            state = replace(state, steps=state.steps + 1)
        start, stop = edges[block]
        assert (state.x[0] != MASK).nonzero().flatten().tolist() == list(range(start, stop))
        assert state.carry["model"]["written"] == (stop - start if block + 1 < len(edges) else 0)


def test_a_draw_inverts_the_distribution_at_its_edges():
    p = torch.tensor([[[0.0, 0.25, 0.75, 0.0]]])
    assert [invert_cdf(p, torch.tensor([[u]])).item() for u in (0.0, 0.2499, 0.2501, 0.99999994)] == [
        1,
        1,
        2,
        2,
    ]


def test_truncation_keeps_the_smallest_set_that_reaches_top_p():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    assert truncate(logits, top_p=0.7).isfinite().tolist() == [True, True, False, False]
    assert torch.allclose(
        truncate(logits, temperature=0.5).softmax(-1), logits.exp() ** 2 / (logits.exp() ** 2).sum()
    )
    with pytest.raises(ValueError, match="top_p"):
        truncate(logits, top_p=0.0)
