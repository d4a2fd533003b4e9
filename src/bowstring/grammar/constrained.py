"""Draws that meet a form: token by token, or a block at a time in any order.

Token by token, the law is the model's own, conditioned at each step on tokens after which the form can still
be met in the room left. In blocks, it is that of independent places, conditioned on the whole: backwards the
weight of every way to an end is summed, forwards a text is drawn, and any part of it may stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..decode.decoder import Decoder, KVCache
from ..decode.generate import Block, Drawn, Sampling, choose, evaluate, prefill, read_blocks, reveal, uniform
from .tokens import KEPT, TokenAutomaton


def penalised(logits: np.ndarray, before: Sequence[int], penalty: float) -> np.ndarray:
    """Logits with those of tokens that stand already made smaller."""
    if penalty == 1:
        return logits
    made = np.array(logits, np.float32)
    seen = np.unique(np.asarray(before, np.int64))
    made[seen] = np.where(made[seen] > 0, made[seen] / penalty, made[seen] * penalty)
    return made


def one_by_one(
    decoder: Decoder,
    prompt: Sequence[int],
    cache: KVCache,
    how: Sampling,
    form: TokenAutomaton,
    room: int,
    stops: Sequence[int],
    sample: int = 0,
) -> Iterator[Drawn]:
    """At most `room` tokens behind a prompt that meet a form, then a stop token where the model has one.

    A token that is the only one costs no evaluation; those before a choice are read in one. Probabilities are
    those among the tokens that may stand.

    Raises:
        GrammarError: the room is too small.
    """
    form.require(room)
    ends, before, state = np.array(stops, np.int64), list(prompt), form.start
    forwards = decoder.forwards
    unread = list(prompt[cache.length :])
    plain = replace(how, repetition_penalty=1.0)
    for step in range(room + 1):
        edges = form.within(state, room - step)
        may_end = bool(form.accepting[state])
        if not len(edges.tokens):
            if len(ends):
                yield Drawn(int(ends[0]), 1.0, decoder.forwards - forwards)
            return
        if len(edges.tokens) == 1 and not may_end:
            token, probability, state = int(edges.tokens[0]), 1.0, int(edges.targets[0])
        else:
            logits = decoder.logits(prefill(decoder, unread, cache))[0]
            unread = []
            logits = penalised(logits, before, how.repetition_penalty)
            tokens = np.concatenate([edges.tokens, ends]) if may_end else edges.tokens
            place, probability = choose(logits[tokens], (), plain, uniform(how.seed, sample, step))
            token = int(tokens[place])
            if place >= len(edges.tokens):
                yield Drawn(token, probability, decoder.forwards - forwards)
                return
            state = int(edges.targets[place])
        before.append(token)
        unread.append(token)
        yield Drawn(token, probability, decoder.forwards - forwards)


@dataclass(frozen=True, eq=False)
class Way:
    """Where a place may lead from a state: tokens sorted by the states behind them. starts: the first token
    of each of `targets`.
    """

    tokens: np.ndarray
    behind: np.ndarray
    starts: np.ndarray
    targets: np.ndarray

    def group(self, i: int) -> np.ndarray:
        """The tokens to the i-th target."""
        return self.tokens[self.starts[i] : self.starts[i + 1] if i + 1 < len(self.starts) else None]


class BlockForm:
    """A form for blocks: its states, and one more behind the end, where stop tokens go on for ever."""

    def __init__(self, form: TokenAutomaton, stops: Sequence[int]) -> None:
        self.form, self.stops = form, np.array(sorted(set(stops)), np.int64)
        self.over = form.automaton.dead  # nothing leads from the dead state, so that its number is free
        self._ways: dict[int, Way] = {}
        self._size = 0

    def distance(self, state: int) -> int:
        return 0 if state == self.over else int(self.form.distance[state])

    def way(self, state: int) -> Way:
        if state not in self._ways:
            tokens, targets = np.empty(0, np.int64), np.empty(0, np.int64)
            if state != self.over:
                edges = self.form.edges(state)
                tokens, targets = edges.tokens, edges.targets
            if state == self.over or self.form.accepting[state]:
                tokens = np.concatenate([tokens, self.stops])
                targets = np.concatenate([targets, np.full(len(self.stops), self.over)])
            order = np.argsort(targets, kind="stable")
            tokens, behind = tokens[order], targets[order]
            found, starts = np.unique(behind, return_index=True)
            if self._size > KEPT:
                self._ways.clear()
                self._size = 0
            self._size += len(tokens)
            self._ways[state] = Way(tokens, behind, starts, found)
        return self._ways[state]

    def after(self, state: int, tokens: Sequence[int]) -> int:
        """The state behind tokens that were drawn here."""
        for token in tokens:
            way = self.way(state)
            state = int(way.behind[np.flatnonzero(way.tokens == token)[0]])
        return state


@dataclass(frozen=True)
class Filled:
    """A text for a block that meets the form, and the constrained marginal of each of its tokens."""

    tokens: tuple[int, ...]
    confidence: tuple[float, ...]


def log_sum(values: np.ndarray) -> float:
    top = values.max(initial=-np.inf)
    return -np.inf if top == -np.inf else float(top + np.log(np.exp(values - top).sum()))


FAINT = 1e-250  # sums below are taken again with their own scale


def sums(way: Way, logp: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Log-weight of all tokens to each target, `(targets,)`; `shares` are exp(logp)."""
    if not len(way.tokens):
        return np.empty(0)
    total = np.add.reduceat(shares[way.tokens], way.starts)
    found = np.log(np.maximum(total, FAINT))
    for i in np.flatnonzero(total < FAINT).tolist():
        found[i] = log_sum(logp[way.group(i)])
    return found


