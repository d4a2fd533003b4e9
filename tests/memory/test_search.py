import numpy as np
import pytest

from bowstring import _native
from bowstring.memory.search import Vectors
from bowstring.text.draw import draw


def unit(n, d, seed=0):
    v = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


@pytest.mark.parametrize("native", [True, False])
def test_a_full_scan_finds_the_nearest(monkeypatch, native):
    if not native:
        monkeypatch.setattr(_native, "library", lambda: None)
    vectors, queries = unit(2000, 96), unit(20, 96, 1)
    scan = Vectors.of(vectors)
    for query in queries:
        places, similarities = scan.top(query, 5)
        expected = np.argsort(-(vectors @ query), kind="stable")[:5]
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_allclose(similarities, (vectors @ query)[expected], rtol=1e-5)


def test_sign_bits_let_near_neighbours_through():
    vectors = unit(5000, 256)
    noise = unit(50, 256, 1)
    scan, found = Vectors.of(vectors), 0
    for i, extra in enumerate(noise):
        query = vectors[i] + 0.7 * extra
        places, _ = scan.top(query / np.linalg.norm(query), 1, candidates=250)
        found += places[0] == i
    assert found >= 48


def test_both_paths_let_the_same_candidates_through(monkeypatch):
    scan, query = Vectors.of(unit(700, 64)), unit(1, 64, 3)[0]
    native = scan.top(query, 10, candidates=40)
    monkeypatch.setattr(_native, "library", lambda: None)
    np.testing.assert_array_equal(native[0], scan.top(query, 10, candidates=40)[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        Vectors.of(np.ones((3, 9)))
    with pytest.raises(ValueError, match="here are 4 vectors of 16"):
        Vectors.of(unit(4, 16)).top(np.ones(16, np.float32), 5)
    with pytest.raises(ValueError, match="temperature"):
        draw(np.zeros((1, 4)), np.zeros(1), 0.0)


@pytest.mark.parametrize("native", [True, False])
def test_draws_follow_their_law(monkeypatch, native):
    if not native:
        monkeypatch.setattr(_native, "library", lambda: None)
    logits = np.array([0.0, 1.0, -np.inf, 2.0, 0.5], np.float32)
    n = 20_000
    u = ((np.arange(n) + 0.5) / n).astype(np.float32)
    tokens = draw(np.tile(logits, (n, 1)), u, temperature=0.7)
    law = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    np.testing.assert_allclose(np.bincount(tokens, minlength=5) / n, law, atol=2 / n)


def test_the_edges_of_a_draw_have_weight(monkeypatch):
    logits = np.array([[-np.inf, 0.0, 0.0, -np.inf]], np.float32)
    for path in (_native.library, lambda: None):
        monkeypatch.setattr(_native, "library", path)
        assert draw(logits, np.array([0.0])).item() == 1
        assert draw(logits, np.array([1.0])).item() == 2
