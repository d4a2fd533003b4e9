"""Likelihoods of held-out texts: in reading order, bounded over all orders, and of the block sampler exactly.

All are of the same tokens: bodies cut to a multiple of 16 tokens, given their first prompt. Results in nats.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import pairwise, zip_longest

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
from ..train.data.splits import RULE
from ..train.text.losses import blocks_of, draw_noise
from ..train.text.packing import BODY_ALIGNMENT, Corpus, Layout, Rows, pack, prompt_tokens
from .ngram import probabilities
from .results import Measured

WHOLE = 1 << 20  # a block that holds any body
REAL = ("tale", "function")  # what people wrote
SOURCES = (*REAL, "story", "snippet")

Score = Callable[[list["HeldText"]], Tensor]


@dataclass(frozen=True)
class HeldText:
    """One held-out text: its tokenised prompt, the tokens that are scored, their UTF-8 bytes, and the work it
    is a piece of. source: see `key_of`.
    """

    kind: str
    source: str
    head: list[int]
    body: list[int]
    size: int
    work: str = ""


def key_of(document: Document, rule: int) -> str:
    """The name a document's numbers go under: what of a grammar's text is new decides.

    "story" and "snippet" have held-out templates where the model's training had a rule for them, "_filler"
    held-out words in known templates, "_known" only a new combination. Under the first rule nothing was held
    out but the whole text, so all of a grammar is "story" or "snippet".
    """
    if rule != RULE or document.source in REAL:
        return document.source
    return document.source + {"template": "", "filler": "_filler", "combination": "_known"}[document.novelty]


def over_works(documents: Sequence[Document]) -> list[Document]:
    """One piece of every work, then another one of every work that has more; works and pieces by hash."""
    of: dict[str, list[Document]] = {}
    for document in sorted(documents, key=lambda one: sha256(one.body.encode()).digest()):
        of.setdefault(document.work, []).append(document)
    ordered = [of[work] for work in sorted(of, key=lambda work: sha256(work.encode()).digest())]
    return [piece for turn in zip_longest(*ordered) for piece in turn if piece is not None]


def held_texts(
    documents: Sequence[Document], codec: TextTokenizer, context: int, count: int, rule: int
) -> list[HeldText]:
    """`count` texts of each source that a model of `rule` has not learned from, spread over works."""
    out, taken = [], Counter[str]()
    for document in over_works([one for one in documents if one.held_out(rule)]):
        name = key_of(document, rule)
        if taken[name] == count:
            continue
        head = prompt_tokens(codec, document.kind, document.prompts[0])
        body = codec.encode(document.body)
        if body := body[: min(len(body), context - len(head)) // BODY_ALIGNMENT * BODY_ALIGNMENT]:
            taken[name] += 1
            size = len(codec.decode(body).encode())
            out.append(HeldText(document.kind, name, head, body, size, document.work))
    return out


def text_rows(held: Sequence[HeldText]) -> Rows:
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


def sampler_nll(
    network: UnifiedScoreNetwork,
    held: Sequence[HeldText],
    how: Sampling,
    context: int,
    kind: type[BlockDiffusion] = BlockDiffusion,
) -> Tensor:
    """Exact negative log-likelihood of the block sampler at temperature 1 without top_p, nats, `(b,)`.

    The order is decided by the state and not by draws, so there is one path to each text, and the
    probabilities of what is revealed along it multiply.
    """
    model, out = kind.sampled(network, context, how), torch.zeros(len(held))
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


def nats_of(score: Score, held: Sequence[HeldText], width: int = 16) -> np.ndarray:
    """Negative log-likelihood of every text, nats, `(n,)`; batches are made of equally long ones."""
    order = sorted(range(len(held)), key=lambda i: len(held[i].head) + len(held[i].body))
    out = np.zeros(len(held))
    for i in range(0, len(order), width):
        some = order[i : i + width]
        out[some] = score([held[j] for j in some]).numpy()
    return out


def by_source(held: Sequence[HeldText], take: Callable[[np.ndarray], Measured]) -> dict[str, Measured]:
    """`take` of the places of each source's texts, and of "real": all that people wrote. A source without
    texts is None, and so is "real" without one of its sources; nothing is averaged over the rest.
    """
    source = np.array([one.source for one in held])
    places = {name: np.flatnonzero(source == name) for name in dict.fromkeys((*SOURCES, *source.tolist()))}
    out = {name: take(where) if len(where) else Measured(None, n=0) for name, where in places.items()}
    complete = all(len(places[name]) for name in REAL)
    real = np.concatenate([places[name] for name in REAL])
    return out | {"real": take(real) if complete else Measured(None, n=0)}


def bits_per_byte(held: Sequence[HeldText], nats: np.ndarray) -> dict[str, Measured]:
    """Bits per byte by source; texts of one work count as one for the standard error."""
    size, works = np.array([one.size for one in held]), np.array([one.work for one in held])
    return by_source(held, lambda i: Measured.ratio(nats[i] / math.log(2), size[i], works[i]))


def perplexity_gap(held: Sequence[HeldText], nats: np.ndarray, rival: np.ndarray) -> dict[str, Measured]:
    """Perplexity per token over that of a rival, less one, by source; paired over texts."""
    count, works = np.array([len(one.body) for one in held]), np.array([one.work for one in held])
    return by_source(
        held,
        lambda i: Measured.ratio(nats[i] - rival[i], count[i], works[i]).mapped(math.expm1, math.exp),
    )


def bits_ratio(held: Sequence[HeldText], nats: np.ndarray, other: np.ndarray) -> dict[str, Measured]:
    """Bits per byte over those of another model, by source; paired over texts."""
    works = np.array([one.work for one in held])
    return by_source(held, lambda i: Measured.ratio(nats[i], other[i], works[i]))


def ngram_nats(
    train: Sequence[Document], held: Sequence[HeldText], codec: TextTokenizer
) -> dict[str, np.ndarray]:
    """Negative log-likelihood of every text under unigram, bigram and 5-gram models of the training
    documents, nats, `(n,)`.
    """
    corpus = Corpus.of(train, codec)
    learned = np.concatenate(
        [[*head[0], *body] for head, body in zip(corpus.prompts, corpus.bodies, strict=True)]
    )
    test = np.concatenate([[*one.head, *one.body] for one in held])
    text = np.repeat(np.arange(len(held)), [len(one.head) + len(one.body) for one in held])
    scored = np.concatenate([[0.0] * len(one.head) + [1.0] * len(one.body) for one in held])
    out = {}
    for name, order in (("unigram", 1), ("bigram", 2), ("fivegram", 5)):
        p = probabilities(learned.astype(np.int64), test.astype(np.int64), order, codec.vocab)
        out[name] = np.bincount(text, -np.log(p) * scored)
    return out


def score_causal(network: UnifiedScoreNetwork) -> Score:
    return lambda batch: causal_nll(network, text_rows(batch))


def score_bound(network: UnifiedScoreNetwork, size: int, draws: int) -> Score:
    return lambda batch: nelbo(network, text_rows(batch), size, draws)


def score_sampler(network: UnifiedScoreNetwork, how: Sampling, context: int) -> Score:
    return lambda batch: sampler_nll(network, batch, how, 2 * context)
