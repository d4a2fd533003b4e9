"""Energies of texts in the engine: laws that are known, tries that are told."""

import copy
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from bowstring.adapt.router import with_decoder
from bowstring.core.conditioning import NOTHING
from bowstring.decode.generate import prefill
from bowstring.decode.tries import tried
from bowstring.energy.resampling import weights
from bowstring.energy.steering import Steering
from bowstring.engine import ArrowEngine
from bowstring.text.energies import Banned, Length, Wanted
from bowstring.text.native import write
from bowstring.text.sampling import Sampling
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from tests.conftest import build_network

ASKED = {"max_tokens": 12, "mode": "ar", "temperature": 1.0, "top_p": 1.0}


@pytest.fixture(scope="module")
def small(network, codec, folder):
    """A packed model, whose default ways are native."""
    state, made = network.state_dict(), build_network()
    made.load_state_dict(state)
    own = packed(made.eval(), lambda name, shape: ArrowQuant.quantise(state[name].numpy(), 4))
    return ArrowEngine(own, codec, ArrowEngine.load(folder).metadata)


def test_an_energy_of_tokens_is_an_exact_tilt_of_every_belief(small):
    """Probabilities of the drawn tokens, natively and by the readable loop, against a softmax by hand."""
    pipeline, rng = small.text_pipeline, np.random.default_rng(0)
    tilt = rng.normal(size=512).astype(np.float32) * 2
    tilt[40:90] = np.inf
    known = pipeline.prompt("a fox", "text")
    plain, tilted = pipeline.decoder, pipeline.tilted(tilt).decoder
    logits = plain.logits(prefill(plain, known, plain.cache()))[0]
    np.testing.assert_array_equal(tilted.logits(prefill(tilted, known, tilted.cache()))[0], logits - tilt)
    made = next(write(tilted, known, Sampling("ar", 4, seed=5), 128, 0))
    law = np.where(np.isin(np.arange(512), [0, 1, 2, 3, 4, 6, 7]), -np.inf, logits - tilt).astype(np.float64)
    law = np.exp(law - law.max())
    assert made.probability == pytest.approx(law[made.token] / law.sum(), rel=1e-4)
    how = Sampling("diffusion", 16, seed=2)
    readable = pipeline.tilted(tilt).together(["a fox"], "text", how)[0]
    native = [one.token for one in write(tilted, known, how, 128, 0)]
    assert native[: len(readable.tokens)] == list(readable.tokens)
    assert not set(native) & set(range(40, 90))


def test_whole_texts_are_taken_in_proportion_to_their_weights():
    """Three things the model draws at random: the law of what is taken, by enumeration of its numbers."""
    energy = {"a": 0.0, "b": 1.0, "c": math.inf}
    drawn = [["a", "b", "c", "b"][i % 4] for i in range(4)]
    counts = dict.fromkeys(energy, 0)
    for seed in range(4000):
        ((made, _),) = tried(
            lambda *_: drawn, Steering([(energy.get, 1.0)], candidates=4), "resampling", seed
        )
        counts[made] += 1
    wanted = weights([energy[one] for one in drawn])
    for name in energy:
        p = sum(w for w, one in zip(wanted, drawn, strict=True) if one == name)
        assert counts[name] / 4000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 4000) + 1e-12)


def test_what_is_not_valid_is_made_again_with_weights_twice_as_strong():
    asked = []

    def draw(strength, seed, count):
        asked.append((strength, seed, count))
        return [len(asked)] * count

    steering = Steering([(float, 2.0)], valid=lambda made: made == 3, retries=5, candidates=2)
    made = tried(draw, steering, "metropolis", 7)
    assert [one.strength for _, one in made] == [1, 2, 4] and [one.valid for _, one in made] == [
        False,
        False,
        True,
    ]
    assert [one.energy for _, one in made] == [2.0, 8.0, 24.0] and {count for *_, count in asked} == {2}
    assert len({seed for _, seed, _ in asked}) == 3


def test_the_engine_obeys_words_lengths_and_functions(small):
    wanted = Steering([(Length(4, 2), 1.0)]).energy
    plain = small.generate("a fox", seed=1, **ASKED)
    short = [small.generate("a fox", energies=[(Length(2, 1), 3.0)], seed=s, **ASKED) for s in range(4)]
    free = [small.generate("a fox", seed=s, **ASKED) for s in range(4)]
    assert sum(map(wanted, short)) != sum(map(wanted, free))
    length = Length(2, 1)
    assert sum(map(length, short)) < sum(map(length, free))
    letter = next(mark for mark in plain.text if mark.isalpha())
    made = small.generate(
        "a fox", constraints=[lambda t: letter not in t], retries=8, seed=1, candidates=8, **ASKED
    )
    assert letter not in made and made.tries[-1].valid and not made.notes
    again = small.generate(
        "a fox", constraints=[lambda t: letter not in t], retries=8, seed=1, candidates=8, **ASKED
    )
    assert (again, len(again.tries)) == (made, len(made.tries))
    json.dumps(made.to_json())


