"""Every kernel equals the integer reference to the last bit, whatever the tails."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowstring import _native
from bowstring.weights.quant.arrowquant import (
    GROUP,
    MOST_INPUTS,
    ArrowQuant,
    activations,
    grouped,
    levels,
    nearest,
)

needs_library = pytest.mark.skipif(
    _native._find()[0] is None, reason=f"no native library: {_native.missing()}"
)


def available():
    if _native._find()[0] is None:
        return []
    before = _native.isa()
    found = []
    for name in _native.ISAS:
        try:
            _native.choose(name)
        except _native.NativeError:
            continue
        found.append(name)
    _native.choose(before)
    return found


@pytest.fixture(params=available() or [pytest.param("none", marks=pytest.mark.skip("no native library"))])
def isa(request):
    before = _native.isa()
    _native.choose(request.param)
    yield request.param
    _native.choose(before)


def matrix(n, k, bits, seed=0, extreme=False):
    """Random codes; `extreme` takes the largest levels and scales there are."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << bits, (n, k), np.uint8)
    steps = rng.integers(0, 256, (n, -(-k // GROUP)), np.uint8)
    if extreme:
        codes[:], steps[:] = 0, 255
    return ArrowQuant.pack(codes, bits, steps, rng.uniform(0.001, 1, n).astype(np.float32))


SIZES = st.tuples(st.integers(1, 70), st.integers(1, 200), st.integers(1, 15))


@settings(max_examples=60, deadline=None)
@given(
    sizes=SIZES,
    bits=st.sampled_from([2, 4]),
    seed=st.integers(0, 1000),
    more=st.booleans(),
    threads=st.integers(1, 3),
)
@needs_library
def test_every_tail_on_every_instruction_set(sizes, bits, seed, more, threads):
    (n, k, m), rng = sizes, np.random.default_rng(seed)
    quant, x = matrix(n, k, bits, seed), rng.normal(size=(m, k)).astype(np.float32)
    bias = rng.normal(size=n).astype(np.float32) if more else None
    residual = rng.normal(size=(m, n)).astype(np.float32) if more else None
    expected = quant.matmul_reference(x, bias, residual)
    before = _native.isa()
    _native.set_threads(threads)
    try:
        for name in available():
            _native.choose(name)
            np.testing.assert_array_equal(quant.matmul(x, bias, residual), expected, err_msg=name)
    finally:
        _native.choose(before)
        _native.set_threads(0)


@pytest.mark.parametrize("bits", [2, 4])
def test_the_largest_sums_do_not_overflow(isa, bits):
    """All weights at the lowest level, all activations at 127, all scales at 255, the most inputs."""
    quant = matrix(17, MOST_INPUTS, bits, extreme=True)
    x = np.ones((2, MOST_INPUTS), np.float32)
    assert quant.matmul(x).max() < 0
    np.testing.assert_array_equal(quant.matmul(x), quant.matmul_reference(x))
    np.testing.assert_array_equal(quant.matmul(-x), quant.matmul_reference(-x))


def test_large_products_are_shared_among_threads_without_a_difference(isa):
    quant, x = matrix(1030, 768, 2), np.random.default_rng(1).normal(size=(33, 768)).astype(np.float32)
    results = []
    for threads in (1, 2, 3, 2, 5):
        _native.set_threads(threads)
        results.append(quant.matmul(x))
    _native.set_threads(0)
    assert all(np.array_equal(results[0], other) for other in results)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_poisons_itself_alone(isa, value):
    quant, x = matrix(20, 64, 4), np.ones((3, 64), np.float32)
    x[1, 5] = value
    out = quant.matmul(x)
    assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2]]).all()


def test_zeros_and_the_smallest_numbers(isa):
    quant = matrix(20, 64, 2)
    for scale in (0.0, 1e-45, 1e-38, 1e38):
        x = np.full((1, 64), scale, np.float32)
        np.testing.assert_array_equal(quant.matmul(x), quant.matmul_reference(x))


