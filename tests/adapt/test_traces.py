"""What texts and pictures say about themselves while they are made."""

import json

import numpy as np
import pytest
import torch

from bowstring.adapt.calibrate import Asked, calibrate_images, calibrate_text
from bowstring.core.loop import last
from bowstring.image.doubt import ImageTrace, of_picture, of_places
from bowstring.image.sampling import ImageSampling, caption_tokens, sample_images
from bowstring.text.pipeline import TextPipeline
from bowstring.text.request import TextRequest
from bowstring.text.sampling import Sampling
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from tests.conftest import build_network

PROMPTS = [f"a story about a {name}" for name in ("fox", "cat", "dog", "hen", "cow", "owl", "bear", "bee")]


@pytest.fixture(scope="module")
def pipeline(network, codec):
    """A packed one, whose default ways are written natively."""
    state, made = network.state_dict(), build_network()
    made.load_state_dict(state)
    small = packed(made.eval(), lambda name, shape: ArrowQuant.quantise(state[name].numpy(), 4))
    return TextPipeline(small, codec, 128)


def written(pipeline, prompt, mode, **options):
    *_, made = pipeline.stream(TextRequest(prompt, mode, max_tokens=16, seed=3, **options), 4)
    return made


@pytest.mark.parametrize("mode", ["ar", "diffusion"])
def test_the_native_loop_notes_what_the_readable_one_does(pipeline, mode):
    """Entropy, surprisal, what earlier beliefs made of a token, and the reading of the prompt."""
    wanted = pipeline.together(PROMPTS[:1], "text", Sampling(mode, 16, seed=3))[0]
    made = written(pipeline, PROMPTS[0], mode)
    assert made.tokens == wanted.tokens
    for name in ("surprisal", "entropy", "early", "reading"):
        ours, theirs = getattr(made.trace, name), getattr(wanted.trace, name)
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)
    assert np.isfinite(made.trace.early).any() == (mode == "diffusion")


def test_a_calibrated_model_tells_of_every_text_how_unsure_it_is(pipeline):
    """Whatever was drafted, "auto" says the same as "ar", its uncertainty too."""
    calibrator = calibrate_text(pipeline, {"text": Asked.halves(PROMPTS * 2)})
    known = TextPipeline(pipeline.network, pipeline.tokenizer, 128, calibrator=calibrator)
    for mode in ("ar", "diffusion"):
        made = written(known, PROMPTS[0], mode)
        assert made.uncertainty >= 0 and len(made.uncertainties) == len(made.tokens)
        assert json.loads(json.dumps(made.to_json()))["uncertainty"] == made.uncertainty
        assert f"uncertainty {made.uncertainty:.2f}" in made.facts()
    plain, drafts = (written(known, PROMPTS[1], mode) for mode in ("ar", "auto"))
    assert (plain, plain.uncertainty, plain.doubtful) == (drafts, drafts.uncertainty, drafts.doubtful)
    assert written(pipeline, PROMPTS[0], "ar").uncertainty is None


def test_notes_leave_a_picture_as_it_is_and_say_how_unsure_it_is(codec):
    network = build_network(modalities=["text", "image"])
    captions = [(prompt, "noto") for prompt in PROMPTS]
    found = calibrate_images(network, codec, captions * 5, 2)
    known = [caption_tokens(codec, *captions[0])]
    traces = ImageTrace(), ImageTrace()
    for trace, scale in zip(traces, (2.0, 1.0), strict=True):
        how = ImageSampling(2, scale, seed=1)
        noted = last(sample_images(network, known, how, trace=trace))
        assert torch.equal(noted.x, last(sample_images(network, known, how)).x)
        assert of_picture(trace, 0, found) >= 0 and of_places(trace, 0, found).shape == (8, 8)
    assert len(traces[0].gaps) == 2 and not traces[1].gaps
