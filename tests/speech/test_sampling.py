"""SpeechSampling: what is exact about it before anything was learned."""

import pytest
import torch

from bowstring.nn.config import VOICE, NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.speech.g2p import Word
from bowstring.speech.sampling import SpeechSampling, predict_durations, sample_speech


@pytest.mark.parametrize("steps", [2, 8])
def test_an_untrained_flow_scales_with_the_temperature(steps):
    """Its denoiser is linear, so speech is the noise's share of what a whole noise becomes."""
    config = NetworkConfig(width=64, depth=1, ffn_hidden=128, rank=16)
    network, voice = UnifiedScoreNetwork(config, ["text", "audio"]).eval(), torch.zeros(1, VOICE)
    utterance = predict_durations(network, [Word("fox", "fˈɑks"), Word(".", ".")], voice, 1.0)

    def said(temperature):
        *_, state = sample_speech(network, utterance, voice, SpeechSampling(steps, temperature=temperature))
        return state.x

    whole = said(1.0)
    assert whole.std() > 0.1
    torch.testing.assert_close(said(0.25), 0.25 * whole)
    assert said(0.0).count_nonzero() == 0


def test_temperature_out_of_range():
    with pytest.raises(ValueError, match=r"temperature is 1.5; expected a number from 0 to 1"):
        SpeechSampling(temperature=1.5)
