"""Hopfield retrieval against what is proved of it."""

from itertools import pairwise

import numpy as np
import pytest

from bowstring.memory.hopfield import energy, retrieve
from bowstring.memory.store import ArrowStorage


def unit(n, d, seed=0):
    v = np.random.default_rng(seed).normal(size=(n, d))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("beta", [0.5, 8.0, 200.0])
def test_energy_never_rises_and_lies_between_its_bounds(beta):
    """0 <= E(xi) <= 2 M^2 inside the ball of the patterns (Ramsauer et al. 2021, theorem 1)."""
    patterns = unit(40, 16)
    for query in unit(10, 16, 1):
        energies = retrieve(patterns, query, beta).energies
        assert all(later <= before + 1e-12 for before, later in pairwise(energies))
        assert all(0 <= one <= 2 for one in energies)


def test_what_is_retrieved_is_a_fixed_point_of_the_update():
    found = retrieve(unit(40, 16), unit(1, 16, 1)[0], beta=4.0, steps=1000)
    assert found.converged and found.weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.weights @ unit(40, 16), found.state, atol=1e-5)


def test_the_update_is_the_step_of_gradient_descent_on_the_energy():
    """xi' = xi - dE/dxi, by differences of the energy itself."""
    patterns, query, h = unit(12, 6), unit(1, 6, 1)[0], 1e-5
    slope = [
        (energy(patterns, query + h * e, 3.0) - energy(patterns, query - h * e, 3.0)) / (2 * h)
        for e in np.eye(6)
    ]
    np.testing.assert_allclose(retrieve(patterns, query, 3.0, steps=1).state, query - slope, atol=1e-8)


def test_a_large_beta_ends_at_a_pattern_and_a_small_one_at_the_mixture_of_its_kind():
    centres = np.eye(8)[:2]
    patterns = np.concatenate([centres[0] + 0.2 * unit(5, 8), centres[1] + 0.2 * unit(5, 8, 1)])
    query = patterns[3] + 0.05 * unit(1, 8, 2)[0]
    sharp, soft = (retrieve(patterns, query, beta) for beta in (2000.0, 10.0))
    assert sharp.weights[3] > 0.999 and np.allclose(sharp.state, patterns[3], atol=1e-3)
    assert soft.weights[:5].sum() > 0.99 and soft.weights.max() < 0.6


def test_a_store_retrieves_among_its_candidates_with_weights(tmp_path):
    rows = unit(300, 24).astype(np.float32)
    with ArrowStorage(tmp_path / "s") as store:
        ids = store.add_many([{"text": f"t{i}", "vector": row} for i, row in enumerate(rows)])
        hits, found = store.retrieve(rows[7] + 0.05 * rows[8], beta=500.0, top_k=20)
        assert hits[0].memory.id == ids[7] and len(hits) == 20
        assert found.weights[0] > 0.999 and hits[0].score == found.weights[0]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        np.testing.assert_allclose(found.state, rows[7], atol=1e-3)
    with ArrowStorage(tmp_path / "empty") as store:
        assert store.retrieve(rows[0], beta=1.0) == ([], None)
