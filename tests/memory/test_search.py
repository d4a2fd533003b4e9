"""Nearest vectors against FP64, draws against their law, and what must not reach the kernels."""

from dataclasses import replace

import numpy as np
import pytest

from bowstring import _native
from bowstring.memory.search import Vectors
from bowstring.text.draw import draw_tokens

both = pytest.mark.parametrize("native", [True, False], ids=["native", "numpy"])


def unit(n, d, seed=0):
    v = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def crowded(n, d, cosine, seed=0):
    """Unit vectors about one direction, at this mean cosine with each other."""
    rng = np.random.default_rng(seed)
    v = np.sqrt(cosine) * unit(1, d, seed + 99) + np.sqrt(1 - cosine) * rng.normal(size=(n, d)) / np.sqrt(d)
    return (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32)


@both
@pytest.mark.parametrize("cosine", [0.0, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("wanted", [1, 10])
def test_a_full_scan_gives_the_set_that_fp64_gives(monkeypatch, native, cosine, wanted):
    if not native:
        monkeypatch.setattr(_native, "library", lambda: None)
    vectors = crowded(3000, 128, cosine)
    scan, decided = Vectors.of(vectors), 0
    for query in crowded(12, 128, cosine, seed=1):
        exact = vectors.astype(np.float64) @ query.astype(np.float64)
        order = np.argsort(-exact, kind="stable")
        places, similarities = scan.top(query, wanted)
        np.testing.assert_allclose(similarities, exact[places], rtol=1e-6)
        np.testing.assert_allclose(similarities, exact[order[:wanted]], atol=1e-6)
        if exact[order[wanted - 1]] - exact[order[wanted]] > 1e-6:
            decided += 1
            assert set(places) == set(order[:wanted])
    assert decided >= 8


@both
def test_vectors_of_any_length_are_compared_by_their_products(monkeypatch, native):
    if not native:
        monkeypatch.setattr(_native, "library", lambda: None)
    vectors = unit(500, 64) * np.geomspace(1e-3, 1e3, 500, dtype=np.float32)[:, None]
    query = 30 * unit(1, 64, 5)[0]
    expected = np.argsort(-(vectors.astype(np.float64) @ query.astype(np.float64)))[:7]
    np.testing.assert_array_equal(Vectors.of(vectors).top(query, 7)[0], expected)


def test_sign_bits_let_near_neighbours_through():
    vectors = unit(5000, 256)
    noise = unit(50, 256, 1)
    scan, found = Vectors.of(vectors), 0
    for i, extra in enumerate(noise):
        query = vectors[i] + 0.7 * extra
        places, _ = scan.top(query / np.linalg.norm(query), 1, candidates=250)
        found += places[0] == i
    assert found >= 48


@pytest.mark.parametrize("candidates", [10, 40, 699, 5000])
def test_both_paths_let_the_same_candidates_through(monkeypatch, candidates):
    scan, query = Vectors.of(unit(700, 64)), unit(1, 64, 3)[0]
    native = scan.top(query, 10, candidates)
    monkeypatch.setattr(_native, "library", lambda: None)
    np.testing.assert_array_equal(native[0], scan.top(query, 10, candidates)[0])


def test_halves_are_rounded_alike_on_both_paths(monkeypatch):
    """Numbers that stand halfway between two INT8 values, and just below."""
    halves = (np.arange(-120, 120, dtype=np.float32)[:, None] + np.float32([0.5, 0.49999997])).reshape(-1, 8)
    halves[:, 0] = 127.0
    scan, query = Vectors.of(halves / 127), halves[7] / 127
    native = scan.top(query, 5)
    monkeypatch.setattr(_native, "library", lambda: None)
    for ours, twin in zip(native, scan.top(query, 5), strict=True):
        np.testing.assert_array_equal(ours, twin)


def test_arrays_that_the_kernel_would_misread_are_refused():
    scan = Vectors.of(unit(20, 16))
    wrong = {
        "values": scan.values.astype(np.int16),
        "scales": scan.scales.astype(np.float64),
        "signs": scan.signs[:10],
        "exact": scan.exact[:, ::2],
    }
    for name, array in wrong.items():
        with pytest.raises(ValueError, match="expected contiguous"):
            replace(scan, **{name: array})
    with pytest.raises(ValueError, match="values is int8"):
        replace(scan, values=scan.values[:5])
    places, _ = scan.top(scan.exact[3].astype(np.float64).tolist(), 1)  # any numbers are read rightly
    assert places[0] == 3


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Vectors.of(np.ones((3, 9))), "multiple of 8"),
        (lambda: Vectors.of(np.ones((0, 8))), "multiple of 8"),
        (lambda: Vectors.of(np.full((2, 8), np.nan)), "NaN or infinity"),
        (lambda: Vectors.of(unit(4, 16)).top(np.ones(16), 5), "here are 4 vectors of 16"),
        (lambda: Vectors.of(unit(4, 16)).top(np.ones(16), 0), "wanted is 0"),
        (lambda: Vectors.of(unit(4, 16)).top(np.ones(16), 2, candidates=-1), "candidates is -1"),
        (lambda: Vectors.of(unit(4, 16)).top(np.full(16, np.nan), 2), "finite"),
        (lambda: draw_tokens(np.zeros((1, 4)), np.zeros(1), 0.0), "temperature is 0"),
        (lambda: draw_tokens(np.zeros((1, 4)), np.zeros(1), np.nan), "temperature is nan"),
        (lambda: draw_tokens(np.zeros((1, 4)), np.zeros(2)), "expected"),
        (lambda: draw_tokens(np.full((1, 4), -np.inf), np.zeros(1)), "nothing above -inf"),
        (lambda: draw_tokens(np.array([[0.0, np.nan]]), np.zeros(1)), "NaN"),
        (lambda: draw_tokens(np.zeros((1, 4)), np.array([np.nan])), "u is not"),
    ],
)
def test_what_does_not_fit_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@both
def test_draws_follow_their_law(monkeypatch, native):
    if not native:
        monkeypatch.setattr(_native, "library", lambda: None)
    logits = np.array([0.0, 1.0, -np.inf, 2.0, 0.5], np.float32)
    n = 20_000
    u = ((np.arange(n) + 0.5) / n).astype(np.float32)
    tokens = draw_tokens(np.tile(logits, (n, 1)), u, temperature=0.7)
    law = np.exp(logits / 0.7) / np.exp(logits / 0.7).sum()
    np.testing.assert_allclose(np.bincount(tokens, minlength=5) / n, law, atol=2 / n)


def test_the_edges_of_a_draw_have_weight(monkeypatch):
    logits = np.array([[-np.inf, 0.0, 0.0, -np.inf]], np.float32)
    for path in (_native.library, lambda: None):
        monkeypatch.setattr(_native, "library", path)
        assert draw_tokens(logits, np.array([0.0])).item() == 1
        assert draw_tokens(logits, np.array([1.0])).item() == 2
