"""Text from a packed network without torch in its loop: one token at a time, or the default blocks.

The draws are those of sampling.py: the same numbers, the same law, a token at a time in reading order.
Everything else (other orders, several tokens an evaluation, infilling) goes through sampling.py. One text at
a time; texts that are asked for together are written one after the other, each as it would be alone.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TypeAlias, TypeVar

import numpy as np

from ..decode.decoder import Decoder
from ..decode.generate import PREFILL, Draw, draw, uniform
from ..decode.generate import Sampling as Choosing
from ..grammar.constrained import one_by_one
from ..grammar.tokens import TokenAutomaton
from .options import NEVER, Sampling
from .tokenizer import EOS, MASK, PAD, SPECIAL_TOKENS

BARRED = np.array([*NEVER, PAD], np.uint32)
BARRED_AND_END = np.array([*BARRED, EOS], np.uint32)
T = TypeVar("T")


@dataclass(frozen=True)
class Written:
    """A token at a place of the canvas; its probability and the entropy of the belief in nats, both before
    temperature; evaluations so far. early: nats of the token under the first belief that saw something of its
    block, NaN where that is the belief it was drawn from, or none.
    """

    place: int
    token: int
    probability: float
    entropy: float
    nfe: int
    early: float = math.nan


@dataclass(frozen=True)
class Evaluation:
    """Rows that a text wants read behind the first `behind` that it has read; what stood there is forgotten.

    mask: `(r, r)`, True where a row looks at a row; None is causal. last: of how many last rows logits are
    wanted. watch: may be given the normal hidden states of all rows, `(r, d)`, by whoever evaluates.
    """

    tokens: Sequence[int]
    behind: int
    mask: np.ndarray | None = None
    last: int = 1
    watch: Callable[[np.ndarray], None] | None = None


# A way of writing asks for evaluations, is sent their logits `(last, v)`, and gives tokens in between.
Writing: TypeAlias = Generator["Evaluation | Written", np.ndarray | None, T]


class Reader:
    """What a text has read: its tokens, and the belief about what comes next.

    When the context is full, the head (the prompt) and the last half of the rest are read anew.
    """

    def __init__(self, known: Sequence[int], context: int) -> None:
        self.context, self.head, self.nfe = context, len(known), 0
        self.tokens: list[int] = list(known)
        self.next = np.zeros(0, np.float32)

    def _logits(
        self,
        tokens: Sequence[int],
        behind: int,
        mask: np.ndarray | None = None,
        last: int = 1,
        watch: Callable[[np.ndarray], None] | None = None,
    ) -> Writing[np.ndarray]:
        self.nfe += 1
        logits = yield Evaluation(tokens, behind, mask, last, watch)
        assert logits is not None
        return logits

    def read(self, count: int, watch: Callable[[np.ndarray], None] | None = None) -> Writing[None]:
        """Reads the last `count` tokens, a few hundred at a time."""
        for i in range(len(self.tokens) - count, len(self.tokens), PREFILL):
            self.next = (yield from self._logits(self.tokens[i : i + PREFILL], i, watch=watch))[0]

    def append(self, tokens: Sequence[int]) -> Writing[None]:
        """Reads more tokens."""
        full = len(self.tokens) + 2 * len(tokens) > self.context
        self.tokens += tokens
        if full:
            rest = self.tokens[self.head :][-(self.context - self.head) // 2 :]
            self.tokens = self.tokens[: self.head] + rest
        yield from self.read(len(self.tokens) if full else len(tokens))

    def room(self) -> int:
        """Tokens that may still be read before the context slides."""
        return self.context - len(self.tokens)

    def drafts(self, token: int, size: int) -> Writing[np.ndarray]:
        """Reads one token and looks at `size` masked places behind it: logits `(1 + size, v)`, the first row
        being the causal belief behind the token.
        """
        mask = np.ones((1 + size, 1 + size), bool)
        mask[0, 1:] = False
        self.tokens.append(token)
        rows = [token] + [MASK] * size
        return (yield from self._logits(rows, len(self.tokens) - 1, mask, len(rows)))

    def judge(self, tokens: Sequence[int]) -> Writing[np.ndarray]:
        """Causal logits behind each of some tokens, `(l, v)`; `keep` says which of them stay read."""
        return (yield from self._logits(tokens, len(self.tokens), last=len(tokens)))

    def keep(self, count: int, tokens: Sequence[int]) -> None:
        self.tokens += tokens[:count]

    def noisy(self, block: Sequence[int]) -> Writing[np.ndarray]:
        """Logits `(l, v)` of a block that sees what was read and all of itself, and is not kept."""
        size = len(block)
        return (yield from self._logits(block, len(self.tokens), np.ones((size, size), bool), size))


def write(
    decoder: Decoder,
    known: Sequence[int],
    how: Sampling,
    context: int,
    number: int,
    window: Window | None = None,
    pool: Pool | None = None,
) -> Iterator[Written]:
    """Tokens one after the other until the text ends; `number` is the sample's."""
    return evaluated(decoder, written(known, how, context, number, window, pool))


