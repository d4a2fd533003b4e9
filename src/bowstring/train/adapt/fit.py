"""Learning deltas of a decoder from examples: what follows a context becomes likelier behind it.

A row is a context and its continuation. Beside the lesson stand rows of what the model wrote itself before,
so that it stays what it was elsewhere. The same seed, rows and count of steps learn the same.
Shapes: n rows, l tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.cancel import Cancel, stoppable
from ..loop import step_generator
from ..optim import mixed
from .body import NONE, Bends, Body
from .kept import Kept, put

LINE = 512  # tokens of rows in one line; each token is compared with all of them
LEAST_SHARED = 8  # tokens that prompts begin with alike, for lines to pay
MOST_ASIDE = 64  # rows; more would cost more than they tell
MAPS = ("q", "k", "v", "out", "gate", "up", "down")
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Row:
    """Tokens of a context, and of what follows it."""

    head: tuple[int, ...]
    body: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.head) + len(self.body)


@dataclass(frozen=True)
class FitOptions:
    """How deltas are learned. seconds: of wall-clock time; steps: instead of it, a number that repeats
    exactly. rows: of the lesson in a step. kept: rows of the model's own writing beside them, and keep: how
    much it weighs that the belief about them moves. masks: share of steps that teach masked blocks of
    `block`, for models that write by diffusion. epochs: at most so many.
    """

    rate: float = 4e-3
    seconds: float = 60.0
    steps: int | None = None
    rows: int = 16
    kept: int = 4
    keep: float = 20.0
    masks: float = 0.0
    block: int = 4
    epochs: int = 40
    seed: int = 0


def lora(body: Body, rank: int, seed: int, maps: Sequence[str] = MAPS, alpha: float | None = None) -> Bends:
    """Deltas of low rank of every layer that change nothing yet; scale is alpha / rank, 2 unless given.

    Source: Hu et al. 2021, arXiv 2106.09685.
    """
    rng = torch.Generator().manual_seed(seed)
    low = {
        place: (torch.randn(rank, k, generator=rng) * k**-0.5, torch.zeros(o, rank))
        for place, (o, k) in body.sizes().items()
        if place[1] in maps
    }
    return Bends(low, scale=(2 * rank if alpha is None else alpha) / rank)


def control_net(body: Body, rank: int, seed: int) -> Bends:
    """Residual branches behind every layer that change nothing yet."""
    rng, d = torch.Generator().manual_seed(seed), body.config.width
    return Bends(
        branches={
            i: (torch.randn(rank, d, generator=rng) * d**-0.5, torch.zeros(d, rank))
            for i in range(len(body.layers))
        }
    )


def whole(body: Body, layers: Sequence[int]) -> Bends:
    """Deltas of all maps of some layers, as training the weights themselves gives."""
    return Bends(
        full={place: torch.zeros(size) for place, size in body.sizes().items() if place[0] in layers}
    )


def share(body: Body, bends: Bends) -> float:
    """Parameters that are learned, over those that the model has."""
    return sum(one.numel() for one in bends.parameters()) / body.parameters()


class Batch(NamedTuple):
    """Rows as tokens and positions `(b, l)`, who sees whom `(b or 1, l, l)`, which tokens are predicted, and
    the row that each belongs to.
    """

    tokens: Tensor
    position: Tensor
    mask: Tensor
    wanted: Tensor
    owner: Tensor


def causal_batch(rows: Sequence[Row]) -> Batch:
    """Each row by itself, padded to the longest."""
    longest = max(row.length for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    wanted = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, : row.length] = torch.tensor([*row.head, *row.body])
        wanted[i, len(row.head) : row.length] = True
    position = torch.arange(longest)[None].expand(len(rows), -1)
    owner = torch.arange(len(rows))[:, None].expand(-1, longest)
    return Batch(tokens, position, torch.ones(longest, longest, dtype=torch.bool).tril()[None], wanted, owner)


def packed_batch(rows: Sequence[Row], shared: int) -> Batch:
    """Rows in one line behind the `shared` tokens that all begin with: each sees those and its own."""
    ends = [(*row.head[shared:], *row.body) for row in rows]
    tokens = torch.tensor([*rows[0].head[:shared], *(token for end in ends for token in end)])
    position = torch.cat([torch.arange(shared), *(torch.arange(len(end)) + shared for end in ends)])
    sizes = torch.tensor([shared, *map(len, ends)])
    owner = torch.arange(-1, len(rows)).repeat_interleave(sizes)
    heads = torch.tensor([0, *(len(row.head) for row in rows)])
    wanted = (position >= heads[owner + 1]) & (owner >= 0)
    sees = ((owner[:, None] == owner) | (owner < 0)) & torch.ones(len(tokens), len(tokens)).tril().bool()
    return Batch(tokens[None], position[None], sees[None], wanted[None], owner[None])


def batches(rows: Sequence[Row]) -> Iterator[tuple[int, Batch]]:
    """Rows as few batches, each with the number of its first row. Where prompts begin alike, as those of
    chats do, rows stand in lines of at most `LINE` tokens, so that what all begin with is computed once.
    """
    alike = takewhile(lambda column: len({*column}) == 1, zip(*(row.head for row in rows), strict=False))
    shared = min(sum(1 for _ in alike), min(len(row.head) for row in rows) - 1)
    if shared < LEAST_SHARED:
        yield 0, causal_batch(rows)
        return
    first, length = 0, shared
    for i, row in enumerate(rows):
        if i > first and length + row.length - shared > LINE:
            yield first, packed_batch(rows[first:i], shared)
            first, length = i, shared
        length += row.length - shared
    yield first, packed_batch(rows[first:], shared)


def answer_losses(body: Body, rows: Sequence[Row], bends: Bends = NONE) -> Tensor:
    """Nats of each row's body behind its head, `(n,)`, one token after the other."""
    nats = torch.zeros(len(rows))
    for first, batch in batches(rows):
        chosen = batch.wanted[:, 1:]
        nll = F.cross_entropy(
            body.logits(hidden_before(body, batch, bends)).float(),
            batch.tokens[:, 1:][chosen],
            reduction="none",
        )
        nats = nats.index_add(0, first + batch.owner[:, 1:][chosen], nll)
    return nats