def fill(
    form: BlockForm,
    state: int,
    logp: np.ndarray,
    stand: Sequence[int | None],
    room: int,
    draws: Sequence[float],
) -> Filled:
    """A block drawn from independent places `logp` `(places, v)`, conditioned on the form.

    Args:
        stand: tokens that stand already, None where one is to be drawn. room: tokens that the text may still
            have from the first place on; behind it only stop tokens stand. draws: numbers in [0, 1).
    """
    reach, states = reached(form, state, logp, stand, room)
    beta: list[dict[int, float]] = [{} for _ in stand] + [dict.fromkeys(states, 0.0)]
    for i in range(len(stand) - 1, -1, -1):
        for s, weight in reach[i].items():
            later = np.array([beta[i + 1].get(t, -np.inf) for t in form.way(s).targets.tolist()])
            beta[i][s] = log_sum(weight + later)
    return drawn_forwards(form, state, logp, stand, reach, beta, draws)


def reached(
    form: BlockForm, state: int, logp: np.ndarray, stand: Sequence[int | None], room: int
) -> tuple[list[dict[int, np.ndarray]], set[int]]:
    """The states that each place may begin in, with the log-weight to each target; those behind the block."""
    found, states = [], {state}
    for i, fixed in enumerate(stand):
        row = logp[i]
        shares = np.exp(row)
        steps = {s: step(form, s, row, shares, fixed, over=i >= room) for s in states}
        found.append(steps)
        states = {t for s, w in steps.items() for t in form.way(s).targets[w > -np.inf].tolist()}
        states = {s for s in states if form.distance(s) <= max(room - i - 1, 0)}
    return found, states


def step(
    form: BlockForm, state: int, logp: np.ndarray, shares: np.ndarray, fixed: int | None, *, over: bool
) -> np.ndarray:
    """Log-weight from a state to each of its targets, by any token or by one that stands; over: only to the
    end.
    """
    way = form.way(state)
    if fixed is None:
        weight = sums(way, logp, shares)
    else:
        hits = way.behind[way.tokens == fixed]
        weight = np.where(np.isin(way.targets, hits), 0.0, -np.inf)
    return np.where(way.targets == form.over, weight, -np.inf) if over else weight


def drawn_forwards(
    form: BlockForm,
    state: int,
    logp: np.ndarray,
    stand: Sequence[int | None],
    reach: list[dict[int, np.ndarray]],
    beta: list[dict[int, float]],
    draws: Sequence[float],
) -> Filled:
    """A text from left to right, by weights that count what may follow."""
    tokens, confidence, alpha, total = [], [], {state: 0.0}, beta[0][state]
    assert total > -np.inf, "a state was kept from which the form cannot be met"
    for i, u in enumerate(draws):
        way = form.way(state)
        later = np.array([beta[i + 1].get(int(t), -np.inf) for t in way.targets])
        weight = reach[i][state] + later
        target = pick(weight, u)
        group = way.group(target)
        if stand[i] is None:
            share = np.exp(weight - weight.max())
            rest = (u * share.sum() - share[:target].sum()) / share[
                target
            ]  # what is left of u is uniform again
            token = int(group[pick(logp[i][group], min(max(rest, 0.0), 1 - 1e-12))])
        else:
            token = int(stand[i])  # type: ignore[arg-type]  # asked above
        tokens.append(token)
        confidence.append(
            marginal(form, token, logp[i] if stand[i] is None else None, alpha, beta[i + 1], total)
        )
        state = int(way.targets[target])
        alpha = forwards(form, alpha, reach[i], beta[i + 1])
    return Filled(tuple(tokens), tuple(confidence))


