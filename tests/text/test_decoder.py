"""Our text stream as a decoder, beside the network that it is."""

import copy

import numpy as np
import pytest
import torch

from bowstring import _native
from bowstring.core.conditioning import Conditioning
from bowstring.decode.decoder import PackedMatrix, linear
from bowstring.text.decoder import decoder_of
from bowstring.text.modulated import EightBits
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from bowstring.weights.quant.rounded import restored, rounded
from tests.conftest import build_network

TOKENS = np.array([2, 40, 51, 62, 4, 70, 81, 92, 33, 44])


@pytest.fixture(params=[0, 4, 2])
def network(request):
    torch.manual_seed(0)
    made = build_network()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        made.trunk.modulation.out.weight.normal_(std=0.05)
    if request.param:
        state = made.state_dict()
        packed(made, lambda name, shape: ArrowQuant.quantise(state[name].numpy(), request.param))
    return made.eval()


@torch.no_grad()
def theirs(network, tokens):
    """Logits of the network read causally."""
    ids = torch.from_numpy(tokens)[None]
    valid, position = torch.ones_like(ids, dtype=torch.bool), torch.arange(ids.shape[1])[None].float()
    hidden, cache = network.prefill(ids, position, valid)
    return network.heads["text"](hidden)[0].numpy(), cache


def test_causal_logits_are_the_networks(network):
    decoder, (wanted, _) = decoder_of(network, 128), theirs(network, TOKENS)
    scale = np.abs(wanted).max()
    tight = 2e-2 if isinstance(decoder.layers[0].q, PackedMatrix) else 1e-4
    for cuts in ([], [4], range(1, len(TOKENS))):
        cache = decoder.cache()
        found = [decoder.logits(decoder.forward(part, cache)) for part in np.split(TOKENS, cuts)]
        assert np.abs(np.concatenate(found) - wanted).max() < tight * scale


@pytest.mark.skipif(_native.library() is None, reason="without the library there is nothing to compare")
@pytest.mark.parametrize("masked", [False, True])
def test_a_cache_that_grows_loses_nothing(network, masked, monkeypatch):
    """Read in pieces, across tiles of keys and past the first room: by the kernels to the bit whatever the
    pieces are, and as numpy reads it.
    """
    decoder = decoder_of(network, 400)
    tokens = np.random.default_rng(0).integers(2, 90, 333)
    mask = np.tri(13, dtype=bool) ^ np.eye(13, k=1, dtype=bool) if masked else None

    def read(cuts):
        cache = decoder.cache()
        for part in np.split(tokens[:320], cuts):
            decoder.forward(part, cache)
        return decoder.forward(tokens[320:], cache, mask)

    whole, pieces = read([]), read([1, 60, 70, 129, 255, 257])
    packed = isinstance(decoder.layers[0].q, PackedMatrix)
    assert (pieces == whole).all() if packed else np.allclose(pieces, whole, atol=1e-4)
    monkeypatch.setattr(decoder, "_described", None)
    assert np.abs(read([100, 250]) - whole).max() < (2e-2 if packed else 1e-4) * np.abs(whole).max()


def test_a_copy_of_a_cache_goes_its_own_way(network):
    """Also of one that was used, and grown twice without a call between."""
    decoder = decoder_of(network, 600)
    cache = decoder.cache()
    decoder.forward(TOKENS, cache)
    other = copy.deepcopy(cache)
    other.reserve(300)
    other.reserve(600)
    assert (decoder.forward(TOKENS[::-1], other) == decoder.forward(TOKENS[::-1], cache)).all()
    decoder.forward(TOKENS, other)
    assert (other.length, cache.length) == (30, 20)


def test_a_noisy_block_sees_the_cache_and_itself(network):
    """A finished block goes into the cache and the next is evaluated in one pass, as in two."""
    decoder = decoder_of(network, 128)
    _, past = theirs(network, TOKENS)
    noisy = torch.tensor([[1, 60, 1, 61]])
    position = torch.arange(10.0, 14.0)[None]
    with torch.no_grad():
        hidden = network.block_hidden(noisy, position, Conditioning(cache=past))
        wanted = network.heads["text"](hidden)[0].numpy()
    cache = decoder.cache()
    decoder.forward(TOKENS[:6], cache)
    mask = np.tri(8, dtype=bool)
    mask[4:, 4:] = True
    both = decoder.logits(decoder.forward(np.concatenate([TOKENS[6:], noisy[0].numpy()]), cache, mask))
    tight = 2e-2 if isinstance(decoder.layers[0].q, PackedMatrix) else 1e-4
    assert np.abs(both[4:] - wanted).max() < tight * np.abs(wanted).max()


@pytest.mark.skipif(_native.library() is None, reason="without the library there is FP32 alone")
@pytest.mark.parametrize("n", [1, 7, 8, 100])
@pytest.mark.parametrize("m", [1, 2, 3, 8])
def test_products_from_8_bits_are_those_of_the_matrix_they_stand_for(n, m):
    """To the bit, for every tail; what was never rounded stays FP32."""
    rng = np.random.default_rng(n + m)
    plain, x, bias = (rng.normal(size=size).astype(np.float32) for size in ((n, 96), (m, 96), (n,)))
    matrix = restored(rounded(plain), plain.shape)
    few = EightBits.of(matrix)
    assert few is not None and np.array_equal(few.dense(), matrix)
    assert few is not None and few.codes.dtype == np.int8
    assert np.array_equal(few.linear(x, bias), linear(x, matrix, bias))
    assert EightBits.of(plain) is None
