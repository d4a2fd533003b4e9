"""Frames that come in parts are heard as one sound."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from bowstring.speech.postfilter import Postfilter
from bowstring.speech.source_filter import BANDS, HOP, NOISE_BANDS, Frames
from bowstring.speech.stream import KNEE, SoundStream, limited
from bowstring.speech.vocoder import Vocoder


def some_frames(count, seed=0):
    rng = np.random.default_rng(seed)
    envelope = rng.normal(-4, 1, (count, BANDS)).astype(np.float32)
    noise = rng.uniform(0.05, 0.9, (count, NOISE_BANDS)).astype(np.float32)
    pitch = 150 * np.exp(np.cumsum(rng.normal(0, 0.03, count)))
    return Frames(pitch, (np.sin(np.arange(count) / 9) > -0.3).astype(np.float32), envelope, noise)


@pytest.fixture(scope="module")
def filtered():
    torch.manual_seed(0)
    postfilter = Postfilter(width=32)
    with torch.no_grad():
        for parameter in postfilter.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for block in postfilter.blocks:  # what lies far away must count
            block.near.weight.add_(torch.tensor([2.0, 0, 0, 0, 0, 0, 2.0]))
            block.down.weight.mul_(5)
    return Vocoder(postfilter.eval())


@pytest.mark.parametrize("cuts", [(60,), (25, 26, 90), (5, 10, 130), (1,), (149,), ()])
@pytest.mark.parametrize("plain", [True, False])
def test_sound_of_parts_is_the_sound_of_the_whole(filtered, cuts, plain):
    """Half the context, a pulse out of phase or a noise drawn twice breaks this."""
    vocoder, whole = Vocoder() if plain else filtered, some_frames(150)
    stream, edges = SoundStream(vocoder, 7), [0, *cuts, len(whole)]
    parts = [whole[slice(a, b)] for a, b in pairwise(edges)]
    heard = [stream.push(part, last=i + 1 == len(parts)) for i, part in enumerate(parts)]
    expected = vocoder.sound(whole, 7)
    assert sum(map(len, heard)) == len(expected) == 150 * HOP
    np.testing.assert_allclose(np.concatenate(heard), expected, atol=2e-5)


def test_a_stream_remembers_no_more_than_it_needs(filtered):
    stream = SoundStream(filtered)
    for number in range(5):
        stream.push(some_frames(100, number))
        assert len(stream.frames) <= 48


def test_only_peaks_are_bent():
    signal = np.array([0.0, 0.5, -KNEE, 1.2, -3.0], np.float32)
    out = limited(signal)
    np.testing.assert_array_equal(out[:3], signal[:3])
    assert KNEE < out[3] < 1 and -1 <= out[4] < -KNEE
