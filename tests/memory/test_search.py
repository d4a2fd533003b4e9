"""Nearest vectors against FP64, draws against their law, and what must not reach the kernels."""

from dataclasses import replace

import numpy as np
import pytest

from bowstring import _native
from bowstring.memory.search import Shards, Vectors, blocked, by_row, rotated, rotated_reference
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
def test_an_exact_search_gives_the_set_that_fp64_gives(monkeypatch, native, cosine, wanted):
    if not native:
        monkeypatch.setattr(_native, "library", lambda: None)
    vectors = crowded(3000, 128, cosine)
    scan, decided = Vectors.of(vectors), 0
    for query in crowded(12, 128, cosine, seed=1):
        exact = vectors.astype(np.float64) @ query.astype(np.float64)
        order = np.argsort(-exact, kind="stable")
        places, products = scan.top(query, wanted, exact=True)
        np.testing.assert_allclose(products, exact[places], rtol=1e-6)
        np.testing.assert_allclose(products, exact[order[:wanted]], atol=1e-6)
        if exact[order[wanted - 1]] - exact[order[wanted]] > 1e-6:
            decided += 1
            assert set(places) == set(order[:wanted])
    assert decided >= 8


@pytest.mark.parametrize("cosine", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize("width", [24, 384])
def test_a_search_misses_fewer_than_one_in_a_hundred(cosine, width):
    """Four standard errors of 2,000 neighbours below .99; about .995 are found."""
    vectors, queries = np.split(crowded(20_200, width, cosine), [20_000])
    scan, found = Vectors.of(vectors), 0
    for query in queries:
        nearest = np.argpartition(-(vectors.astype(np.float64) @ query.astype(np.float64)), 10)[:10]
        found += len({*scan.top(query, 10)[0]} & {*nearest})
    assert found >= 0.99 * 2000 - 4 * (2000 * 0.01 * 0.99) ** 0.5


@pytest.mark.parametrize("threads", [1, 3])
def test_masks_and_parts_bound_what_is_found(threads):
    vectors, query = unit(40_000, 64), unit(1, 64, 5)[0]
    rng = np.random.default_rng(0)
    masks = [rng.random(16_000) < share for share in (0.01, 1.0)] + [np.zeros(8000, bool)]
    parts = [*zip(map(Vectors.of, np.split(vectors, [16_000, 32_000])), masks, strict=True)]
    exact = np.where(np.concatenate(masks), vectors.astype(np.float64) @ query.astype(np.float64), -2)
    _native.set_threads(threads)
    try:
        shard, row, _ = Shards(parts).nearest(query, 300, exact=True)
        assert (16_000 * shard + row).tolist() == np.argsort(-exact)[:300].tolist()
        near = Shards(parts).nearest(query, 300, least=0.3, margin=5)[2]
        np.testing.assert_allclose(near, np.sort(exact[exact >= 0.3])[::-1], rtol=1e-6)
        few = Shards([(parts[0][0], masks[0])]).nearest(query, 1000)
        assert len(few[0]) == masks[0].sum() and set(few[1]) == set(np.flatnonzero(masks[0]))
        assert len(Shards([parts[2]]).nearest(query, 5)[0]) == 0
    finally:
        _native.set_threads(0)


@pytest.mark.parametrize("width", [8, 24, 64, 200, 384])
def test_both_paths_turn_vectors_alike_and_keep_their_products(width):
    vectors = unit(16, width)
    turned = rotated(vectors)
    np.testing.assert_array_equal(turned, rotated_reference(vectors))
    np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-6)


def test_bits_of_rows_come_back_from_their_blocks():
    turned = np.random.default_rng(0).normal(size=(24, 128))
    bits = by_row(blocked(turned))
    np.testing.assert_array_equal(np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little"), turned >= 0)


def test_arrays_that_the_kernel_would_misread_are_refused():
    scan = Vectors.of(unit(24, 16))
    wrong = {
        "values": scan.values.astype(np.int16),
        "scales": scan.scales.astype(np.float64),
        "codes": scan.codes[:1],
        "factors": scan.factors[::2],
    }
    for name, array in wrong.items():
        with pytest.raises(ValueError, match="expected contiguous"):
            replace(scan, **{name: array})
    with pytest.raises(ValueError, match="mask is bool"):
        Shards([(scan, np.ones(23, bool))])
    places, _ = scan.top(scan.exact[3].astype(np.float64).tolist(), 1)  # any numbers are read rightly
    assert places[0] == 3


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Vectors.of(np.ones((8, 9))), "multiples of 8"),
        (lambda: Vectors.of(np.ones((3, 8))), "multiples of 8"),
        (lambda: Vectors.of(np.ones((0, 8))), "multiples of 8"),
        (lambda: Vectors.of(np.full((8, 8), np.nan)), "NaN or infinity"),
        (lambda: Vectors.of(unit(8, 16)).top(np.ones(16), 9), "here are \\(8, 16\\)"),
        (lambda: Vectors.of(unit(8, 16)).top(np.ones(16), 0), "wanted is 0"),
        (lambda: Vectors.of(unit(8, 16)).top(np.ones(24), 2), "expected 16 finite"),
        (lambda: Vectors.of(unit(8, 16)).top(np.full(16, np.nan), 2), "finite"),
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