def test_the_engine_bars_tokens_of_infinite_energy_for_this_call_alone(small):
    """Natively and by diffusion; the same call without energies is what it was."""
    for mode in ("ar", "diffusion"):
        asked = ASKED | {"mode": mode, "seed": 3}
        plain = small.generate("a fox", **asked)
        barred = np.zeros(512)
        barred[list(plain.tokens)] = np.inf
        made = small.generate("a fox", energies=[(barred, 1.0)], **asked)
        assert made.tokens and not set(made.tokens) & set(plain.tokens)
        assert small.generate("a fox", **asked).tokens == plain.tokens


def test_what_never_will_do_is_told(small):
    made = small.generate("a fox", valid=lambda text: False, retries=2, seed=1, **ASKED)
    assert len(made.tries) == 3 and "none of 3 tries was valid" in made.notes[0]
    assert made.to_json()["tries"][0]["valid"] is False
    pieces = [*small.stream_text("a fox", constraints=[lambda text: True], seed=1, **ASKED)]
    assert "".join(pieces) == small.generate("a fox", constraints=[lambda text: True], seed=1, **ASKED).text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"energies": [Length(3)]}, "pairs"),
        ({"energies": [(np.zeros(3), 1.0)]}, r"expected \(512,\)"),
        ({"energies": [(Length(3), float("nan"))]}, "weight 0"),
        ({"constraints": ["fox"]}, "called"),
        ({"valid": len, "retries": 99}, "retries"),
        ({"valid": len, "choose": "luck"}, "choose"),
        ({"valid": len, "candidates": 0}, "candidates"),
    ],
)
def test_mistakes_are_told(small, options, error):
    with pytest.raises((TypeError, ValueError), match=error):
        small.generate("a fox", **options)


def test_energies_of_words():
    text = "The fox met the Fox's mother."
    assert Wanted(("fox", "owl"))(text) == 1 and Banned(("THE", "mother"))(text) == 3
    assert Length(6)(text) == 0 and Length(8, 2)(text) == 0.5


def test_another_decoder_of_the_vocabulary_writes_for_the_engine(small):
    """One that bars what the model would say."""
    said = small.generate("a fox", **ASKED)
    barred = np.where(np.isin(np.arange(512), said.tokens), np.inf, 0).astype(np.float32)
    other = with_decoder(small, small.text_pipeline.decoder.with_tilt(barred)).generate("a fox", **ASKED)
    assert not set(other.tokens) & set(said.tokens) and small.generate("a fox", **ASKED) == said


def test_no_adapters_is_none_where_texts_are_tried(small, monkeypatch):
    bend = SimpleNamespace(conditioning=lambda weight: NOTHING)
    monkeypatch.setattr(small, "adapters", copy.copy(small.adapters))
    small.adapters.add("one", bend, None, 1.0)
    asked = ASKED | {"valid": lambda made: True}
    assert small.generate("a fox", **asked).settings["adapters"] == {"one": 1.0}
    assert "adapters" not in small.generate("a fox", adapters={}, **asked).settings


def test_a_try_tells_the_energy_of_its_tokens(small):
    tilt, asked = (
        np.linspace(-1, 1, 512, dtype=np.float32),
        ASKED | {"valid": lambda text: False, "retries": 1},
    )
    made = small.generate("a fox", energies=[(tilt, 0.5), (len, 0.1)], **asked)
    for one in made.tries:
        tokens = 0.5 * tilt[list(one.made.tokens)].sum()
        assert one.energy == pytest.approx(one.strength * (tokens + 0.1 * len(one.made)), rel=1e-5)


@pytest.mark.parametrize(
    "energies", [[math.nan], [math.nan, math.nan], [math.inf, math.nan], [0.0, math.nan]]
)
def test_an_energy_that_is_no_number_is_refused(energies):
    draw = lambda *_: [*range(len(energies))]
    steering = Steering([(lambda i: energies[i], 1.0)], candidates=len(energies))
    for how in ("resampling", "metropolis"):
        with pytest.raises(ValueError, match="an energy is NaN"):
            tried(draw, steering, how, 0)