@given(sizes=SIZES, bits=st.sampled_from([2, 4]))
@settings(max_examples=60, deadline=None)
def test_packing_is_lossless(sizes, bits):
    n, k, seed = sizes
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << bits, (n, k), np.uint8)
    steps = rng.integers(0, 256, (n, -(-k // GROUP)), np.uint8)
    back, scales = ArrowQuant.pack(codes, bits, steps, np.ones(n, np.float32)).unpack()
    np.testing.assert_array_equal(back, codes)
    np.testing.assert_array_equal(scales, steps)


def test_the_product_is_that_of_the_dequantised_matrix():
    """Through FP64 and no packing at all: levels, groups and scales mean what the formula says."""
    rng = np.random.default_rng(0)
    for bits in (2, 4):
        quant, x = matrix(40, 130, bits), rng.normal(size=(5, 130)).astype(np.float32)
        values, scale = activations(x)
        expected = (values * scale[:, None].astype(np.float64)) @ quant.dequantise().T.astype(np.float64)
        np.testing.assert_allclose(quant.matmul(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("bits", "most"), [(2, 0.345), (4, 0.098)])
def test_quantising_normal_numbers_costs_what_theory_says(bits, most):
    """Relative error of uniform quantisers of a normal law: 0.3427 at 4 levels (Max 1960), 0.1075 at 16
    levels with one scale for all; scales per group do better at 16.
    """
    w = np.random.default_rng(0).normal(size=(64, 1024)).astype(np.float32)
    error = np.linalg.norm(ArrowQuant.quantise(w, bits).dequantise() - w) / np.linalg.norm(w)
    assert error < most


def test_importance_moves_the_error_to_where_it_matters_less():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(32, 256)).astype(np.float32)
    importance = np.where(np.arange(256) % 2 == 0, 100.0, 0.01).astype(np.float32)
    error = lambda quant: (((quant.dequantise() - w) ** 2) * importance).sum()
    assert error(ArrowQuant.quantise(w, 2, importance)) < 0.97 * error(ArrowQuant.quantise(w, 2))


def test_exact_matrices_stay_exact():
    for bits in (2, 4):
        codes = np.random.default_rng(0).integers(0, 1 << bits, (16, 128), np.uint8)
        codes[:, ::64] = 0  # the largest level in every group
        w = levels(codes, bits).astype(np.float32) * 0.5
        np.testing.assert_allclose(ArrowQuant.quantise(w, bits).dequantise(), w, rtol=1e-6)
        assert (nearest(levels(codes, bits).astype(np.float32), bits) == codes).all()


def test_a_matrix_of_zeros_has_no_scale():
    quant = ArrowQuant.quantise(np.zeros((3, 70), np.float32), 2)
    assert not quant.dequantise().any() and not quant.matmul(np.ones((1, 70), np.float32)).any()


def test_groups_pad_with_zeros():
    assert grouped(np.ones((2, 70))).sum() == 140


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda q: q.matmul(np.ones((1, 9), np.float32)), "takes float32"),
        (lambda q: q.matmul(np.ones((1, 64), np.float32), bias=np.ones(3, np.float32)), "bias"),
        (lambda q: q.matmul(np.ones((1, 64), np.float32), residual=np.ones((1, 3), np.float32)), "residual"),
        (lambda q: ArrowQuant(3, q.shape, q.lines, q.group_scales, q.scales), "2 or 4 bits"),
        (lambda q: ArrowQuant(4, (20, 65), q.lines, q.group_scales, q.scales), "lines is"),
        (lambda q: ArrowQuant(4, (20, 1 << 40), q.lines, q.group_scales, q.scales), "at most"),
        (lambda q: ArrowQuant(4, q.shape, q.lines, q.group_scales, q.scales[:3]), "scales is"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_kernel(call, says):
    with pytest.raises(ValueError, match=says):
        call(matrix(20, 64, 4))


@needs_library
def test_the_seam_checks_lengths_itself():
    from ctypes import byref

    library, quant = _native.library(), matrix(20, 64, 4)
    x = np.ones((1, 64), np.float32)
    for field, value in (
        ("bits", 3),
        ("outputs", 21),
        ("inputs", 1 << 60),
        ("lines_length", 5),
        ("lines", None),
    ):
        described = quant.described
        setattr(described, field, value)
        assert library.bowstring_matmul(byref(described), x.ctypes.data, 1, None, None, x.ctypes.data) > 0
    with pytest.raises(_native.NativeError, match="array is missing"):
        _native.checked(3)
    with pytest.raises(_native.NativeError, match="not contiguous"):
        _native.address(np.ones((4, 4))[:, 1])


def test_without_the_library_numpy_gives_the_same_numbers(monkeypatch):
    quant, x = matrix(33, 100, 2), np.random.default_rng(2).normal(size=(4, 100)).astype(np.float32)
    with_library = quant.matmul(x)
    monkeypatch.setattr(_native, "library", lambda: None)
    np.testing.assert_array_equal(quant.matmul(x), with_library)


def test_a_missing_library_warns_once(monkeypatch):
    monkeypatch.setattr(_native, "_find", lambda: (None, "gone"))
    with pytest.warns(UserWarning, match="not in use \\(gone\\)"):
        assert _native.library.__wrapped__() is None
