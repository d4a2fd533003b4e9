"""The speaker encoder hears who speaks, at any length, and a head without it hears what it did before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bowstring.nn.config import SPEAKER, VOICE, NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.speech.source_filter import BANDS, NOISE_BANDS, Frames
from bowstring.speech.speaker import HEARD, SpeakerEncoder, load_speaker, numbers_of_voice, save_speaker
from bowstring.train.schedule import Run
from bowstring.train.speech.flow import TrainingUtterance
from bowstring.train.speech.speaker import contrast, fit_speaker, heard_together, recognised

VOICED = 10  # bands that tell a voice


def spoken(speaker, seed, count=90):
    """A voice is a shape of the lowest bands; the others are the room, another one each time; what it says is
    noise.
    """
    own, rng = np.random.default_rng(100 + speaker), np.random.default_rng(seed)
    shape = np.concatenate([own.normal(size=VOICED), 1.5 * rng.normal(size=BANDS - VOICED)])
    envelope = (shape + 0.5 * rng.normal(size=(count, BANDS)) - 4).astype(np.float32)
    moving = 150 * np.exp(0.05 * rng.normal(size=count)).astype(np.float32)
    noise = np.full((count, NOISE_BANDS), 0.3, np.float32)
    frames = Frames(moving, np.ones(count, np.float32), envelope, noise)
    return TrainingUtterance(np.array([1, 2]), np.array([45.0, count - 45.0]), frames, speaker)


def test_what_pads_a_recording_is_not_heard():
    torch.manual_seed(0)
    encoder = SpeakerEncoder().eval()
    some = [spoken(1, 0, 61).frames, spoken(2, 1, 90).frames]
    together = encoder(*heard_together(some))
    alone = torch.cat([encoder(*heard_together([one])) for one in some])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.square().mean(1), torch.ones(2))


def test_an_encoder_learns_to_tell_voices_that_it_never_heard(tmp_path):
    learned = [spoken(speaker, 9 * speaker + i) for speaker in range(60) for i in range(4)]
    hidden = [spoken(150 + speaker, 900 + 3 * speaker + i) for speaker in range(8) for i in range(3)]
    steps = [(loss, encoder) for _, loss, encoder in fit_speaker(learned, Run(tmp_path), steps=40)]
    assert steps[-1][0] < 0.7 * steps[0][0]
    torch.manual_seed(0)
    before, after = recognised(SpeakerEncoder().eval(), hidden), recognised(steps[-1][1].eval(), hidden)
    assert before < 0.5 < 0.8 < after  # by chance 0.09


def test_another_piece_of_the_same_voice_counts_as_neither():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 8, generator=rng)
    nobody = torch.eye(4, dtype=torch.bool)
    twins = nobody.clone()
    twins[0, 1] = twins[1, 0] = True
    b[1] = b[0]
    assert contrast(a, b, twins) < contrast(a, b, nobody)


def test_a_voice_is_statistics_and_what_the_encoder_says(tmp_path):
    torch.manual_seed(0)
    save_speaker(tmp_path / "speaker.parquet", SpeakerEncoder())
    encoder, frames = load_speaker(tmp_path / "speaker.parquet"), spoken(3, 5).frames
    numbers = numbers_of_voice(frames, encoder)
    assert numbers.shape == (VOICE + SPEAKER,) and HEARD == BANDS + NOISE_BANDS + 2
    np.testing.assert_array_equal(numbers[:VOICE], numbers_of_voice(frames, None))
    assert load_speaker(tmp_path / "none.parquet") is None


def test_a_head_listens_to_the_numbers_that_its_config_names():
    small = NetworkConfig(width=64, depth=1, ffn_hidden=64, vocab=64, rank=8)
    ids, progress = torch.ones(1, 2, 4, dtype=torch.long), torch.zeros(1, 2, 4, 2)
    voice = torch.randn(1, VOICE + SPEAKER, generator=torch.Generator().manual_seed(0))
    other = voice.clone()
    other[:, VOICE:] = 0
    for config, listens in ((small, False), (replace(small, speaker=SPEAKER), True)):
        head = UnifiedScoreNetwork(config, ["audio"]).heads["audio"]
        same = torch.equal(head.condition(ids, progress, voice), head.condition(ids, progress, other))
        assert same != listens
        torch.testing.assert_close(head.duration(ids[:, 0], voice), head.duration(ids[:, 0], other))
    with pytest.raises(ValueError, match="speaker is 5; expected 0 or 64"):
        replace(small, speaker=5)
