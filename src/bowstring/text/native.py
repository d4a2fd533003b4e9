"""Text from a packed network without torch in its loop: one token at a time, or the default blocks.

The draws are those of sampling.py: the same numbers, the same law, a token at a time in reading order.
Everything else (other orders, several tokens an evaluation, infilling) goes through sampling.py. One text at
a time; texts that are asked for together are written one after the other, each as it would be alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..decode.decoder import Decoder
from ..decode.generate import PREFILL, choose, prefill, uniform
from ..decode.generate import Sampling as Choosing
from .sampling import NEVER, Sampling
from .tokenizer import EOS, MASK, PAD, SPECIAL_TOKENS

BARRED = np.array([*NEVER, PAD])


@dataclass(frozen=True)
class Written:
    """A token at a place of the canvas; its probability and the entropy of the belief in nats, both before
    temperature; evaluations so far.
    """

    place: int
    token: int
    probability: float
    entropy: float
    nfe: int


class Reader:
    """What a text has read: a cache, its tokens, and the belief about what comes next.

    When the context is full, the head (the prompt) and the last half of the rest are read anew.
    """

    def __init__(self, decoder: Decoder, known: Sequence[int], context: int) -> None:
        self.decoder, self.context, self.head = decoder, context, len(known)
        self.tokens, self.cache, self.nfe = list(known), decoder.cache(), 0
        self.next = self._read(self.tokens)

    def _read(self, tokens: Sequence[int]) -> np.ndarray:
        hidden = prefill(self.decoder, tokens, self.cache)
        self.nfe += -(-len(tokens) // PREFILL)
        return self.decoder.logits(hidden)[0]

    def append(self, tokens: Sequence[int]) -> None:
        """Reads more tokens."""
        full = len(self.tokens) + 2 * len(tokens) > self.context
        self.tokens += tokens
        if full:
            self.tokens = (
                self.tokens[: self.head] + self.tokens[self.head :][-(self.context - self.head) // 2 :]
            )
            self.cache.truncate(0)
        self.next = self._read(self.tokens if full else tokens)

    def noisy(self, block: Sequence[int]) -> np.ndarray:
        """Logits `(l, v)` of a block that sees what was read and all of itself; the cache stays."""
        size = len(block)
        hidden = self.decoder.forward(np.array(block), self.cache, np.ones((size, size), bool))
        self.cache.truncate(self.cache.length - size)
        self.nfe += 1
        return self.decoder.logits(hidden)


def writes(how: Sampling) -> bool:
    """Whether these options are written here: a token an evaluation, in reading order."""
    size = min(how.block, how.max_tokens)
    by_one = how.order == "leftmost" and how.steps >= size and how.max_tokens % size == 0
    return how.mode == "ar" or by_one


def write(
    decoder: Decoder, known: Sequence[int], how: Sampling, context: int, number: int
) -> Iterator[Written]:
    """Tokens one after the other until the text ends; `number` is the sample's."""
    reader = Reader(decoder, known, context)
    size = 1 if how.mode == "ar" else min(how.block, how.max_tokens)
    seen = [token for token in known if token >= len(SPECIAL_TOKENS)]
    choosing = Choosing(how.temperature, how.top_k, how.top_p, 1.0, how.seed)
    for first in range(0, how.max_tokens, size):
        block = [MASK] * min(size, how.max_tokens - first)
        for i in range(len(block)):
            # while nothing of a block is there, reading order knows its first token, and for free
            logits = np.array(reader.next if i == 0 else reader.noisy(block)[i])
            steer(logits, seen, how, first + i)
            step = first // size * size + i
            token, probability, entropy = drawn(logits, choosing, uniform(how.seed, number, step, i))
            block[i] = token
            yield Written(first + i, token, probability, entropy, reader.nfe)
            if token == EOS:
                return
            seen.append(token)
        if first + size < how.max_tokens:
            reader.append(block)


def steer(logits: np.ndarray, seen: Sequence[int], how: Sampling, place: int) -> None:
    """Bars what may not stand at a place, and makes less likely what stands already."""
    if how.repetition_penalty != 1 and seen:
        ids = np.unique(seen)
        logits[ids] = np.where(
            logits[ids] > 0, logits[ids] / how.repetition_penalty, logits[ids] * how.repetition_penalty
        )
    logits[BARRED] = -np.inf
    if place < how.min_tokens:
        logits[EOS] = -np.inf


def drawn(logits: np.ndarray, how: Choosing, u: float) -> tuple[int, float, float]:
    """A token, its probability, and the entropy of the whole belief, nats."""
    token, probability = choose(logits, (), how, u)
    inside = logits[np.isfinite(logits)]
    inside = inside - inside.max()
    weights = np.exp(inside)
    total = float(weights.sum())
    return token, probability, float(np.log(total) - (weights * inside).sum() / total)
