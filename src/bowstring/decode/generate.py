"""Tokens from a decoder: one by one, or a block at a time by diffusion over the same cache.

Each token is drawn at one number in [0, 1) that depends on (seed, sample, place of the token) alone, the
randomness of core/rng.py. This module knows no text.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .. import _native
from .config import Blocks, DecoderConfig
from .decoder import Decoder, KVCache

PREFILL = 256  # tokens of a prompt read in one call
STREAM, CHANCE = 0, 1  # of random numbers: for tokens, and for whether a place is revealed
LOWEST = -1e4  # a logit that counts for nothing and can be multiplied by 0


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. temperature 0 takes the likeliest; top_k 0 and top_p 1 cut nothing."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Drawn:
    """A token with its probability before temperature and cuts, after `forwards` evaluations in all, and the
    entropy of the belief in nats, NaN where it was not taken.
    """

    token: int
    probability: float
    forwards: int
    entropy: float = math.nan


@lru_cache(maxsize=256)
def uniform(seed: int, sample: int, step: int, place: int = 0, stream: int = STREAM) -> float:
    """One number in [0, 1), as `Rng.of(seed, ...)` gives it: Philox4x32-10 (Salmon et al. 2011)."""
    mask = 0xFFFFFFFF
    a, b, c, d = place // 4, stream, step & mask, sample & mask
    k0, k1 = seed & mask, seed >> 32 & mask
    for _ in range(10):
        p0, p1 = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = p1 >> 32 ^ b ^ k0, p1 & mask, p0 >> 32 ^ d ^ k1, p0 & mask
        k0, k1 = k0 + 0x9E3779B9 & mask, k1 + 0xBB67AE85 & mask
    return ((a, b, c, d)[place % 4] >> 8) / 16_777_216


def entropy(logits: np.ndarray) -> float:
    """Of the belief that logits `(v,)` stand for, nats; -inf bars a token.

    >>> round(entropy(np.zeros(8)) / math.log(2), 9)
    3.0
    """
    inside = logits - logits.max()
    weights = np.exp(inside)
    total = float(weights.sum(dtype=np.float64))
    return math.log(total) - float(np.dot(weights, np.maximum(inside, LOWEST))) / total


Draw = tuple[int, float, float]
"""A token, its probability and the entropy of the belief in nats, both before temperature and cuts."""
NOTHING = np.zeros(0, np.uint32)


def draw(
    logits: np.ndarray, before: Sequence[int], how: Sampling, u: float, barred: np.ndarray = NOTHING
) -> Draw:
    """The token that `u` draws from logits `(v,)`; those of `before` are made less likely, as `how` says, and
    those of `barred` `(b,)` are out.
    """
    if (library := _native.library()) is None:
        return draw_reference(logits, before, how, u, barred)
    logits, barred = np.ascontiguousarray(logits, np.float32), np.ascontiguousarray(barred, np.uint32)
    seen = np.ascontiguousarray(before if how.repetition_penalty != 1 else NOTHING, np.uint32)
    choice = _native.Choice(how.temperature, how.top_p, how.repetition_penalty, how.top_k)
    found = _native.Draw()
    arrays = (part for array in (logits, seen, barred) for part in (array.ctypes.data, array.size))
    _native.checked(library.bowstring_sample(*arrays, ctypes.byref(choice), u, ctypes.byref(found)))
    return found.token, found.probability, found.entropy


def draw_reference(
    logits: np.ndarray, before: Sequence[int], how: Sampling, u: float, barred: np.ndarray = NOTHING
) -> Draw:
    """`draw` in numpy, by a sort."""
    seen = np.unique(np.asarray(before, np.int64))
    seen = seen[seen < len(logits)]
    logits = logits.astype(np.float32)
    penalty = np.float32(how.repetition_penalty)
    logits[seen] = np.where(logits[seen] > 0, logits[seen] / penalty, logits[seen] * penalty)
    logits[barred[barred < len(logits)]] = -np.inf
    plain = np.exp(logits.astype(np.float64) - logits.max())
    plain /= plain.sum()
    token = int(logits.argmax()) if how.temperature == 0 else drawn_by_sort(logits, how, u)
    return token, float(plain[token]), entropy(logits)


def drawn_by_sort(logits: np.ndarray, how: Sampling, u: float) -> int:
    """The token at which the kept weights, in the order of ids, pass `u` of their sum."""
    order = np.argsort(-logits, kind="stable")
    kept = order[: how.top_k] if how.top_k else order
    weights = np.exp((logits[kept].astype(np.float64) - logits.max()) / how.temperature)
    enough = int(np.searchsorted(weights.cumsum(), how.top_p * weights.sum() - 1e-12)) + 1
    least = logits[kept[:enough][-1]]
    allowed = np.flatnonzero(logits >= least)
    weights = np.exp((logits[allowed].astype(np.float64) - logits.max()) / how.temperature)
    place = int(np.searchsorted(weights.cumsum(), u * weights.sum(), side="right"))
    return int(allowed[min(place, len(allowed) - 1)])


def choose(logits: np.ndarray, before: Sequence[int], how: Sampling, u: float) -> tuple[int, float]:
    """The token that `draw` gives, and its probability."""
    return draw(logits, before, how, u)[:2]


def prefill(decoder: Decoder, tokens: Sequence[int], cache: KVCache) -> np.ndarray:
    """Reads tokens causally, a few hundred a call; the hidden state of the last one `(1, d)`."""
    hidden = np.zeros((1, decoder.config.width), np.float32)
    for i in range(0, len(tokens), PREFILL):
        hidden = decoder.forward(np.asarray(tokens[i : i + PREFILL]), cache)
    return hidden[-1:]


def one_by_one(
    decoder: Decoder, prompt: Sequence[int], cache: KVCache, how: Sampling, sample: int = 0
) -> Iterator[Drawn]:
    """Tokens behind a prompt whose first `cache.length` tokens were read before; it ends with a stop token,
    which is given, too, or with the context.
    """
    forwards, before = decoder.forwards, list(prompt)
    hidden = prefill(decoder, prompt[cache.length :], cache)
    while True:
        u = uniform(how.seed, sample, len(before) - len(prompt))
        logits = decoder.logits(hidden)[0]
        token, probability, unsure = draw(logits, before, how, u)
        before.append(token)
        yield Drawn(token, probability, decoder.forwards - forwards, unsure)
        if token in decoder.config.stops or cache.length == decoder.config.context:
            return
        hidden = decoder.forward(np.array([token]), cache)


@dataclass(frozen=True)
class Block:
    """One moment of a block: its tokens, masks included, and whether it is done."""

    tokens: tuple[int, ...]
    confidence: tuple[float, ...]
    done: bool
    forwards: int


def block_mask(start: int, rows: int, size: int) -> np.ndarray:
    """Who looks at whom, `(rows, rows)`: a row at its own block and those before; blocks are counted from
    place 0.
    """
    block = (start + np.arange(rows)) // size
    return block[:, None] >= block[None]


Rule = Callable[[Mapping[int, tuple[int, float]], int], list[int]]
"""Which of the drawn places (their tokens and probabilities) stay after so many evaluations of a block."""


def by_confidence(blocks: Blocks, steps: int | None) -> Rule:
    """All from the model's threshold on and the surest one, or as many of the surest as finish a block in so
    many steps.
    """

    def rule(drawn: Mapping[int, tuple[int, float]], step: int) -> list[int]:
        count = None if steps is None else -(-len(drawn) // max(steps - step, 1))
        return reveal(drawn, blocks.threshold, count)

    return rule


def by_chance(steps: int, seed: int, sample: int) -> Rule:
    """Every place on its own with the probability that keep(t) = 1 - t gives it between two of so many times:
    ancestral sampling (Sahoo et al. 2024, arXiv 2406.07524).
    """

    def rule(drawn: Mapping[int, tuple[int, float]], step: int) -> list[int]:
        share = 1 / max(steps - step, 1)
        return [i for i in drawn if uniform(seed, sample, step, i, CHANCE) < share]

    return rule


def read_with(
    config: DecoderConfig, tokens: Sequence[int], start: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """A text in parts that one call reads, each with who looks at whom: causal (None), blocks or all."""
    size = len(tokens) if config.canvas is not None else 1 if config.blocks is None else config.blocks.size
    step = max(PREFILL // size, 1) * size
    for i in range(start, len(tokens), step):
        part = np.asarray(tokens[i : i + step])
        yield part, None if size == 1 else block_mask(i, len(part), size)


def in_blocks(
    decoder: Decoder,
    prompt: Sequence[int],
    cache: KVCache,
    how: Sampling,
    steps: int | None = None,
    sample: int = 0,
    guesses: int = 0,
    rule: Rule | None = None,
) -> Iterator[Block]:
    """Blocks behind a prompt, a moment of each after every evaluation. Whole blocks of the prompt are read;
    what is left of it stands unmasked at the head of the first block. The clean pass that puts a finished
    block into the cache is the next block's first evaluation.

    Args:
        steps: evaluations a block. Without them tokens stay from the model's threshold of confidence on, at
            least one an evaluation. rule: another one.
        guesses: states of the block, beyond the one that is reached, that are evaluated in the same pass. A
            guess that is reached saves its evaluation, one that is not changes nothing: the text is the same.

    Raises:
        ValueError: the model does not write in blocks.
    """
    blocks = decoder.config.blocks
    if blocks is None:
        raise ValueError(f"a {decoder.config.family} model does not write in blocks; use mode 'ar'")
    rule = by_confidence(blocks, steps) if rule is None else rule
    size, forwards, written = blocks.size, decoder.forwards, 0
    whole = len(prompt) // size * size
    last = read_blocks(decoder, prompt[:whole], cache, size)
    head = list(prompt[whole:])
    pending: list[int] = []  # a finished block that the cache does not hold yet
    while (free := decoder.config.context - cache.length - len(pending)) >= size:
        state = Canvas(tuple(head + [blocks.mask] * (size - len(head))), (1.0,) * len(head), 0)
        ahead: list[Canvas] = []
        while state.masked(blocks.mask):
            unfinished = [one for one in ahead if one.masked(blocks.mask)]
            guessed = [state, *unfinished[: min(guesses, free // size - 1)]]
            rows = [one.tokens for one in guessed]
            beliefs, last = evaluate_all(decoder, blocks, pending, rows, cache, last)
            pending = []
            for one, belief in zip(guessed, beliefs, strict=True):
                if (one.tokens, one.step) != (state.tokens, state.step):
                    break
                places = [i for i, token in enumerate(state.tokens) if token == blocks.mask]
                numbers = [uniform(how.seed, sample, written + i) for i in places]
                pairs = zip(places, numbers, strict=True)
                drawn = {i: choose(belief[i], (), how, u) for i, u in pairs}
                state, *ahead = followed(state, drawn, rule, guesses + 1)
            done = not state.masked(blocks.mask)
            yield Block(state.tokens, state.filled, done, decoder.forwards - forwards)
        written += size
        if any(token in decoder.config.stops for token in state.tokens[len(head) :]):
            return
        pending, head = list(state.tokens), []


@dataclass(frozen=True)
class Canvas:
    """A block between evaluations: tokens, confidence of those that stand (0 or nothing of others), steps."""

    tokens: tuple[int, ...]
    confidence: tuple[float, ...]
    step: int

    def masked(self, mask: int) -> bool:
        return mask in self.tokens

    @property
    def filled(self) -> tuple[float, ...]:
        return self.confidence + (0.0,) * (len(self.tokens) - len(self.confidence))

    def with_tokens(self, drawn: Mapping[int, tuple[int, float]], kept: Sequence[int], step: int) -> Canvas:
        tokens, confidence = list(self.tokens), list(self.filled)
        for i in kept:
            tokens[i], confidence[i] = drawn[i]
        return Canvas(tuple(tokens), tuple(confidence), step)


def followed(state: Canvas, drawn: Mapping[int, tuple[int, float]], rule: Rule, count: int) -> list[Canvas]:
    """The state behind an evaluation, and those that would follow if beliefs did not change any more."""
    found: list[Canvas] = []
    while len(found) < count and drawn:
        step, kept = state.step, list[int]()
        while not kept:  # where nothing stays, nothing changes, and the belief stands
            kept = rule(drawn, step)
            step += 1
        state = state.with_tokens(drawn, kept, step)
        drawn = {i: one for i, one in drawn.items() if i not in kept}
        found.append(state)
    return found


def read_blocks(decoder: Decoder, tokens: Sequence[int], cache: KVCache, size: int) -> np.ndarray | None:
    """Reads whole blocks; the logits behind the last token, if there is one."""
    hidden = None
    for part, mask in read_with(decoder.config, tokens, cache.length):
        hidden = decoder.forward(part, cache, mask)
    return None if hidden is None else decoder.logits(hidden[-1:])[0]


def evaluate(
    decoder: Decoder,
    blocks: Blocks,
    pending: Sequence[int],
    canvas: Sequence[int],
    cache: KVCache,
    last: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits `(size, v)` of a canvas; a finished block before it goes into the cache in the same pass. `last`
    are the logits behind what the cache holds, which a shifted model's first place takes.
    """
    (logits,), last = evaluate_all(decoder, blocks, pending, [canvas], cache, last)
    return logits, last


