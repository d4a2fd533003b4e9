"""Is the fast way of writing lossless, and what do lossy ways lose?

Lossless: a token drawn by the law of one token at a time surprises by the entropy of its belief on average;
the sum of differences over its deviation is normal. Beside it a control that keeps its drafts unjudged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..decode.decoder import Decoder
from ..engine import ArrowEngine
from ..nn.network import UnifiedScoreNetwork
from ..text.native import BARRED, Text, Window, Writing, evaluated, written
from ..text.sampling import BlockDiffusion, Sampling
from ..text.tokenizer import EOS
from .likelihood import HeldText, Score, bits_per_byte, bits_ratio, nats_of, sampler_nll
from .results import Measured, announce

CONTEXTS, LENGTH = 200, 104  # texts, and tokens of each: at least 20,000 in all
SUBJECTS = "fox cat ring storm boat king bear door wolf tree".split()
SHAPES = ("a story about a {}", "a story about a brave {}", "a tale of a {}", "the lost {}")
BLOCKS, TOKENS = (4, 8, 16), (1, 2, 4)


class Fixed(Window):
    """So many places are drafted, always."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places

    def size(self) -> int:
        return self.places


def unjudged(text: Text) -> Writing[None]:
    """Two tokens an evaluation that nothing judges: the causal draw, and the draft behind it."""
    pending = text.put(text.draw(text.reader.next, text.count, text.count))
    yield pending
    while not text.full:
        rows = yield from text.reader.drafts(pending.token, 2)
        for row in (rows[0], rows[2]):
            if text.full:
                return
            pending = text.put(text.draw(row, text.count, text.count))
            yield pending
        yield from text.reader.judge([text.seen[-2]])  # it is read, whatever is thought of it
        text.reader.keep(1, [text.seen[-2]])


@dataclass(frozen=True)
class Surprise:
    """Over tokens: -log p less the entropy of the belief, and its variance, both summed. count: of tokens."""

    excess: float
    variance: float
    count: int

    @property
    def p(self) -> float:
        """Probability of so large a difference, by the normal law."""
        return math.erfc(abs(self.excess) / math.sqrt(2 * self.variance))


def surprise(decoder: Decoder, known: Sequence[int], tokens: Sequence[int]) -> Surprise:
    """Of tokens behind a prompt, under the law of one token at a time at temperature 1."""
    whole = np.array([*known, *tokens[:-1]])
    logits = decoder.logits(decoder.forward(whole, decoder.cache())[len(known) - 1 :]).astype(np.float64)
    logits[:, [*BARRED, EOS]] = -np.inf
    logits -= logits.max(1, keepdims=True)
    p = np.exp(logits)
    p /= p.sum(1, keepdims=True)
    nats = -np.log(np.maximum(p, 1e-300))
    entropy = (p * nats).sum(1)
    variance = (p * nats**2).sum(1) - entropy**2
    drawn = nats[np.arange(len(tokens)), tokens]
    return Surprise(float((drawn - entropy).sum()), float(variance.sum()), len(tokens))


def prompts(count: int) -> list[str]:
    return [SHAPES[i % len(SHAPES)].format(SUBJECTS[i // len(SHAPES) % len(SUBJECTS)]) for i in range(count)]


def law(engine: ArrowEngine, contexts: int = CONTEXTS, length: int = LENGTH) -> dict[str, Measured]:
    """p values of the drafted way and of the control; each text has a prompt and a number of its own."""
    pipeline = engine.text_pipeline
    decoder = pipeline.decoder
    assert decoder is not None, "a packed model"
    how = Sampling("auto", max_tokens=length, min_tokens=length, temperature=1.0, top_p=1.0, seed=5)
    found: dict[str, list[Surprise]] = {"law_p": [], "law_p_control": []}
    for number, prompt in enumerate(prompts(contexts)):
        known = pipeline.prompt(prompt, "text")
        control = control_of(known, how, pipeline.context, number)
        ways = {"law_p": written(known, how, pipeline.context, number, Fixed(8)), "law_p_control": control}
        for name, way in ways.items():
            tokens = [one.token for one in evaluated(decoder, way)]
            found[name].append(surprise(decoder, known, tokens))
    return {name: Measured(total(parts).p, n=total(parts).count) for name, parts in found.items()}


def control_of(known: Sequence[int], how: Sampling, context: int, number: int) -> Writing[None]:
    text = Text(known, how, context, number)
    yield from text.reader.read(len(known))
    yield from unjudged(text)


def total(parts: Sequence[Surprise]) -> Surprise:
    return Surprise(sum(p.excess for p in parts), sum(p.variance for p in parts), sum(p.count for p in parts))


class Masked(BlockDiffusion):
    """The masked path alone: reading order does not help with the first place of a block."""

    def score(self, carry: dict[str, Any], noisy: Tensor) -> Tensor:
        return self.masked_scores(carry, noisy)


def score_masked(network: UnifiedScoreNetwork, how: Sampling, context: int) -> Score:
    return lambda batch: sampler_nll(network, batch, how, 2 * context, Masked)


def curve(engine: ArrowEngine, held: Sequence[HeldText]) -> tuple[dict[str, Any], dict[str, Measured]]:
    """Exact bits per byte by source at so many tokens an evaluation and places a block; and what blocks of 16
    keep at 4 evaluations of 16, which is as many as there are places, however many are asked for.
    """
    out: dict[str, Any] = {}
    nats: dict[tuple[int, int], np.ndarray] = {}
    for block in BLOCKS:
        for count in TOKENS:
            announce(f"blocks of {block}, {count} tokens an evaluation, masked places alone")
            order = "leftmost" if count == 1 else "confidence"
            how = Sampling(block=block, steps=block // count, order=order)
            nats[block, count] = nats_of(score_masked(engine.network, how, engine.metadata.context), held)
            out.setdefault(f"block_{block}", {})[f"tokens_{count}"] = bits_per_byte(held, nats[block, count])
    return out, bits_ratio(held, nats[16, 1], nats[16, 4])
