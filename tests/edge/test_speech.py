"""Every part of speech in numpy is its twin of torch."""

import numpy as np
import pytest
import torch

from bowstring.core.loop import last
from bowstring.edge.speech import EdgeSpeech
from bowstring.engine import ArrowEngine
from bowstring.speech.sampling import predict_durations, sample_speech, speech_condition, speech_denoiser
from bowstring.speech.stream import SoundStream
from bowstring.speech.utterance import SpeechSampling, timed
from bowstring.weights.shipped import G2P_FOLDER, model_folder


@pytest.fixture(scope="module")
def both():
    """The engine's pipeline, ours, a voice and what is said."""
    pipeline = ArrowEngine.load("multimodal").speech_pipeline
    ours, voice = EdgeSpeech(model_folder("multimodal"), G2P_FOLDER), torch.from_numpy(pipeline.voice)[None]
    words = pipeline.g2p.sentence("My boat is blue.").words
    return pipeline, ours, voice, predict_durations(pipeline.network, words, voice, SpeechSampling())


def test_durations_and_conditions_are_the_same(both):
    pipeline, ours, voice, utterance = both
    again = timed(utterance.words, ours.head.durations, 1.0)
    np.testing.assert_allclose(again.durations, utterance.durations, rtol=1e-5)
    condition = speech_condition(pipeline.network, utterance, voice)[0].numpy()
    np.testing.assert_allclose(ours.head.condition(utterance), condition, atol=1e-6)


@pytest.mark.parametrize("step_size", [0.0, 0.25])
@pytest.mark.parametrize("t", [1.0, 0.4])
def test_beliefs_are_the_same(both, t, step_size):
    """But for roundings of the packed trunk that fall to the other side: 2 % of a typical number."""
    pipeline, ours, voice, utterance = both
    x = torch.randn(1, utterance.tokens, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = speech_denoiser(pipeline.network, utterance, voice, step_size)(x, torch.tensor([t]))[
            0
        ].numpy()
    made = ours.head.denoised(x[0].numpy(), t, step_size, ours.head.condition(utterance))
    assert np.square(made - theirs).mean() ** 0.5 < 0.02 * np.square(theirs).mean() ** 0.5


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_tokens_are_the_same_by_jumps_and_by_many_steps(both, steps):
    pipeline, ours, voice, utterance = both
    theirs = last(sample_speech(pipeline.network, utterance, voice, SpeechSampling(steps))).x[0].numpy()
    made = ours.head.sampled(utterance, steps)
    assert np.square(made - theirs).mean() ** 0.5 < 0.03 * np.square(theirs).mean() ** 0.5


def test_frames_sound_the_same(both):
    pipeline, ours, *_, utterance = both
    frames = ours.frames(utterance, 2)
    theirs = pipeline.vocoder.sound(frames, 3)
    made = SoundStream(ours.vocoder, 3).push(frames, last=True)
    np.testing.assert_allclose(made, theirs, atol=1e-5)
