"""An engine with adapters: the packed base stays as it is, native text is the readable text, swaps undo."""

import numpy as np
import pytest
import torch

from bowstring.core.conditioning import NOTHING
from bowstring.decode.decoder import PackedMatrix
from bowstring.decode.deltas import Branch
from bowstring.nn.adapters import ControlNet, FullRank, LoRA, Several, sizes_of
from bowstring.text.decoder import decoder_of, deltas_of
from bowstring.text.native import write
from bowstring.text.sampling import Sampling, sample_text
from bowstring.text.tokenizer import KINDS, MASK, PAD, SEP
from bowstring.weights.adapters import load_adapter, save_adapter
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import matrices, packed
from tests.conftest import build_network

HEAD = [KINDS["text"], 40, 51, SEP]
RNG = torch.Generator().manual_seed(0)
MAPS = ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down")


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = build_network()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module")
def small(network):
    state, made = network.state_dict(), build_network()
    made.load_state_dict(state)
    return packed(made.eval(), lambda name, shape: ArrowQuant.quantise(state[name].numpy(), 4))


def shaken(adapter, size=0.05):
    for one in adapter.parameters():
        one.add_(size * torch.randn(one.shape, generator=RNG))
    return adapter


def both(trunk):
    lora = shaken(LoRA.fresh(trunk, 3, 6.0, RNG, MAPS))
    return Several((lora, shaken(ControlNet.fresh(trunk, 4, 5, RNG))))


@pytest.mark.parametrize(
    "how",
    [Sampling(mode="ar", max_tokens=24), Sampling(max_tokens=24), Sampling(mode="ar", max_tokens=9, top_k=5)],
)
def test_bent_texts_are_those_of_the_readable_loop(network, how):
    bent = network.bent(both(network.trunk).conditioning())
    *_, state = sample_text(bent, [HEAD], how, 128, numbers=[3])
    wanted = [token for token in state.x[0].tolist() if token not in (PAD, MASK)]
    made = [one.token for one in write(decoder_of(bent, 128), HEAD, how, 128, 3)]
    plain = [one.token for one in write(decoder_of(network, 128), HEAD, how, 128, 3)]
    assert made == wanted != plain


def test_a_packed_base_keeps_its_bits_and_both_native_ways_agree(small):
    """The call of all layers and the decoder, and the merged weights in FP32."""
    adapter = both(small.trunk)
    tokens = torch.tensor([[2, 40, 51, 62, 4, 70]])
    valid, position = torch.ones_like(tokens, dtype=torch.bool), torch.arange(6.0)[None]
    before = {name: one.dequantise().tobytes() for name, one in matrices(small).items()}
    with torch.no_grad():
        plain, _ = small.prefill(tokens, position, valid)
        bent = small.bent(adapter.conditioning())
        hidden, _ = bent.prefill(tokens, position, valid)
        logits = bent.heads["text"](hidden)[0].numpy()
    decoder = decoder_of(bent, 64)
    assert isinstance(decoder.layers[0].q, PackedMatrix)
    found = decoder.logits(decoder.forward(tokens[0].numpy(), decoder.cache()))
    assert np.abs(found - logits).max() < 2e-2 * np.abs(logits).max()
    assert (hidden - plain).abs().max() > 1e-2
    with torch.no_grad():
        assert torch.equal(small.prefill(tokens, position, valid)[0], plain)
    assert {name: one.dequantise().tobytes() for name, one in matrices(small).items()} == before


def test_a_bent_network_is_one_of_merged_weights(network):
    lora = shaken(LoRA.fresh(network.trunk, 3, 6.0, RNG, MAPS))
    full = shaken(FullRank.fresh(network.trunk, [*sizes_of(network.trunk)][:3]), 0.01)
    weighed = lora.conditioning(0.5) | full.conditioning(-1.0)
    merged = build_network()
    state = network.state_dict()
    for name, one in lora.a.items():
        state[f"trunk.{name}.weight"] = state[f"trunk.{name}.weight"] + 0.5 * 2.0 * lora.b[name] @ one
    for name, one in full.weights.items():
        state[f"trunk.{name}.weight"] = state[f"trunk.{name}.weight"] - one
    merged.load_state_dict(state)
    tokens, doc = torch.tensor([[2, 40, 51, 62, 4, 70]]), torch.ones(1, 6)
    with torch.no_grad():
        wanted, found = merged.eval().plain(tokens, doc), network.bent(weighed).plain(tokens, doc)
    assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_zero_adapters_change_no_bit(small):
    fresh = Several((LoRA.fresh(small.trunk, 3, 6.0, RNG), ControlNet.fresh(small.trunk, 4, 5, RNG)))
    silent = (fresh.conditioning(), both(small.trunk).conditioning(weight=0.0))
    for conditioning in silent:
        how = Sampling(mode="ar", max_tokens=16)
        made = [*write(decoder_of(small.bent(conditioning), 128), HEAD, how, 128, 1)]
        assert made == [*write(decoder_of(small, 128), HEAD, how, 128, 1)]


def test_a_control_of_every_token_is_no_decoders(network):
    net = ControlNet.fresh(network.trunk, 4, 5, RNG)
    assert not deltas_of(NOTHING)
    assert deltas_of(net.conditioning(torch.ones(1, 1, 5))).branches[0][0].control.shape == (4,)
    with pytest.raises(ValueError, match="differs from token to token"):
        deltas_of(net.conditioning(torch.ones(1, 3, 5)))


@pytest.mark.parametrize("numbers", ["F32", "F16", "INT4"])
def test_mixed_adapters_come_back(network, tmp_path, numbers):
    adapter = both(network.trunk)
    said = {"kind": "diffusion", "base": "sha256:" + "5" * 64, "domain": "tales"}
    card = save_adapter(tmp_path, adapter, **said, ending="parquet", numbers=numbers)
    again, its = load_adapter(tmp_path, network.trunk, base=said["base"], kind="diffusion")
    assert its == card and card.method == "mixed" and isinstance(again, Several)
    for one, two in zip(adapter.parameters(), again.parameters(), strict=True):
        error = (one - two).norm() / one.norm()
        assert error <= {"F32": 0.0, "F16": 1e-3, "INT4": 0.1}[numbers]


def test_branches_take_four_bits_where_that_loses_nothing():
    rng = np.random.default_rng(0)
    few = rng.integers(-7, 8, (64, 96)).astype(np.float32)
    few[:, ::32], few[:, 1::32] = -8, 7
    down, up = Branch(0.5 * few, rng.normal(size=(96, 64)).astype(np.float32)).packed
    assert (down.bits, up.bits) == (4, 8)
    assert np.array_equal(down.rows(np.arange(64)), 0.5 * few)
