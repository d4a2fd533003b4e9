"""Matrices in groups of 32: every tail on every instruction set against whole numbers in numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowstring import _native
from bowstring.weights.quant.grouped import GROUP, GroupedMatrix, affine

from .test_arrowquant import available, isa, needs_library  # noqa: F401  (isa is a fixture)


def matrix(n, groups, bits, *, minima, seed=0, extreme=False):
    """Random codes, scales and minima; `extreme` takes the largest codes there are."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 1 << bits, (n, GROUP * groups), np.uint8)
    if extreme:
        codes[:] = (1 << bits) - 1
    scales = rng.uniform(0.001, 1, (n, groups)).astype(np.float16)
    low = rng.normal(size=(n, groups)).astype(np.float16) if minima else None
    return GroupedMatrix.pack(codes, bits, scales, low)


def close(found, wanted, x, w):
    """Equal but for the order of FP32 sums over groups."""
    bound = np.abs(x) @ np.abs(w.dequantise()).T
    assert (np.abs(found - wanted) <= 4e-6 * bound + 1e-6).all()


@needs_library
@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 7), st.integers(1, 15)),
    bits=st.sampled_from([2, 4, 8]),
    planes=st.sampled_from([1, 2]),
    minima=st.booleans(),
    more=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_tail_on_every_instruction_set(sizes, bits, planes, minima, more, seed):
    (n, groups, m), rng = sizes, np.random.default_rng(seed)
    w = matrix(n, groups, bits, minima=minima, seed=seed)
    x = rng.normal(size=(m, GROUP * groups)).astype(np.float32)
    bias = rng.normal(size=n).astype(np.float32) if more else None
    wanted, before = w.matmul_reference(x, bias, planes), _native.isa()
    for name in available():
        _native.choose(name)
        close(w.matmul(x, bias, planes), wanted, x, w)
    _native.choose(before)


@needs_library
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("minima", [True, False])
def test_the_largest_numbers_overflow_nothing(isa, bits, minima):  # noqa: F811
    w = matrix(19, 3, bits, minima=minima, extreme=True)
    x = np.full((3, 96), 7.0, np.float32)
    x[1] *= -1
    close(w.matmul(x), w.matmul_reference(x), x, w)


@needs_library
def test_a_row_is_the_same_bits_whatever_stands_beside_it(isa):  # noqa: F811
    w, x = matrix(70, 4, 4, minima=True), np.random.default_rng(1).normal(size=(13, 128)).astype(np.float32)
    for planes in (1, 2):
        whole = w.matmul(x, None, planes)
        for i in range(13):
            assert (w.matmul(x[i : i + 1], None, planes) == whole[i]).all()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_two_planes_are_exact_to_the_last_digits(bits):
    """INT8 leaves some 3e-3 of a group's largest number, two planes 1e-5, beside FP64."""
    w, x = matrix(40, 8, bits, minima=True), np.random.default_rng(2).normal(size=(9, 256)).astype(np.float32)
    exact = x.astype(np.float64) @ w.dequantise().astype(np.float64).T
    errors = [np.abs(w.matmul(x, None, planes) - exact).max() / np.abs(exact).max() for planes in (1, 2)]
    assert errors[0] > 3e-4 and errors[1] < 3e-5


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("minima", [True, False])
def test_what_is_packed_comes_out_again(bits, minima):
    w = matrix(21, 3, bits, minima=minima)
    again = GroupedMatrix.pack(*((parts := w.unpack())[0], bits), *parts[1:])
    for name in ("lines", "scales", "minima"):
        assert (
            np.array_equal(getattr(again, name), getattr(w, name)) if getattr(w, name) is not None else True
        )
    assert np.array_equal(w.rows(np.array([20, 0, 7])), w.dequantise()[[20, 0, 7]])


def test_fewer_bits_cost_more_and_grids_are_kept():
    """Numbers on a grid of four come back; of normal ones rounding takes the share that it must."""
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 4, (8, 64)) * 0.5 - 1
    grid[:, ::32], grid[:, 1::32] = -1, 0.5
    assert np.allclose(GroupedMatrix.quantise(grid.astype(np.float32), 2).dequantise(), grid, atol=1e-3)
    w = rng.normal(size=(64, 256)).astype(np.float32)
    lost = [np.square(GroupedMatrix.quantise(w, bits).dequantise() - w).mean() ** 0.5 for bits in (8, 4, 2)]
    assert lost[0] < 0.008 and 0.05 < lost[1] < 0.09 and 0.25 < lost[2] < 0.34  # .34: a Lloyd grid of four


def test_clipping_is_chosen_where_it_helps():
    """One far number in a group shall not cost all others their bits."""
    groups = np.random.default_rng(3).normal(size=(5, 2, 32)).astype(np.float32)
    groups[..., 0] = 9
    codes, scale, minimum = affine(groups, 3)
    error = np.square(scale[..., None] * codes + minimum[..., None] - groups).sum(-1)
    low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
    plain = np.rint(3 * (groups - low) / (high - low)) * (high - low) / 3 + low
    assert (error < np.square(plain - groups).sum(-1)).all()


def test_bits_that_no_kernel_has_are_refused():
    with pytest.raises(ValueError, match="2, 4 or 8 bits"):
        GroupedMatrix(3, (16, 32), np.zeros((1, 1, 192), np.uint8), np.zeros((1, 1, 16), np.float16))
