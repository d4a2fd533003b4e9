"""What texts and pictures say about themselves while they are made."""

import json

import numpy as np
import pytest
import torch

from bowstring.adapt.calibrate import Asked, calibrate_images, calibrate_speech, calibrate_text, said
from bowstring.adapt.uncertainty import UncertaintyEstimator
from bowstring.core.calibration import Calibrator, Gauge, Scale
from bowstring.core.loop import last
from bowstring.core.trace import FlowTrace
from bowstring.engine import ArrowEngine
from bowstring.image.doubt import of_picture, of_places
from bowstring.image.sampling import ImageSampling, caption_tokens, sample_images
from bowstring.speech.doubt import changes, gauge_of_parts, tokens_of_words
from bowstring.speech.g2p import Word
from bowstring.speech.pipeline import SpeechPipeline
from bowstring.speech.sampling import sample_speech
from bowstring.speech.utterance import SpeechSampling, Utterance
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
    traces = FlowTrace(), FlowTrace()
    for trace, scale in zip(traces, (2.0, 1.0), strict=True):
        how = ImageSampling(2, scale, seed=1)
        noted = last(sample_images(network, known, how, trace=trace))
        assert torch.equal(noted.x, last(sample_images(network, known, how)).x)
        assert of_picture(trace, 0, found) >= 0 and of_places(trace, 0, found).shape == (8, 8)
    assert len(traces[0].gaps) == 2 and not traces[1].gaps


def test_speech_is_noted_and_left_as_it_is():
    """Two sentences, one of them cut at its commas: every word has its own doubt."""
    pipeline = ArrowEngine.load("multimodal").speech_pipeline
    texts = [f"Here is {prompt}, and it ran away." for prompt in PROMPTS] * 2
    found = calibrate_speech(pipeline, texts, 2)
    (part, trace), *_ = said(pipeline, texts[:1], SpeechSampling(2))
    voice = torch.from_numpy(pipeline.voice)[None]
    alone = last(sample_speech(pipeline.network, part, voice, SpeechSampling(2)))
    assert torch.equal(trace.last[1], alone.x)
    parts = (*(pipeline.network, pipeline.g2p, pipeline.coder, pipeline.voice, pipeline.vocoder),)
    known = SpeechPipeline(*parts, calibrator=found)
    long = ", ".join(["the little red fox ran over the hill and into the dark wood"] * 3)
    *_, made = known.stream(f"{texts[0]} {long}.", sampling=SpeechSampling(2))
    assert len(made.seconds) > 2 and len(made.uncertainties) == len(made.words)
    told = json.loads(json.dumps(made.to_json()))
    assert told["uncertainty"] == made.uncertainty and told["uncertainties"] == [*made.uncertainties]
    assert f"uncertainty {made.uncertainty:.2f}" in str(made)
    for other in (SpeechSampling(3), SpeechSampling(2, 1.25), SpeechSampling(2, temperature=0.5)):
        *_, found_nothing = known.stream(texts[0], sampling=other)
        assert found_nothing.uncertainty is None and not found_nothing.uncertainties
    for few, steps, why in ((texts[:2], 2, "calibrate nothing"), (texts, 1, "says nothing")):
        with pytest.raises(ValueError, match=why):
            calibrate_speech(pipeline, few, steps)


def test_words_doubt_by_the_changes_of_their_own_tokens():
    """A pause, a word of 20 frames from the 8th on, a pause, a word of 4 frames: by hand."""
    sounds = [[0, 8.0, -1], [1, 12.0, 0], [2, 8.0, 0], [0, 12.0, -1], [3, 4.0, 2], [0, 4.0, -1]]
    ids, durations, owners = (np.array(column) for column in zip(*sounds, strict=True))
    words = tuple(Word(text, "x") for text in ("fox", ",", "ran"))
    part = Utterance(words, ids.astype(int), owners.astype(int), durations)
    assert tokens_of_words(part) == [range(1, 4), range(5, 6)]
    trace = FlowTrace(changes=[(0.5, np.exp([[9.0, 1, 2, 3, 9, 4]]))])
    known = Calibrator({"audio 2 change": Gauge({"change": {5: Scale(0.0, 0.5)}}, {5: Scale(1.0, 1.5)})})
    moved, each = changes(trace, part, known, "audio 2")  # calibrated: 1 + the logarithm
    assert moved == pytest.approx([2, 3, 4, 5]) and each == [(3, pytest.approx(3)), (1, pytest.approx(5))]
    few = gauge_of_parts([moved]).signals["change"]  # beginnings stand for shorter parts
    assert [few[count].typical for count in (1, 2, 4)] == pytest.approx([2, 2.5, 3.5])
    assert changes(trace, part, Calibrator(), "audio 2") is None


def test_speech_made_together_doubts_as_it_would_alone():
    """The streams of one pass are what they are alone, and so is what they say about themselves."""
    engine = ArrowEngine.load("multimodal")
    both = engine.converse("a red fox", "The fox ran over the hill.", seed=4)
    spoken = engine.say("The fox ran over the hill.", seed=4)
    assert both.uncertainty == {"audio": spoken.uncertainty}
    assert both.uncertainties == spoken.uncertainties and both.doubtful == spoken.doubtful
    assert UncertaintyEstimator().estimate(both) == spoken.uncertainty
    told = engine.converse("a red fox", picture=False, max_tokens=24, seed=4, steps=2)
    alone = engine.generate("a story about a red fox", max_tokens=24, seed=4)
    assert told.uncertainty == {"text": pytest.approx(alone.uncertainty, abs=2e-3)}
