"""Draws that meet a form, against all texts of a toy vocabulary counted one by one."""

import itertools
import re
from dataclasses import dataclass

import numpy as np
import pytest

from bowstring.decode.generate import Sampling
from bowstring.grammar import regex
from bowstring.grammar.automaton import compiled
from bowstring.grammar.constrained import BlockForm, beliefs, fill, one_by_one
from bowstring.grammar.expression import GrammarError
from bowstring.grammar.tokens import TokenAutomaton, Trie

TOKENS = [b"", b"a", b"b", b"ab", b"c", b"ba", b"bc"]  # the first one ends a text
STOP = 0


def form_of(pattern, tokens=TOKENS):
    return TokenAutomaton(compiled(regex.full_match(pattern)), Trie(tokens))


def texts(pattern, room, tokens=TOKENS):
    """All sequences of at most `room` tokens whose bytes match."""
    words = range(1, len(tokens))
    every = (one for n in range(room + 1) for one in itertools.product(words, repeat=n))
    return {one for one in every if re.fullmatch(pattern, b"".join(tokens[t] for t in one).decode())}


@dataclass
class Config:
    width: int = 1


class Cache:
    length = 0


class Table:
    """A model whose belief is a row of a table for the token before."""

    def __init__(self, tokens=TOKENS, seed=0):
        self.config, self.forwards, self.rows = Config(), 0, 0
        self.beliefs = np.random.default_rng(seed).normal(size=(len(tokens), len(tokens))).astype(np.float32)

    def forward(self, tokens, cache):
        cache.length += len(tokens)
        self.forwards += 1
        return np.asarray(tokens, np.float32)[:, None]

    def logits(self, hidden):
        return self.beliefs[hidden[:, 0].astype(int)]


def stepwise(model, valid, room):
    """Law of the model, conditioned at each step on what can still become one of the valid texts."""
    law = {}

    def grow(begun, p, before):
        options = {one[len(begun)] for one in valid if one[: len(begun)] == begun and len(one) > len(begun)}
        ends = begun in valid
        if not options:
            law[begun] = law.get(begun, 0) + p
            return
        words = sorted(options) + ([STOP] if ends else [])
        weights = np.exp(model.beliefs[before][words].astype(np.float64))
        for word, q in zip(words, weights / weights.sum(), strict=True):
            if word == STOP:
                law[begun] = law.get(begun, 0) + p * q
            else:
                grow((*begun, word), p * q, word)

    grow((), 1.0, 1)
    return law


PLAIN = Sampling(temperature=1.0, top_k=0, top_p=1.0)


@pytest.mark.parametrize(
    ("pattern", "room"), [("(a|b)*c?", 3), ("(ab|ba)+c?", 4), ("a*b{1,2}[abc]", 4), ("(a|bc)*[bc]", 3)]
)
def test_one_by_one_the_law_is_the_models_conditioned_at_each_step(pattern, room):
    """Every draw's probability is that of counting, and all of them add up to one."""
    model, form = Table(), form_of(pattern)
    law = stepwise(model, texts(pattern, room), room)
    assert sum(law.values()) == pytest.approx(1)
    seen = {}
    for seed in range(400):
        how = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=seed)
        drawn = list(one_by_one(model, [1], Cache(), how, form, room, [STOP]))
        text = tuple(one.token for one in drawn if one.token != STOP)
        p = float(np.prod([one.probability for one in drawn]))
        assert p == pytest.approx(law[text], rel=1e-4), text
        seen[text] = seen.get(text, 0) + 1
    for text, p in law.items():
        assert abs(seen.get(text, 0) - 400 * p) < 5 * (400 * p * (1 - p)) ** 0.5 + 1, text


def test_no_draw_leaves_the_form_however_hot_or_short_of_room():
    model, form = Table(), form_of("(a|b){2,}c")
    for seed, room in itertools.product(range(40), (2, 3, 7)):
        how = Sampling(temperature=50.0, top_k=3, top_p=0.9, repetition_penalty=1.5, seed=seed)
        tokens = [one.token for one in one_by_one(model, [1], Cache(), how, form, room, [STOP])]
        text = b"".join(TOKENS[token] for token in tokens).decode()
        assert re.fullmatch("(a|b){2,}c", text) and sum(t != STOP for t in tokens) <= room


def test_what_does_not_fit_is_refused_before_any_evaluation():
    model = Table()
    with pytest.raises(GrammarError, match="at least 6 tokens; there is room for 5"):
        list(one_by_one(model, [1], Cache(), PLAIN, form_of("(c){6}"), 5, [STOP]))
    assert model.forwards == 0
    with pytest.raises(GrammarError, match="this model's tokens"):
        form_of("d")