def evaluated(decoder: Decoder, writing: Writing[None]) -> Iterator[Written]:
    """A way of writing whose evaluations one decoder makes."""
    cache, logits = decoder.cache(), None
    while True:
        try:
            event = writing.send(logits)
        except StopIteration:
            return
        logits = None
        if isinstance(event, Written):
            yield event
        else:
            cache.truncate(event.behind)
            hidden = decoder.forward(np.array(event.tokens), cache, event.mask)
            if event.watch is not None:
                event.watch(decoder.normal(hidden))
            logits = decoder.logits(hidden[-event.last :])


class Pool:
    """The mean hidden state of what is read, `(d,)`; None before."""

    def __init__(self) -> None:
        self.total: np.ndarray | None = None
        self.count = 0

    def add(self, hidden: np.ndarray) -> None:
        """Counts rows `(r, d)`, too."""
        total = hidden.sum(0, dtype=np.float64)
        self.total, self.count = total if self.total is None else self.total + total, self.count + len(hidden)

    @property
    def mean(self) -> np.ndarray | None:
        return None if self.total is None else self.total / self.count


def written(
    known: Sequence[int],
    how: Sampling,
    context: int,
    number: int,
    window: Window | None = None,
    pool: Pool | None = None,
) -> Writing[None]:
    """A text as what it wants evaluated and what stands, for whoever has the network; `pool` keeps the mean
    of what was read of its prompt.
    """
    text = Text(known, how, context, number)
    yield from text.reader.read(len(known), None if pool is None else pool.add)
    if how.mode == "diffusion":
        yield from in_blocks(text)
    elif how.mode == "auto":
        yield from drafted(text, Window() if window is None else window)
    else:
        yield from in_order(text)


def formed(
    decoder: Decoder, known: Sequence[int], how: Sampling, form: TokenAutomaton, room: int, number: int
) -> Iterator[Written]:
    """One token after the other, all of which together meet a form; entropies are not taken."""
    choosing = Choosing(how.temperature, how.top_k, how.top_p, how.repetition_penalty, how.seed)
    drawn = one_by_one(decoder, known, decoder.cache(), choosing, form, room, [EOS], number)
    for place, one in enumerate(drawn):
        if place < how.max_tokens:
            yield Written(place, one.token, one.probability, math.nan, one.forwards)


class Text:
    """A text that is being written: what was read, what stands, and how a place is drawn."""

    def __init__(self, known: Sequence[int], how: Sampling, context: int, number: int) -> None:
        self.reader, self.how, self.number, self.count = Reader(known, context), how, number, 0
        self.seen = [token for token in known if token >= len(SPECIAL_TOKENS)]
        self.choosing = Choosing(how.temperature, how.top_k, how.top_p, how.repetition_penalty, how.seed)

    def draw(self, logits: np.ndarray, place: int, step: int, within: int = 0) -> Draw:
        """The token at a place, its probability and the belief's entropy; the step and the place within it
        decide the randomness.
        """
        barred = BARRED_AND_END if place < self.how.min_tokens else BARRED
        u = uniform(self.how.seed, self.number, step, within)
        return draw(logits, self.seen, self.choosing, u, barred)

    def guess(self, logits: np.ndarray, place: int) -> int:
        """The token that `draw` would give, alone."""
        return self.draw(logits, place, place)[0]

    def put(self, found: Draw, early: float = math.nan) -> Written:
        """The next token stands."""
        self.seen.append(found[0])
        self.count += 1
        return Written(self.count - 1, *found, self.reader.nfe, early)

    @property
    def full(self) -> bool:
        return self.count >= self.how.max_tokens


def in_order(text: Text) -> Writing[None]:
    """One token an evaluation."""
    while True:
        one = text.put(text.draw(text.reader.next, text.count, text.count))
        yield one
        if one.token == EOS or text.full:
            return
        yield from text.reader.append([one.token])


