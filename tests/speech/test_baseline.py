"""What a token is expected to be: the features say where things are, and a linear law is found again."""

import numpy as np

from bowstring.nn.config import BASELINE_FEATURES, EDGES, REACH, SLOTS, SOUNDS, VOICE
from bowstring.speech.baseline import ResidualCoder, edges, features

NEAR = 3 * SLOTS * 3 * SOUNDS


def spoken(rng, count=30):
    phonemes, durations = rng.integers(1, SOUNDS, count), rng.uniform(4.0, 20.0, count)
    return phonemes, durations, rng.normal(size=VOICE).astype(np.float32)


def test_a_sound_is_seen_from_as_far_as_it_reaches():
    phonemes = np.array([3, 9, 3])
    durations = np.array([8.0 * 12, 8.0, 8.0 * 12])  # the 9 fills the thirteenth token
    seen = features(phonemes, durations, np.zeros(VOICE, np.float32))
    assert seen.shape == (25, BASELINE_FEATURES)
    far = seen[:, NEAR:][:, : 2 * (REACH - 1) * SOUNDS].reshape(25, -1, SOUNDS)[..., 9]
    for row, distance in ((12 + REACH, -REACH), (12 - REACH, REACH), (10, 2)):
        offsets = [k for k in range(-REACH, REACH + 1) if abs(k) > 1]
        assert far[row].tolist() == [float(k == distance) for k in offsets]
    assert not far[[12 - REACH - 1, 12 + REACH + 1]].any()


def test_edges_mirror_each_other():
    both = edges(9)
    assert both.shape == (9, EDGES)
    np.testing.assert_array_equal(both[:, 0], both[::-1, 1])
    np.testing.assert_array_equal(both[:, 2], both[::-1, 3])
    assert both[0, 0] == both[-1, 1] == 1.0


def test_a_linear_law_is_found_and_taken_off():
    rng = np.random.default_rng(0)
    law = np.zeros((BASELINE_FEATURES, 2), np.float32)
    law[-VOICE - 1 :] = 0.05 * rng.normal(size=(VOICE + 1, 2))  # of the voice and a constant

    class Plain:
        def encode(self, signal):
            return signal

        def decode(self, tokens):
            return tokens

    examples = [(features(*one) @ law, *one) for one in (spoken(rng, 6) for _ in range(400))]
    coder = ResidualCoder.fit(Plain(), examples)
    signal, *known = examples[0]
    assert np.abs(coder.encode(signal, *known)).max() < 0.05 * signal.std()
    np.testing.assert_allclose(coder.decode(coder.encode(signal, *known), *known), signal, atol=1e-5)
