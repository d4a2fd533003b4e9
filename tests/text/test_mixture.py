"""Several decoders as one: the law is the weighted mean of theirs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bowstring.decode.deltas import Deltas, LowRank
from bowstring.decode.mixture import MixedDecoder, log_softmax
from bowstring.text.decoder import decoder_of
from bowstring.text.native import write
from bowstring.text.sampling import Sampling
from tests.conftest import build_network

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def decoders():
    torch.manual_seed(0)
    network = build_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    base = decoder_of(network.eval(), 128)
    d = base.config.width
    delta = LowRank(*(0.3 * rng.normal(size=shape).astype(np.float32) for shape in ((2, d), (d, 2))))
    return base, base.with_deltas(Deltas({(0, "out"): (delta,)}))


def belief(decoder, tokens):
    return log_softmax(decoder.logits(decoder.forward(np.array(tokens), decoder.cache())))


def test_probabilities_are_the_mean_of_the_decoders(decoders):
    tokens = [9, 10, 11, 12]
    mixed = belief(MixedDecoder(decoders, [0.3, 0.7]), tokens)
    parts = [np.exp(belief(one, tokens)) for one in decoders]
    np.testing.assert_allclose(np.exp(mixed), 0.3 * parts[0] + 0.7 * parts[1], atol=1e-6)
    np.testing.assert_allclose(np.exp(mixed).sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("weights, alone", [([1.0, 0.0], 0), ([0.0, 1.0], 1)])
def test_all_the_weight_on_one_writes_its_text_and_evaluates_it_alone(decoders, weights, alone):
    how = Sampling("ar", max_tokens=12, temperature=1.2)
    mixed = MixedDecoder(decoders, weights)
    made = [*write(mixed, [4, 40, 5], how, 128, 0)]
    wanted = [*write(decoders[alone], [4, 40, 5], how, 128, 0)]
    assert [one.token for one in made] == [one.token for one in wanted]
    assert len(mixed.decoders) == 1


def test_drafts_do_not_change_what_a_mixture_writes(decoders):
    how = Sampling("ar", max_tokens=24, temperature=1.0)
    mixed = MixedDecoder(decoders, [0.5, 0.5])
    plain = [*write(mixed, [4, 40, 5], how, 128, 1)]
    fast = [*write(mixed, [4, 40, 5], replace(how, mode="auto"), 128, 1)]
    assert [one.token for one in fast] == [one.token for one in plain]


@pytest.mark.parametrize("weights", [[0.5], [0.7, 0.7], [1.5, -0.5]])
def test_weights_that_are_no_shares_are_refused(decoders, weights):
    with pytest.raises(ValueError, match="1 in all"):
        MixedDecoder(decoders, weights)