def hidden_before(body: Body, batch: Batch, bends: Bends = NONE) -> Tensor:
    """Hidden states by which the wanted tokens are predicted, `(m, d)`."""
    hidden = body.hidden(batch.tokens, batch.position, batch.mask, bends)
    return hidden[:, :-1][batch.wanted[:, 1:]]


def masked_losses(
    body: Body, rows: Sequence[Row], mask_id: int, block: int, rng: torch.Generator, bends: Bends = NONE
) -> Tensor:
    """Nats of masked tokens of one block of each row, all of its masks weighed alike, `(n,)`: a block sees
    what is before it and all of itself, as when it is drafted.
    """
    made = []
    for row in rows:
        starts = range(0, len(row.body), block)
        at = starts[int(torch.randint(len(starts), (1,), generator=rng))]
        part = row.body[at : at + block]
        hidden_from = int(torch.randint(len(part), (1,), generator=rng))
        made.append((Row((*row.head, *row.body[:at]), part), hidden_from))
    tokens, position, _, wanted, _ = causal_batch([row for row, _ in made])
    clean, longest = tokens.clone(), tokens.shape[1]
    may = torch.ones(longest, longest, dtype=torch.bool).tril()[None].repeat(len(rows), 1, 1)
    for i, (row, hidden_from) in enumerate(made):
        begin = len(row.head)
        may[i, begin : row.length, begin : row.length] = True
        tokens[i, begin + hidden_from : row.length] = mask_id
        wanted[i, begin : begin + hidden_from] = False
    hidden = body.hidden(tokens, position, may, bends)
    nll = F.cross_entropy(body.logits(hidden[wanted]).float(), clean[wanted], reduction="none")
    owner = wanted.nonzero()[:, 0]
    return torch.zeros(len(rows)).index_add(0, owner, nll)