def test_forced_text_costs_no_evaluation_and_has_one_spelling():
    """Several ways to spell it are tokens; the longest is taken, and what is not drawn is not asked."""
    tokens = [b"", b"a", b"b", b"n", b"na", b"am", b"m", b"e", b"me", b":"]
    model, form = Table(tokens), form_of("name:name:[ab]", tokens)
    drawn = list(one_by_one(model, [1], Cache(), PLAIN, form, 20, [STOP]))
    spelled = [tokens[one.token] for one in drawn[:-2]]
    assert spelled == [b"na", b"me", b":", b"na", b"me", b":"]
    assert [one.forwards for one in drawn] == [0] * 6 + [1, 1]


def test_distances_are_the_fewest_tokens():
    for pattern in ("(ab|ba)+c?", "a{7}c", "(a|b){3}", "[abc]*c"):
        form = form_of(pattern)
        assert form.distance[form.start] == min(
            map(len, texts(pattern, 5)), default=form.distance[form.start]
        )


def independent(valid, logp, room, stand):
    """Law of independent places, conditioned on a text that is valid and then only stop tokens."""
    places, law = len(logp), {}
    for one in valid:
        if len(one) <= min(room, places):
            whole = one + (STOP,) * (places - len(one))
            if all(s is None or s == t for s, t in zip(stand, whole, strict=True)):
                law[whole] = np.exp(sum(logp[i, t] for i, t in enumerate(whole) if stand[i] is None))
    total = sum(law.values())
    return {one: p / total for one, p in law.items()}


@pytest.mark.parametrize(
    ("pattern", "room", "stand"),
    [
        ("(a|b)*c?", 4, [None] * 4),
        ("(ab|ba)+c?", 3, [None] * 4),
        ("(a|b)*c", 4, [None, 2, None, None]),
        ("(a|b)+c", 4, [None, None, 4, None]),
    ],
)
def test_a_block_is_drawn_from_independent_places_conditioned_on_the_form(pattern, room, stand):
    """Frequencies and confidences against the softmax over all texts that fit."""
    rng = np.random.default_rng(3)
    logp = np.log(rng.dirichlet(np.ones(len(TOKENS)), len(stand)))
    law = independent(texts(pattern, room), logp, room, stand)
    ways, count, seen = BlockForm(form_of(pattern), [STOP]), 3000, {}
    for _ in range(count):
        filled = fill(ways, ways.form.start, logp, stand, room, rng.random(len(stand)))
        seen[filled.tokens] = seen.get(filled.tokens, 0) + 1
        for i, (token, sure) in enumerate(zip(filled.tokens, filled.confidence, strict=True)):
            marginal = sum(p for one, p in law.items() if one[i] == token)
            assert sure == pytest.approx(marginal if stand[i] is None else 1.0, rel=1e-9)
    assert set(seen) <= set(law)
    for one, p in law.items():
        assert abs(seen.get(one, 0) - count * p) < 5 * (count * p * (1 - p)) ** 0.5 + 1, one


def test_a_long_text_goes_on_over_blocks_and_can_always_be_finished():
    """Behind any block that was drawn, the rest still fits into the room that is left."""
    rng, pattern = np.random.default_rng(4), "(ab){5,9}c"
    for room in (6, 11, 19):
        ways = BlockForm(form_of(pattern), [STOP])
        state, left, made = ways.form.start, room, []
        while left > 0 and state != ways.over:
            logp = np.log(rng.dirichlet(np.ones(len(TOKENS)), 4))
            filled = fill(ways, state, logp, [None] * 4, left, rng.random(4))
            state, left = ways.after(state, filled.tokens), left - 4
            made += filled.tokens
        words = [TOKENS[t] for t in made if t != STOP]
        assert re.fullmatch(pattern, b"".join(words).decode()) and len(words) <= room


def test_cut_tokens_stand_only_where_nothing_else_may():
    logits = np.array([[0.0, 5.0, 1.0, 4.0, 0.5, -1.0, 2.0]])
    kept = beliefs(logits, Sampling(temperature=1.0, top_k=2, top_p=1.0))[0]
    assert set(np.flatnonzero(kept > -100)) == {1, 3} and np.isfinite(kept).all()
    ways = BlockForm(form_of("c"), [STOP])
    assert fill(ways, ways.form.start, kept[None], [None], 1, [0.5]).tokens == (4,)