def in_blocks(text: Text) -> Writing[None]:
    """Blocks whose places are filled from the left, one an evaluation."""
    size = min(text.how.block, text.how.max_tokens)
    while True:
        block, first = [MASK] * size, None
        for i in range(size):
            # while nothing of a block is there, reading order knows its first token, and for free
            rows = None if i == 0 else (yield from text.reader.noisy(block))
            first = rows if first is None else first
            found = text.draw(text.reader.next if rows is None else rows[i], text.count, text.count, i)
            one = text.put(found, nats(first[i], found[0]) if first is not None and i > 1 else math.nan)
            block[i] = one.token
            yield one
            if one.token == EOS:
                return
        if text.full:
            return
        yield from text.reader.append(block)


class Window:
    """How many places are drafted at once: what gives the most tokens a second, tried anew more and more
    seldom. It changes how fast a text comes and never what it says.
    """

    TRIAL = (0, 0, 0, 4, 4, 4, 8, 8, 8)  # what the first cycles of a round draft
    ROUND, LONGEST = 400, 12_800  # cycles of the first round, each next twice as long
    GAIN = 1.05  # by how much drafting must be faster than not drafting
    KEPT = 32  # the last cycles of a size that count

    def __init__(self) -> None:
        self.cycles: dict[int, deque[tuple[int, float]]] = {}
        self.at, self.round, self.best, self.last = 0, self.ROUND, 0, -1

    def size(self) -> int:
        """For the next cycle."""
        if self.at == self.round:
            self.at, self.round = 0, min(2 * self.round, self.LONGEST)
        at, self.at = self.at, self.at + 1
        return self.TRIAL[at] if at < len(self.TRIAL) else self.best

    def took(self, size: int, tokens: int, seconds: float) -> None:
        """Notes what a cycle cost, and how many tokens stand and were read since the one before. The first
        after another size is slow for many reasons and says nothing.
        """
        warm, self.last = size == self.last, size
        if not warm:
            return
        self.cycles.setdefault(size, deque(maxlen=self.KEPT)).append((tokens, seconds))
        if size or self.best:
            rates = {one: self.rate(one) for one in self.cycles}
            best = max(rates, key=lambda one: rates[one])
            self.best = best if rates[best] > self.GAIN * rates.get(0, math.inf) else 0

    def rate(self, size: int) -> float:
        """Tokens a second: the mean of what cycles gave over the median of what they took, which one slow
        cycle does not move.
        """
        if not (known := self.cycles.get(size)):
            return 0.0
        return fmean(tokens for tokens, _ in known) / max(median(seconds for _, seconds in known), 1e-9)


def drafted(text: Text, window: Window) -> Writing[None]:
    """What `in_order` writes, token for token, in fewer evaluations: masked places draft what comes next, a
    causal pass draws every place with the number that it has anyway, and drafts stay as far as they are
    those draws (common random numbers; the law is that of one token at a time, whatever was drafted).
    """
    reader = text.reader
    pending: Written | None = None  # a token that was drawn and not yet read
    while True:
        clock, before, size = time.perf_counter(), text.count - (pending is not None), window.size()
        if pending is None:
            pending = text.put(text.draw(reader.next, text.count, text.count))
            yield pending
        if pending.token == EOS or text.full:
            return
        if size < 2 or reader.room() < 2 * size + 2:
            yield from reader.append([pending.token])
            pending = None
        else:
            pending = yield from cycle(text, pending, size)
        read = text.count - (pending is not None) - before
        window.took(size, read, time.perf_counter() - clock)


def cycle(text: Text, first: Written, size: int) -> Writing[Written | None]:
    """Two evaluations: drafts behind `first`, which is not yet read, and their judgement. It returns a token
    that is drawn and not yet read, the text's last where it ends, or None where every draft stayed.
    """
    reader = text.reader
    rows = yield from reader.drafts(first.token, size)
    second = text.put(text.draw(rows[0], text.count, text.count))
    yield second
    if second.token == EOS or text.full:
        return second
    guesses = [text.guess(rows[i], text.count + i - 2) for i in range(2, size + 1)]
    judged = yield from reader.judge([second.token, *guesses])
    for i, guess in enumerate(guesses):
        one = text.put(text.draw(judged[i], text.count, text.count))
        yield one
        if one.token != guess or one.token == EOS or text.full:
            reader.keep(i + 1, [second.token, *guesses])
            return one
    reader.keep(size, [second.token, *guesses])
    reader.next = judged[-1]
    return None


def nats(logits: np.ndarray, token: int) -> float:
    """-log p of a token under logits `(v,)` of what may stand in a text."""
    logits = np.array(logits)
    logits[BARRED] = -np.inf
    most = logits.max()
    return float(np.log(np.exp(logits - most).sum()) + most - logits[token])
