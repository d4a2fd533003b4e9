"""Deltas bend a decoder as merged weights would, natively as readably, and leave its weights alone."""

import copy

import numpy as np
import pytest

from bowstring.decode.config import DecoderConfig
from bowstring.decode.decoder import Decoder, DenseMatrix, LayerWeights
from bowstring.decode.deltas import Branch, Deltas, LowRank
from bowstring.weights.quant.grouped import GroupedMatrix

CONFIG = DecoderConfig("llama", 64, 2, 4, 2, 16, 96, 50, 64, 1e-5)
SHAPES = {"q": (64, 64), "k": (32, 64), "v": (32, 64), "out": (64, 64)}
SHAPES |= {"gate": (96, 64), "up": (96, 64), "down": (64, 96)}
FUSED = {"q": (128, 64), "out": (64, 64), "gate": (192, 64), "down": (64, 96)}
TOKENS = np.array([3, 40, 7, 19, 22, 5, 31])


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(0, shape[-1] ** -0.5, shape).astype(np.float32)


def decoder(*, fused=False, bits=None, change=lambda i, name: 0.0):
    """A small decoder: one matrix for q, k and v or three; gates or none; plain or packed matrices."""
    shapes = FUSED if fused else SHAPES

    def matrix(i, name):
        values = drawn(*shapes[name], seed=10 * i + len(name)) + change(i, name)
        return DenseMatrix(values) if bits is None else GroupedMatrix.quantise(values, bits)

    one = np.ones(64, np.float32)
    gates = {"attention_gate": drawn(64, seed=5), "ffn_gate": drawn(64, seed=6)} if fused else {}
    layers = [
        LayerWeights(
            attention_norm=one,
            ffn_norm=one,
            **({"k": None, "v": None, "up": None} | {name: matrix(i, name) for name in shapes}),
            **gates,
        )
        for i in range(2)
    ]
    return Decoder(CONFIG, DenseMatrix(drawn(50, 64)), layers, one)


def low_rank(shapes, rank, seed, weight=1.0):
    return Deltas(
        {
            (i, name): (LowRank(drawn(rank, k, seed=seed + i), drawn(n, rank, seed=seed + 2 + i), weight),)
            for i in range(2)
            for name, (n, k) in shapes.items()
        }
    )


def dense(deltas, i, name):
    """What deltas add to a map, as a matrix."""
    return sum(
        one.scale * (one.a if one.b is None else one.b @ one.a) for one in deltas.low_rank.get((i, name), ())
    )


def branches(seed, control=None):
    return Deltas(
        branches={
            i: (Branch(drawn(5, 64, seed=seed), drawn(64, 5, seed=seed + i), control),) for i in range(2)
        }
    )


def logits(one, cuts=()):
    cache = one.cache()
    return np.concatenate(
        [one.logits(one.forward(part, cache)) for part in np.split(TOKENS, cuts)],
    )


@pytest.mark.parametrize("fused", [False, True])
def test_deltas_are_the_merged_weights(fused):
    deltas = low_rank(FUSED if fused else SHAPES, 3, 20)
    merged = decoder(fused=fused, change=lambda i, name: dense(deltas, i, name))
    base = decoder(fused=fused)
    bent = logits(base.with_deltas(deltas))
    assert np.abs(bent - logits(merged)).max() < 1e-5 * np.abs(bent).max()
    assert np.abs(bent - logits(base)).max() > 1e-2 * np.abs(bent).max()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_native_forward_is_the_readable_one_and_no_row_minds_the_others(fused, bits):
    deltas = low_rank(FUSED if fused else SHAPES, 6, 20) | branches(40, drawn(5)) | branches(50)
    bent = decoder(fused=fused, bits=bits).with_deltas(deltas)
    together = logits(bent)
    assert np.array_equal(together, logits(bent, range(1, len(TOKENS))))
    readable = copy.copy(bent)
    readable._described = None
    assert np.abs(together - logits(readable)).max() < 2e-4 * np.abs(together).max()


def test_wide_branches_are_packed_and_near_those_of_fp32():
    """Natively as readably, row by row; a rank that is no whole group is filled up with nothing."""
    wide = Deltas(
        branches={
            i: (
                Branch(drawn(40, 64, seed=i), drawn(64, 40, seed=i + 1), drawn(40), 0.8),
                Branch(drawn(33, 64), drawn(64, 33)),
            )
            for i in range(2)
        }
    )
    bent = decoder(bits=8).with_deltas(wide)
    together = logits(bent)
    assert np.array_equal(together, logits(bent, range(1, len(TOKENS))))
    readable = copy.copy(bent)
    readable._described = None
    assert np.abs(together - logits(readable)).max() < 2e-3 * np.abs(together).max()
    plain = logits(decoder().with_deltas(wide))
    assert np.abs(together - plain).max() < 5e-2 * np.abs(plain).max()
    silent = Deltas(branches={0: (Branch(drawn(40, 64), np.zeros((64, 40), np.float32)),)})
    assert np.array_equal(logits(decoder(bits=8).with_deltas(silent)), logits(decoder(bits=8)))


@pytest.mark.parametrize("bits", [None, 4])
def test_what_begins_at_zero_changes_no_bit_and_the_base_stays(bits):
    base = decoder(bits=bits)
    before = logits(base)
    still = low_rank(SHAPES, 4, 20, weight=0.0)
    silent = Deltas(branches={0: (Branch(drawn(5, 64), np.zeros((64, 5), np.float32)),)})
    assert np.array_equal(logits(base.with_deltas(still | silent)), before)
    base.with_deltas(low_rank(SHAPES, 4, 20) | branches(40))
    assert np.array_equal(logits(base), before)


def test_deltas_of_one_map_add_up_and_their_weights_are_factors():
    """Also where one of them is of full rank."""
    one, two = low_rank(SHAPES, 3, 20, 0.5), low_rank(SHAPES, 2, 30, -2.0)
    full = Deltas({(1, "k"): (LowRank(drawn(32, 64, seed=9), None, 0.7),)})
    several = one | two | full
    merged = decoder(change=lambda i, name: dense(several, i, name))
    bent = logits(decoder().with_deltas(several))
    assert np.abs(bent - logits(merged)).max() < 1e-5 * np.abs(bent).max()
    packed = decoder(bits=8).with_deltas(several)
    readable = copy.copy(packed)
    readable._described = None
    assert np.abs(logits(packed) - logits(readable)).max() < 2e-4 * np.abs(bent).max()


@pytest.mark.parametrize(
    ("deltas", "says"),
    [
        (Deltas({(2, "q"): (LowRank(drawn(1, 64), drawn(64, 1)),)}), "has 0 to 1"),
        (Deltas({(0, "qkv"): (LowRank(drawn(1, 64), drawn(64, 1)),)}), "no linear map 'qkv' in layer 0"),
        (
            Deltas({(0, "q"): (LowRank(drawn(1, 64), drawn(63, 1)),)}),
            "64 numbers to 63; the map itself",
        ),
        (Deltas(branches={0: (Branch(drawn(2, 32), drawn(32, 2)),)}), "not 64 wide"),
    ],
)
def test_deltas_that_do_not_fit_are_refused(deltas, says):
    with pytest.raises(ValueError, match=says):
        decoder().with_deltas(deltas)
