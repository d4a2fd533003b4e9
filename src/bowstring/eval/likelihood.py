"""Likelihoods of held-out texts: in reading order, bounded over all orders, and of the block sampler exactly.

All are of the same tokens: bodies cut to a multiple of 16 tokens, given their first prompt. Results in nats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ..core.process import uniform
from ..core.rng import Rng
from ..core.samplers.masked import ORDERS
from ..nn.network import UnifiedScoreNetwork
from ..text.sampling import BlockDiffusion, Sampling, admissible, pad_left, reveal_places
from ..text.tokenizer import MASK, PAD, TextTokenizer
from ..train.data.corpora import Document
from ..train.text.losses import blocks_of, draw_noise
from ..train.text.packing import BODY_ALIGNMENT, Corpus, Layout, Rows, pack, prompt_tokens
from .ngram import probabilities

CANVAS = 1 << 20  # a block that holds any body

Score = Callable[[list["Held"]], Tensor]


@dataclass(frozen=True)
class Held:
    """One held-out text: its tokenised prompt, the tokens that are scored, and their UTF-8 bytes."""

    kind: str
    source: str
    head: list[int]
    body: list[int]
    size: int


def held_out(documents: Sequence[Document], codec: TextTokenizer, context: int, count: int) -> list[Held]:
    """The first `count` documents of each source that are long enough."""
    out, taken = [], Counter[str]()
    for document in documents:
        head = prompt_tokens(codec, document.kind, document.prompts[0])
        body = codec.encode(document.body)
        body = body[: min(len(body), context - len(head)) // BODY_ALIGNMENT * BODY_ALIGNMENT]
        if body and taken[document.source] < count:
            taken[document.source] += 1
            out.append(Held(document.kind, document.source, head, body, len(codec.decode(body).encode())))
    return out


def rows_of(held: Sequence[Held]) -> Rows:
    """One document per row."""
    laid = []
    for one in held:
        tokens = np.array([*one.head, *one.body], np.int64)
        offset = np.concatenate([np.full(len(one.head), -1), np.arange(len(one.body))])
        laid.append(Layout(tokens, offset, offset >= 0, np.zeros(len(tokens), np.int8)))
    length = max(len(one.tokens) for one in laid)
    parts = [pack(iter([one]), length) for one in laid]
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in asdict(parts[0])))


def causal_nll(network: UnifiedScoreNetwork, rows: Rows) -> Tensor:
    """Exact negative log-likelihood in reading order, nats, `(b,)`."""
    tokens, predict = torch.from_numpy(rows.tokens), torch.from_numpy(rows.predict)
    logits = network.heads["text"](network.plain(tokens, torch.from_numpy(rows.doc)))[:, :-1]
    nll = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    return (nll * predict[:, 1:]).sum(1)


def nelbo(network: UnifiedScoreNetwork, rows: Rows, size: int, draws: int, seed: int = 0) -> Tensor:
    """Any-order bound with blocks of `size`, nats, `(b,)`, averaged over `draws` stratified noises."""
    clean, doc = torch.from_numpy(rows.tokens), torch.from_numpy(rows.doc)
    block, total = blocks_of(rows, size), torch.zeros(len(rows))
    rng = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        noise = draw_noise(rows, block, rng, leftmost=0.0, heaviest=math.inf)
        hidden, _ = network.pair(torch.where(noise.masked, MASK, clean), clean, doc, block)
        logits = network.heads["text"](hidden[noise.masked])
        nll = torch.zeros(clean.shape)
        nll[noise.masked] = torch.nn.functional.cross_entropy(logits, clean[noise.masked], reduction="none")
        total += (nll * noise.weight).sum(1) / draws
    return total


def sampler_nll(network: UnifiedScoreNetwork, held: Sequence[Held], how: Sampling, context: int) -> Tensor:
    """Exact negative log-likelihood of the block sampler at temperature 1 without top_p, nats, `(b,)`.

    The order is decided by the state and not by draws, so there is one path to each text, and the
    probabilities of what is revealed along it multiply.
    """
    model, out = BlockDiffusion.sampled(network, context, how), torch.zeros(len(held))
    carry = model.begin(*pad_left([one.head for one in held]))
    times, order = uniform(min(how.steps, how.block)), ORDERS[how.order]
    longest = max(len(one.body) for one in held)
    truth = torch.tensor([one.body + [PAD] * (longest - len(one.body)) for one in held])
    for start in range(0, longest, how.block):
        block = truth[:, start : start + how.block]
        x = torch.full_like(block, MASK)
        for k, (t, s) in enumerate(pairwise(times)):
            rng = Rng.of(how.seed, len(held)).at(torch.full((len(held),), k))
            log_p = admissible(model.score(carry, x), x, gap=False).log_softmax(-1)
            here = reveal_places(order, log_p.exp(), x == MASK, t.expand(len(held)), s.expand(len(held)), rng)
            here = here & (block != PAD)
            out -= log_p.gather(-1, block[..., None])[..., 0].where(here, 0).sum(1)
            x = torch.where(here, block, x)
        carry = model.commit(carry, block)
    return out


def by_length(score: Score, held: Sequence[Held], width: int = 16) -> dict[tuple[str, str], float]:
    """Bits per byte and per token of each source and of all, batches made of equally long texts."""
    ordered = sorted(held, key=lambda one: len(one.head) + len(one.body))
    nats, size, tokens = Counter[str](), Counter[str](), Counter[str]()
    for i in range(0, len(ordered), width):
        batch = ordered[i : i + width]
        for one, value in zip(batch, score(batch).tolist(), strict=True):
            for name in (one.source, "all"):
                nats[name] += value
                size[name] += one.size
                tokens[name] += len(one.body)
    bits = {name: value / math.log(2) for name, value in nats.items()}
    per_byte = {(name, "byte"): value / size[name] for name, value in bits.items()}
    return per_byte | {(name, "nats a token"): value / tokens[name] for name, value in nats.items()}


def counting(train: Sequence[Document], held: Sequence[Held], codec: TextTokenizer) -> dict[str, float]:
    """Bits per byte of unigram, bigram and 5-gram models of the training documents."""
    corpus = Corpus.of(train, codec)
    known = np.concatenate(
        [[*head[0], *body] for head, body in zip(corpus.prompts, corpus.bodies, strict=True)]
    )
    out, size = {}, sum(one.size for one in held)
    test = np.concatenate([[*one.head, *one.body] for one in held])
    scored = np.concatenate([[False] * len(one.head) + [True] * len(one.body) for one in held])
    for name, order in (("unigram", 1), ("bigram", 2), ("fivegram", 5)):
        p = probabilities(known.astype(np.int64), test.astype(np.int64), order, codec.vocab)
        out[name] = float(-np.log2(p[scored]).sum() / size)
    return out


def score_causal(network: UnifiedScoreNetwork) -> Score:
    return lambda batch: causal_nll(network, rows_of(batch))


def score_bound(network: UnifiedScoreNetwork, size: int, draws: int) -> Score:
    return lambda batch: nelbo(network, rows_of(batch), size, draws)


def score_sampler(network: UnifiedScoreNetwork, how: Sampling, context: int) -> Score:
    return lambda batch: sampler_nll(network, batch, how, 2 * context)