def pick(weight: np.ndarray, u: float) -> int:
    """The place that u draws from log-weights."""
    share = np.exp(weight - weight.max())
    ends = share.cumsum()
    return min(int(np.searchsorted(ends, u * ends[-1], side="right")), int(np.flatnonzero(share)[-1]))


def forwards(
    form: BlockForm, alpha: dict[int, float], weights: dict[int, np.ndarray], beta: dict[int, float]
) -> dict[int, float]:
    """Log-weights of all ways to each state of the next place."""
    parts: dict[int, list[float]] = {}
    for s, a in alpha.items():
        for t, w in zip(form.way(s).targets.tolist(), weights[s].tolist(), strict=True):
            if t in beta and w > -np.inf:
                parts.setdefault(t, []).append(a + w)
    return {t: log_sum(np.array(values)) for t, values in parts.items()}


def marginal(
    form: BlockForm,
    token: int,
    logp: np.ndarray | None,
    alpha: dict[int, float],
    beta: dict[int, float],
    total: float,
) -> float:
    """Probability that a token stands at a place, in all texts that meet the form."""
    if logp is None:
        return 1.0
    found = []
    for s, a in alpha.items():
        way = form.way(s)
        for t in way.behind[way.tokens == token].tolist():
            found.append(a + float(logp[token]) + beta.get(t, -np.inf))
    return float(np.exp(log_sum(np.array(found)) - total))


CUT = (
    1e6  # nats by which what top_k and top_p leave out is less likely: it stands only where nothing else may
)
COLD = 1e-4  # temperature in place of 0


def beliefs(logits: np.ndarray, how: Sampling) -> np.ndarray:
    """Log-probabilities `(places, v)` at the temperature; tokens that are cut stand far below."""
    x = logits.astype(np.float64) / max(how.temperature, COLD)
    x -= x.max(1, keepdims=True)
    if how.top_k and how.top_k < x.shape[1]:
        x[x < np.partition(x, -how.top_k, axis=1)[:, [-how.top_k]]] -= CUT
    if how.top_p < 1:
        for row in x:
            ordered = np.sort(row)[::-1]
            weights = np.exp(ordered)
            enough = int(np.searchsorted(weights.cumsum(), how.top_p * weights.sum() - 1e-12))
            row[row < ordered[min(enough, len(row) - 1)]] -= CUT
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def in_blocks(
    decoder: Decoder,
    prompt: Sequence[int],
    cache: KVCache,
    how: Sampling,
    form: TokenAutomaton,
    room: int,
    steps: int | None = None,
    sample: int = 0,
) -> Iterator[Block]:
    """Blocks as those of `decode.generate.in_blocks`, at most `room` tokens that meet a form, then stop
    tokens. After each evaluation a whole block is drawn that can be completed, and the surest of it stay.

    Raises:
        GrammarError: the room is too small.
    """
    blocks = decoder.config.blocks
    assert blocks is not None, "asked before"
    form.require(room)
    ways = BlockForm(form, decoder.config.stops)
    size, before, state = blocks.size, decoder.forwards, form.start
    whole = len(prompt) // size * size
    last = read_blocks(decoder, prompt[:whole], cache, size)
    head, pending, written = list(prompt[whole:]), list[int](), 0
    while state != ways.over and written < room:
        stand: list[int | None] = [None] * (size - len(head))
        confidence, left, evaluation = [0.0] * len(stand), steps, 0
        while None in stand:
            canvas = head + [blocks.mask if token is None else token for token in stand]
            logits, last = evaluate(decoder, blocks, pending, canvas, cache, last)
            pending = []
            logp = beliefs(logits[len(head) :], how)
            draws = [uniform(how.seed, sample, written + i, evaluation) for i in range(len(stand))]
            filled = fill(ways, state, logp, stand, room - written, draws)
            open_ = {
                i: pair
                for i, pair in enumerate(zip(filled.tokens, filled.confidence, strict=True))
                if stand[i] is None
            }
            for i in reveal(open_, blocks.threshold, None if left is None else -(-len(open_) // left)):
                stand[i], confidence[i] = open_[i]
            left, evaluation = None if left is None else max(left - 1, 1), evaluation + 1
            shown = tuple(head) + tuple(blocks.mask if token is None else token for token in stand)
            sure = (1.0,) * len(head) + tuple(confidence)
            yield Block(shown, sure, None not in stand, decoder.forwards - before)
        tokens = [token for token in stand if token is not None]
        state = ways.after(state, tokens)
        written += len(tokens)
        pending, head = [*head, *tokens], []
