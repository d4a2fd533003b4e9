"""The two losses of text: next token on the clean stream, masked tokens on the noisy one.

Shapes: b rows, l positions. Rows come from `pack`; nothing here knows of optimisers or files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...nn.network import UnifiedScoreNetwork
from ...text.tokenizer import MASK
from .packing import Rows

MAX_TOKEN_WEIGHT = (
    4.0  # a block with one masked token would weigh its whole size; training clips, evaluation does not
)


def on(device: torch.device, *parts: np.ndarray) -> Iterator[Tensor]:
    """Arrays as tensors on a device."""
    return (torch.from_numpy(part).to(device) for part in parts)


@dataclass(frozen=True)
class Noise:
    """Which positions are masked, what each masked token weighs, and its block's number, `(b, l)` each."""

    masked: Tensor
    weight: Tensor
    group: Tensor

    def to(self, device: torch.device) -> Noise:
        return Noise(self.masked.to(device), self.weight.to(device), self.group.to(device))


def blocks_of(rows: Rows, size: int) -> Tensor:
    """Block number of every position: 0 in prompts; a document with a gap is one block from the gap on."""
    offset, gap = torch.from_numpy(rows.offset), torch.from_numpy(rows.gap).long()
    doc = torch.from_numpy(rows.doc)
    block = torch.where(offset < 0, 0, offset // size + 1)
    for number in range(1, int(doc.max()) + 1):
        here = doc == number
        started = (gap * here).cumsum(1).clamp(max=1)
        has_gap = started.amax(1, keepdim=True).bool() & here
        block = torch.where(has_gap, started, block)
    return block


def draw_noise(
    rows: Rows,
    block: Tensor,
    rng: torch.Generator,
    leftmost: float = 0.25,
    heaviest: float = MAX_TOKEN_WEIGHT,
) -> Noise:
    """Masks k of a block's n tokens, k uniform in 1..n, weight n / k; some blocks as a left-to-right order
    would.

    The weight makes the loss the any-order bound of a block (Hoogeboom et al. 2022, arXiv 2110.02037).
    """
    doc, offset = torch.from_numpy(rows.doc), torch.from_numpy(rows.offset)
    gap = torch.from_numpy(rows.gap).bool()
    b, length = doc.shape
    has_gap = torch.zeros_like(gap)
    for number in range(1, int(doc.max()) + 1):
        here = doc == number
        has_gap |= here & (gap & here).any(1, keepdim=True)
    can = torch.where(has_gap, gap, offset >= 0)
    group = (doc * (length + 1) + block) * can  # one id per block; 0 cannot be masked
    ids = group + torch.arange(b)[:, None] * (length + 1) ** 2
    _, index = torch.unique(ids, return_inverse=True)
    groups = int(index.max()) + 1
    size = torch.zeros(groups).index_add_(0, index.flatten(), can.flatten().float())
    strata = (
        torch.rand(1, generator=rng) + torch.randperm(groups, generator=rng) / groups
    ) % 1  # low discrepancy
    count = (strata * size).floor() + 1
    key = torch.rand(b, length, generator=rng)
    ordered = torch.arange(length, 0, -1)[None] / (length + 1.0)
    in_order = torch.rand(groups, generator=rng)[index] < leftmost
    key = torch.where(in_order, 1 - ordered, key)  # the rightmost are masked first
    rank = rank_within(index, key)
    masked = can & (rank < count[index])
    return Noise(masked, (size / count).clamp(max=heaviest)[index], index)


def rank_within(index: Tensor, key: Tensor) -> Tensor:
    """0 for the largest key of each group, 1 for the next, ..."""
    flat_index, flat_key = index.flatten(), key.flatten()
    order = torch.argsort(flat_key, descending=True)
    order = order[torch.argsort(flat_index[order], stable=True)]
    starts = torch.searchsorted(flat_index[order], flat_index[order])
    rank = torch.empty_like(flat_index)
    rank[order] = torch.arange(len(order), device=order.device) - starts
    return rank.view_as(index)


def next_token(network: UnifiedScoreNetwork, rows: Rows, hidden: Tensor) -> Tensor:
    """Mean negative log-likelihood of the predicted tokens, nats, from the clean stream's hidden states."""
    tokens, predict = on(hidden.device, rows.tokens, rows.predict)
    chosen = predict[:, 1:]
    return F.cross_entropy(network.heads["text"](hidden[:, :-1][chosen]).float(), tokens[:, 1:][chosen])


def ar_loss(network: UnifiedScoreNetwork, rows: Rows) -> Tensor:
    tokens, doc = on(network.device, rows.tokens, rows.doc)
    return next_token(network, rows, network.plain(tokens, doc))


def masked_tokens(rows: Rows, noise: Noise) -> Tensor:
    """The tokens with masks where the noise is, `(b, l)`."""
    (tokens,) = on(noise.masked.device, rows.tokens)
    return torch.where(noise.masked, MASK, tokens)


def paired_hidden(
    network: UnifiedScoreNetwork, rows: Rows, block: Tensor, noisy: Tensor, step_size: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Hidden states of the noisy and of the clean stream, `(b, l, d)` each, from one pass."""
    tokens, doc = on(network.device, rows.tokens, rows.doc)
    return network.pair(noisy, tokens, doc, block.to(network.device), step_size)


def joint_loss(
    network: UnifiedScoreNetwork, rows: Rows, size: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(next-token loss, any-order bound per token) from one pass over [noisy ; clean], nats."""
    (clean,), block = on(network.device, rows.tokens), blocks_of(rows, size)
    noise = draw_noise(rows, block, rng).to(network.device)
    noisy_hidden, clean_hidden = paired_hidden(network, rows, block, masked_tokens(rows, noise))
    logits = network.heads["text"](noisy_hidden[noise.masked]).float()
    weight = noise.weight[noise.masked]
    nll = F.cross_entropy(logits, clean[noise.masked], reduction="none")
    return next_token(network, rows, clean_hidden), (weight * nll).sum() / weight.sum()


def recall_loss(
    network: UnifiedScoreNetwork, teacher: UnifiedScoreNetwork, rows: Rows, size: int, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """How far a network has gone from what `teacher` foretells, where `joint_loss` looks: Kullback-Leibler
    divergences in nats per token of the next token and of the masked ones. A whole distribution says more of
    what must not be forgotten than the token that happened to come (Li and Hoiem 2016, arXiv 1606.09282).
    """
    block = blocks_of(rows, size)
    noise = draw_noise(rows, block, rng).to(network.device)
    seen, (predict,) = masked_tokens(rows, noise), on(network.device, rows.predict)
    chosen = predict[:, 1:]

    def foretold(one: UnifiedScoreNetwork) -> tuple[Tensor, Tensor]:
        noisy, clean = paired_hidden(one, rows, block, seen)
        kept = noisy[noise.masked], clean[:, :-1][chosen]
        return tuple(one.heads["text"](hidden).float().log_softmax(-1) for hidden in kept)

    with torch.no_grad():
        wanted = foretold(teacher)
    masked, following = (
        F.kl_div(own, true, reduction="none", log_target=True).sum(-1)
        for own, true in zip(foretold(network), wanted, strict=True)
    )
    weight = noise.weight[noise.masked]
    return following.mean(), (weight * masked).sum() / weight.sum()
