"""The public face: what comes out, and what a mistake is told."""

import json
import shutil

import numpy as np
import pytest
import torch

from bowstring.engine import ArrowEngine
from bowstring.text.pipeline import TextFrame, TextResult
from bowstring.text.tokenizer import MASK


@pytest.fixture(scope="module")
def engine(folder):
    return ArrowEngine.load(folder)


def test_a_result_says_how_it_was_made(engine):
    result = engine.generate("a story about a fox", max_tokens=24, seed=1)
    assert isinstance(result.text, str) and str(result) == result.text
    assert all(token == MASK for token in result.trajectory[0])
    assert len(result.trajectory) == len(result.seconds) + 1 == result.nfe + 1
    assert result.uncertainty["nll"] > 0 and result.uncertainty["entropy"] > 0
    assert result.settings["seed"] == 1
    json.dumps(result.to_json())


def test_a_stream_ends_with_its_result(engine):
    *frames, result = engine.stream("a fox", max_tokens=16)
    assert all(isinstance(frame, TextFrame) for frame in frames) and isinstance(result, TextResult)
    assert [frame.share for frame in frames] == sorted(frame.share for frame in frames)
    assert result.tokens == engine.generate("a fox", max_tokens=16).tokens


def test_diffuse_is_generate_with_the_names_of_the_field(engine):
    one = engine.diffuse("a fox", "text", num_steps=4, max_tokens=16, seed=2)
    assert one.tokens == engine.generate("a fox", steps=4, max_tokens=16, seed=2).tokens


@pytest.mark.parametrize("mode", ["diffusion", "ar"])
@pytest.mark.parametrize("length", [None, 5])
def test_an_infill_keeps_both_sides_to_the_last_character(engine, mode, length):
    prefix, suffix = "def add(a, b):\n    naïve = ", "\n    return c  # €\n"
    result = engine.infill(prefix, suffix, length, mode)
    assert result.text.startswith(prefix) and result.text.endswith(suffix)


def test_texts_become_unit_vectors(engine):
    one, many = engine.encode("a fox"), engine.encode(["a fox", "a much longer text about bears"])
    assert one.shape == (engine.network.config.width,) and many.shape == (2, len(one))
    np.testing.assert_allclose(many[0], one, atol=1e-5)
    tokens = torch.tensor([engine.tokenizer.encode("a fox")])
    hidden = engine.network.plain(tokens, torch.ones_like(tokens))[0].mean(0).detach().numpy()
    np.testing.assert_allclose(one, hidden / np.linalg.norm(hidden), atol=1e-5)  # of the text's own states


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda e: e.generate(""), ValueError, "empty"),
        (lambda e: e.generate(42), TypeError, "expected a string"),
        (lambda e: e.generate("fox " * 400), ValueError, "Shorten it"),
        (lambda e: e.generate("a fox", mode="gan"), ValueError, "'ar' or 'diffusion'"),
        (lambda e: e.generate("a fox", kind="poem"), ValueError, "'code' or 'text'"),
        (lambda e: e.generate("a fox", stepps=3), TypeError, "stepps"),
        (lambda e: e.diffuse("a fox", "image"), ValueError, "no image head"),
        (lambda e: e.diffuse("a fox", guidance_scale=3.0), ValueError, "guidance_scale"),
        (lambda e: e.diffuse("a fox", memory_guided=True), ValueError, "memory"),
        (lambda e: e.render_avatar("hello", "a.gif"), ValueError, "no a[a-z]+ head"),
        (lambda e: e.infill("x" * 900, "y"), ValueError, "Shorten it"),
        (lambda e: e.infill("a", "b", length=0), ValueError, "length"),
        (lambda e: e.generate("a fox", steps=2.5), ValueError, "steps is 2.5; expected a whole number"),
        (lambda e: e.generate("a fox", seed=None), TypeError, "seed is None"),
        (lambda e: e.generate("a fox", seed=2**64), ValueError, "seed is 18446744073709551616; expected"),
        (lambda e: e.generate("a fox", temperature=float("nan")), ValueError, "temperature is nan"),
        (lambda e: e.generate("a fox", temperature=0), ValueError, "temperature is 0; expected"),
        (lambda e: e.generate("a fox", top_p=True), TypeError, "top_p is True; expected a number"),
        (lambda e: e.generate("a fox", max_tokens="9"), TypeError, "max_tokens is '9'"),
        (lambda e: e.generate("caf\udce9"), ValueError, "no UTF-8"),
        (lambda e: e.infill("a", None), TypeError, "expected a string"),
        (lambda e: e.encode([]), ValueError, "no texts"),
        (lambda e: e.encode(None), TypeError, "the text is None; expected a string or a list of strings"),
        (lambda e: e.encode(b"fox"), TypeError, "the text is of type bytes"),
    ],
)
def test_a_mistake_gets_a_sentence(engine, call, error, says):
    with pytest.raises(error, match=says):
        call(engine)


def test_options_of_any_number_type_are_taken_and_printed_as_json(engine):
    plain = engine.generate("a fox", max_tokens=8, steps=2, temperature=0.5, seed=3)
    for eight, two, three in ((8.0, np.int64(2), torch.tensor(3)), (np.int32(8), torch.tensor(2.0), 3.0)):
        half = np.float32(0.5)
        made = engine.generate("a fox", max_tokens=eight, steps=two, temperature=half, seed=three)
        assert made.tokens == plain.tokens and made.settings == plain.settings
        assert json.loads(json.dumps(made.to_json()))["settings"]["seed"] == 3


def test_the_default_number_of_steps_is_the_models(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "metadata.json"
    data = json.loads(path.read_text())
    data["diffusion_config"]["scheduler"]["num_inference_steps"] = 2
    path.write_text(json.dumps(data))
    engine = ArrowEngine.load(tmp_path / "m")
    of_model, given = (engine.generate("a fox", max_tokens=8, **how) for how in ({}, {"steps": 4}))
    assert (of_model.settings["steps"], given.settings["steps"]) == (2, 4)
