"""Mixtures of beliefs: the likeliest weights."""

import itertools

import numpy as np
import pytest

from bowstring.adapt.fusion import fitted_weights


def test_weights_are_found_that_tokens_were_drawn_by():
    rng = np.random.default_rng(1)
    laws = rng.dirichlet(np.ones(6), size=3)
    true = np.array([0.6, 0.0, 0.4])
    tokens = rng.choice(6, size=20_000, p=true @ laws)
    found = fitted_weights(np.log(laws[:, tokens]))
    fisher = (laws[:, tokens] / (true @ laws)[tokens]).std(1) / len(tokens) ** 0.5
    assert np.abs(found @ laws - true @ laws).max() < 4 * fisher.max()


def test_no_other_weights_are_likelier():
    rng = np.random.default_rng(2)
    values = np.log(rng.dirichlet(np.ones(5), size=3)[:, rng.integers(5, size=200)])
    best = fitted_weights(values)
    likelihood = lambda w: np.log(w @ np.exp(values)).sum()
    grid = [np.array([a, b, 1 - a - b]) for a in np.linspace(0, 1, 51) for b in np.linspace(0, 1 - a, 51)]
    assert likelihood(best) >= max(map(likelihood, grid)) - 1e-6
    assert best.sum() == pytest.approx(1) and (best >= 0).all()


def test_each_round_is_as_likely_or_likelier():
    values = np.log(np.random.default_rng(3).dirichlet(np.ones(5), size=4)[:, [0, 1, 1, 4, 2, 0]])
    rounds = [np.log(fitted_weights(values, n) @ np.exp(values)).sum() for n in range(1, 30)]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(rounds))
