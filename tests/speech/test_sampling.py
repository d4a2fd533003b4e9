"""SpeechSampling: what is exact about it before anything was learned."""

import numpy as np
import pytest
import torch

from bowstring.core.rng import Rng
from bowstring.nn.config import VOICE, NetworkConfig
from bowstring.nn.heads.speech import DurationFlow, SpeechHead
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.speech.g2p import Word
from bowstring.speech.sampling import SpeechSampling, predict_durations, sample_speech, sampled_lengthening
from bowstring.train.speech.flow import timing_loss


@pytest.mark.parametrize("steps", [2, 8])
def test_an_untrained_flow_scales_with_the_temperature(steps):
    """Its denoiser is linear, so speech is the noise's share of what a whole noise becomes."""
    config = NetworkConfig(width=64, depth=1, ffn_hidden=128, rank=16)
    network, voice = UnifiedScoreNetwork(config, ["text", "audio"]).eval(), torch.zeros(1, VOICE)
    utterance = predict_durations(network, [Word("fox", "fˈɑks"), Word(".", ".")], voice, SpeechSampling())

    def said(temperature):
        *_, state = sample_speech(network, utterance, voice, SpeechSampling(steps, temperature=temperature))
        return state.x

    whole = said(1.0)
    assert whole.std() > 0.1
    torch.testing.assert_close(said(0.25), 0.25 * whole)
    assert said(0.0).count_nonzero() == 0


WORDS = [Word("fox", "fˈɑks"), Word("ran", "ɹˈæn"), Word(".", ".")]


def speaking(duration_flow):
    torch.manual_seed(0)
    config = NetworkConfig(width=64, depth=1, ffn_hidden=128, rank=16, duration_flow=duration_flow)
    return UnifiedScoreNetwork(config, ["text", "audio"]).eval(), torch.zeros(1, VOICE)


def test_durations_are_drawn_by_temperature_seed_and_part():
    network, voice = speaking(duration_flow=1)
    torch.nn.init.constant_(network.heads["audio"].duration.out.bias, 2.0)

    def log(temperature, seed=0, number=0):
        how = SpeechSampling(temperature=temperature, seed=seed)
        return np.log(predict_durations(network, WORDS, voice, how, number).durations)

    expected = log(0.0)
    np.testing.assert_array_equal(log(0.0, seed=5, number=2), expected)
    np.testing.assert_array_equal(log(0.7, 1, 2), log(0.7, 1, 2))
    apart = [log(0.5) - expected, log(0.5, seed=1) - expected, log(0.5, number=1) - expected]
    assert min(np.abs(a - b).max() for i, a in enumerate(apart) for b in apart[:i]) > 0.05
    np.testing.assert_allclose(log(0.25) - expected, apart[0] / 2, atol=1e-5)  # an untrained flow is linear


def test_a_model_without_a_flow_of_durations_gives_those_expected():
    network, voice = speaking(duration_flow=0)
    calm, hot = (
        predict_durations(network, WORDS, voice, SpeechSampling(temperature=temperature)).durations
        for temperature in (0.0, 1.0)
    )
    np.testing.assert_array_equal(calm, hot)


def test_drawn_durations_lie_within_a_factor_e_of_the_expected_ones():
    flow, sounds = DurationFlow(), torch.ones(1, 64, dtype=torch.long)
    for end in (1, -1):
        torch.nn.init.constant_(flow.network.out.bias, 40.0 * end)
        made = sampled_lengthening(flow, sounds, torch.zeros(1, VOICE), 1.0, Rng.of(0, 1))
        assert (made == end).all()


def test_rows_of_other_lengths_change_no_durations():
    torch.manual_seed(2)
    head, voice = SpeechHead(4, 64, draws=True), torch.randn(2, VOICE)
    torch.nn.init.normal_(head.duration_flow.network.out.weight)
    sounds, x_t, t = torch.randint(1, 30, (2, 20)), torch.randn(2, 20), torch.tensor([0.4, 0.8])
    valid = torch.arange(20) < torch.tensor([[20], [9]])
    alone = sounds[1:, :9], voice[1:], x_t[1:, :9], t[1:]
    torch.testing.assert_close(head.duration(sounds, voice, valid)[1:, :9], head.duration(*alone[:2]))
    torch.testing.assert_close(
        head.duration_flow(sounds, voice, x_t, t, valid)[1:, :9], head.duration_flow(*alone)
    )


def test_a_flow_of_durations_learns_their_law():
    """Half of the utterances are slow as a whole, and single sounds waver a little: both spreads are learned,
    and so that sounds of one utterance go together.
    """
    torch.manual_seed(0)
    head, rng = SpeechHead(4, 64, draws=True), torch.Generator().manual_seed(1)
    parts = [*head.duration.parameters(), *head.duration_flow.parameters()]
    optimiser = torch.optim.Adam(parts, 4e-3)
    sounds, voice = torch.full((64, 12), 5), torch.zeros(64, VOICE)
    for step in range(250):
        slow = 0.4 * torch.randint(2, (64, 1), generator=rng) - 0.2
        waver = 0.05 * torch.randn(64, 12, generator=rng)
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / 250)
        optimiser.zero_grad()
        timing_loss(head, sounds, 2.0 + slow + waver, voice, rng).backward()
        optimiser.step()
    with torch.no_grad():
        expected = head.duration(sounds[:1], voice[:1])
        many = sounds[:1].expand(200, -1), voice[:1].expand(200, -1)
        drawn = sampled_lengthening(head.duration_flow, *many, 1.0, Rng.of(0, 200))[:, 2:-2]
    middle = expected[:, 2:-2].mean() + drawn.mean(1)
    assert middle.mean().item() == pytest.approx(2.0, abs=4 * 0.2 / 200**0.5)
    assert middle.std().item() == pytest.approx(0.2, abs=0.03)
    assert (drawn - drawn.mean(1, keepdim=True)).std().item() == pytest.approx(0.05, abs=0.02)
    assert (abs(middle - 2.0) < 0.1).float().mean() < 0.15  # two kinds, and little between them


def test_temperature_out_of_range():
    with pytest.raises(ValueError, match=r"temperature is 1.5; expected a number from 0 to 1"):
        SpeechSampling(temperature=1.5)