def fit(
    body: Body,
    bends: Bends,
    rows: Sequence[Row],
    options: FitOptions,
    kept: Sequence[Row] = (),
    mask_id: int | None = None,
    tell: Tell = lambda said: None,
    folder: Path | None = None,
    cancel: Cancel | None = None,
) -> tuple[Bends, int, float]:
    """Learns from rows, and returns what was learned, the count of steps, and seconds. An eighth of the rows
    is set aside, and what did best on it is returned, which is nothing where nothing did better.

    Args:
        folder: where the training is kept while it goes on, and goes on from; with a budget in seconds, the
            count of steps is settled once.
        cancel: is asked before every step.

    Raises:
        Cancelled: it was asked to stop; the folder has what was done.
    """
    aside = rows[::8][:MOST_ASIDE] if len(rows) >= 16 else rows
    train = [row for i, row in enumerate(rows) if i % 8] if len(rows) >= 16 else rows
    parameters = [one.requires_grad_() for one in bends.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.0)
    an_epoch = math.ceil(len(train) / options.rows)
    total, clock = options.steps, time.monotonic()
    kept_state = Kept(folder, parameters, judged(body, aside, bends))
    start, settled = kept_state.restore(parameters, optimiser)
    total, step = settled if total is None else total, start
    for _ in stoppable(count(), cancel):
        if total is not None and step >= total:
            break
        if total is None and step >= start + 3:  # what a step costs is known now
            cost = (time.monotonic() - clock) / (step - start)
            total = max(4, min(options.epochs * an_epoch, int(options.seconds / cost)))
        done = step / (total or options.epochs * an_epoch)
        for group in optimiser.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / 8) * (1 - done)
        with mixed(body.norm.device):
            loss = step_loss(body, bends, train, options, step, kept, mask_id)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        if step % max(1, min(an_epoch, 20)) == 0 or step == total:
            now = judged(body, aside, bends)
            if now < kept_state.best_loss:
                kept_state.better(parameters, now)
            tell({"step": step, "steps": total, "loss": loss.item(), "aside": now})
        kept_state.save(parameters, optimiser, step, total, now=step == total)
    put(parameters, kept_state.best)
    return snapshot(bends), step, time.monotonic() - clock


def step_loss(
    body: Body,
    bends: Bends,
    rows: Sequence[Row],
    options: FitOptions,
    step: int,
    kept: Sequence[Row],
    mask_id: int | None,
) -> Tensor:
    """Mean nats a token of one step's rows, and by how much the belief about kept ones has moved."""
    rng = step_generator(options.seed, step)
    epoch, at = divmod(step * options.rows, len(rows))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(options.seed + 7919 * epoch))
    some = [rows[int(order[(at + i) % len(rows)])] for i in range(min(options.rows, len(rows)))]
    if mask_id is not None and float(torch.rand(1, generator=rng)) < options.masks:
        nats = masked_losses(body, some, mask_id, options.block, rng, bends)
        loss = nats.sum() / (len(some) * options.block / 2)
    else:
        loss = answer_losses(body, some, bends).sum() / sum(len(row.body) for row in some)
    if kept and options.kept:
        beside = [kept[int(i)] for i in torch.randint(len(kept), (options.kept,), generator=rng)]
        loss = loss + options.keep * divergence(body, beside, bends)
    return loss


def divergence(body: Body, rows: Sequence[Row], bends: Bends) -> Tensor:
    """Mean Kullback-Leibler divergence a token, in nats, of what is believed about rows' bodies with these
    deltas from what the model believes without them.
    """
    total = torch.zeros(())
    for _, batch in batches(rows):
        with torch.no_grad():
            before = body.logits(hidden_before(body, batch)).float().log_softmax(-1)
        now = body.logits(hidden_before(body, batch, bends)).float().log_softmax(-1)
        total = total + F.kl_div(now, before, reduction="sum", log_target=True)
    return total / sum(len(row.body) for row in rows)


@torch.no_grad()
def judged(body: Body, rows: Sequence[Row], bends: Bends) -> float:
    """Mean nats a token."""
    with mixed(body.norm.device):
        parts = [answer_losses(body, rows[i : i + 32], bends).sum() for i in range(0, len(rows), 32)]
    return float(torch.stack(parts).sum()) / sum(len(row.body) for row in rows)


def snapshot(bends: Bends) -> Bends:
    """A copy that nothing changes any more."""
    fixed = lambda one: one.detach().clone()  # noqa: E731
    return Bends(
        {place: (fixed(a), fixed(b)) for place, (a, b) in bends.low_rank.items()},
        {place: fixed(one) for place, one in bends.full.items()},
        {i: (fixed(down), fixed(up)) for i, (down, up) in bends.branches.items()},
        bends.scale,
    )
