"""Controls: exact lessons, no template on both sides, a training that goes on where it was stopped."""

import random

import numpy as np
import pytest
import torch

from bowstring.core.cancel import Cancelled
from bowstring.grammar.checking import fits
from bowstring.text.decoder import decoder_of, deltas_of
from bowstring.train.adapt import kept
from bowstring.train.adapt.body import Body
from bowstring.train.adapt.control import adapter_of, bends_of, fresh
from bowstring.train.adapt.fit import FitOptions, Row, fit, lora
from bowstring.train.data.control import (
    CALL_SCHEMA,
    SUMS,
    TOOLS,
    answered,
    question,
    request,
    structured,
    templates,
)
from bowstring.weights.adapters import load_adapter, save_adapter
from tests.conftest import build_network


@pytest.mark.parametrize("test", [False, True])
def test_every_answer_is_exact(test):
    """Each line of a sum is true, each call fits the schema, each value is said in the request."""
    rng = random.Random(1)
    for _ in range(300):
        sum_, call = question(rng, test=test), request(rng, test=test)
        assert structured(sum_.answer) and answered(sum_.answer) == sum_.number >= 0
        equations = [line.partition(". ")[2] for line in sum_.answer.splitlines() if "=" in line]
        assert all(eval(left) == int(right) for left, _, right in (one.partition("=") for one in equations))
        assert fits(call.answer, "schema", CALL_SCHEMA)
        assert all(str(value) in call.prompt for value in call.call["arguments"].values())


def test_tests_share_no_template_with_lessons():
    for kind in SUMS:
        assert not {*templates(kind, test=True)} & {*templates(kind, test=False)} and templates(
            kind, test=True
        )
    learned = {request(random.Random(i)).prompt for i in range(2000)}
    assert not any(request(random.Random(i), test=True).prompt in learned for i in range(500))
    assert len(TOOLS) == 6


@pytest.fixture(scope="module")
def body():
    torch.manual_seed(0)
    return Body(decoder_of(build_network().eval(), 64))


ROWS = [Row((2, i, 4), (i, i + 1, 3)) for i in range(8, 40)]


def test_a_stopped_training_goes_on_to_the_bit(body, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "EVERY", 0.0)
    options = FitOptions(rate=1e-2, steps=9, rows=4, masks=0.3, seed=1)
    run = lambda **more: fit(body, lora(body, 2, 0), ROWS, options, (), 1, **more)[0].parameters()
    whole = run()
    asked = iter([False] * 4 + [True])
    with pytest.raises(Cancelled):
        run(folder=tmp_path, cancel=lambda: next(asked))
    again = run(folder=tmp_path)
    assert all(torch.equal(one, two) for one, two in zip(again, whole, strict=True))
    with pytest.raises(Cancelled):
        run(cancel=lambda: True)


def test_a_control_comes_back_from_its_file_and_bends_the_decoder(tmp_path):
    network = build_network().eval()
    one = Body(decoder_of(network, 64))
    bends = fresh(one, 0, 16, 2)
    for part in bends.parameters():
        part.add_(0.05 * torch.randn(part.shape, generator=torch.Generator().manual_seed(1)))
    said = {"kind": "diffusion", "base": "sha256:" + "5" * 64}
    save_adapter(tmp_path, adapter_of(bends), **said, domain="x", ending="parquet", numbers="F32")
    found, card = load_adapter(tmp_path, network.trunk, **said)
    assert card.method == "mixed" and card.alpha == 4.0
    for mine, theirs in zip(bends.parameters(), bends_of(found).parameters(), strict=True):
        assert torch.equal(mine, theirs)
    tokens = np.array([2, 40, 51, 4, 62])
    logits = [
        decoder.logits(decoder.forward(tokens, decoder.cache()))
        for decoder in (
            decoder_of(network, 64).with_deltas(bends.deltas()),
            decoder_of(network, 64).with_deltas(deltas_of(found.conditioning())),
        )
    ]
    assert np.abs(logits[0] - logits[1]).max() < 1e-5


def test_a_control_is_below_a_tenth_of_its_base(body):
    with pytest.raises(ValueError, match="expected less than 10%"):
        fresh(body, 0, 128, 16)


@pytest.mark.parametrize("name", ["structure", "tools"])
def test_the_controls_that_ship_belong_to_the_default_model(name):
    from bowstring.engine import ArrowEngine

    engine = ArrowEngine.load()
    assert engine.load_adapter(name, weight=0) == name
    adapter, card = engine.adapters.loaded[name]
    numbers = sum(one.numel() for one in adapter.parameters())
    assert numbers < 0.1 * Body(decoder_of(engine.network, 256)).parameters()
    assert card.domain == name and card.gain > 0.9