def evaluate_all(
    decoder: Decoder,
    blocks: Blocks,
    pending: Sequence[int],
    canvases: Sequence[Sequence[int]],
    cache: KVCache,
    last: np.ndarray | None,
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """`evaluate` of several canvases in one place, none of which sees another."""
    start, before, size = cache.length, len(pending), blocks.size
    rows = [*pending, *(token for canvas in canvases for token in canvas)]
    copy = np.concatenate([np.full(before, -1), np.repeat(np.arange(len(canvases)), size)])
    places = start + np.concatenate([np.arange(before), *[before + np.arange(size)] * len(canvases)])
    block = places // size
    mask = (block[:, None] >= block[None]) & ((copy[:, None] == copy[None]) | (copy[None] == -1))
    hidden = decoder.forward(np.array(rows), cache, mask, places)
    cache.truncate(start + before)
    if before and blocks.shifted:
        last = decoder.logits(hidden[before - 1 : before])[0]
    found = []
    for logits in np.split(decoder.logits(hidden[before:]), len(canvases)):
        if blocks.shifted:
            first = logits[:1] if last is None else last[None]
            logits = np.concatenate([first, logits[:-1]])
        logits[:, blocks.mask] = -np.inf
        found.append(logits)
    return found, last


def reveal(drawn: Mapping[int, tuple[int, float]], threshold: float, count: int | None) -> list[int]:
    """Which drawn places stay: the `count` surest, or all from the threshold on and the surest one."""
    order = sorted(drawn, key=lambda i: -drawn[i][1])
    if count is not None:
        return order[:count]
    return [i for i in order if drawn[i][1] > threshold] or order[:1]
