"""The hash: xxHash's own library, the kernels and the readable reference agree; damage is seen."""

import numpy as np
import pytest
import xxhash

from bowstring import _native
from bowstring.weights.format.hash import digest, digests, reference

DATA = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
LENGTHS = [*range(241, 1400), 2047, 2048, 2049, 3071, 3072, 3073, 4999]


def test_the_reference_is_xxh3_for_every_length_of_a_tail():
    assert all(reference(DATA[:n]) == xxhash.xxh3_128_hexdigest(DATA[:n]) for n in LENGTHS)


@pytest.mark.skipif(_native._find()[0] is None, reason="no native library")
@pytest.mark.parametrize("isa", ["portable", "avx512vnni"])
def test_the_kernels_are_the_reference_for_every_length(isa):
    used = _native.isa()
    try:
        _native.choose(isa)
    except _native.NativeError:
        pytest.skip("not on this machine")
    try:
        assert all(digest(DATA[:n]) == xxhash.xxh3_128_hexdigest(DATA[:n]) for n in LENGTHS)
        assert all(digest(DATA[:n]) == reference(DATA[:n]) for n in range(241))
    finally:
        _native.choose(used)


@pytest.mark.parametrize("size", [1, 8, 64, 240, 241, 1024, 1100])
def test_every_flipped_bit_is_seen(size):
    damaged = np.tile(np.frombuffer(DATA[:size], np.uint8), (8 * size, 1))
    bit = np.arange(8 * size)
    damaged[bit, bit // 8] ^= (1 << bit % 8).astype(np.uint8)
    found = digests(damaged.tobytes(), [(i * size, size) for i in range(8 * size)])
    assert len({*found, digest(DATA[:size])}) == 8 * size + 1


def test_lengths_of_zeros_are_told_apart():
    assert len({digest(bytes(n)) for n in range(600)}) == 600


def test_parts_have_the_digests_of_their_bytes():
    places = [(0, 0), (7, 300), (3, 2000), (5000, 0), (0, 5000)]
    assert digests(DATA, places) == [reference(DATA[a : a + n]) for a, n in places]


@pytest.mark.skipif(_native._find()[0] is None, reason="no native library")
def test_a_part_outside_the_data_is_refused():
    for place in ((0, 5001), (5001, 0), (4999, 2), (2**64 - 1, 2)):
        with pytest.raises(_native.NativeError, match="size"):
            digests(DATA, [place])
