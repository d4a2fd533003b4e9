import numpy as np

from bowstring.speech.alignment import ALPHABET, phoneme_ids, told
from bowstring.speech.codec import SpeechCodec, codec_rows, frames_of
from bowstring.speech.g2p import Word
from bowstring.speech.source_filter import BANDS, Frames
from bowstring.speech.utterance import Utterance
from bowstring.speech.voice import VOICE, Warp, voice_of, warped


def some_frames(count=160, seed=0):
    rng = np.random.default_rng(seed)
    smooth = lambda n: np.cumsum(rng.normal(size=(count, n)), 0) / 8
    return Frames(
        (180 * np.exp(0.1 * smooth(1)[:, 0])).astype(np.float32),
        (np.arange(count) % 40 < 28).astype(np.float32),
        (smooth(BANDS) - 4).clip(-10, 2).astype(np.float32),
        rng.uniform(0.1, 0.9, (count, 5)).astype(np.float32),
    )


def test_sounds_keep_their_words():
    ids, owners = phoneme_ids([Word("Hi", "hˈI"), Word(".", ".")])
    assert [("_" if i == 0 else ALPHABET[i - 1]) for i in ids] == ["_", "h", "ˈ", "I", ".", "_"]
    assert owners == [-1, 0, 0, 0, 1, -1]


def test_what_is_told_follows_the_durations():
    phonemes, progress = told(np.array([0, 5, 7]), np.array([4.0, 8.0, 4.0]))
    assert phonemes.tolist() == [[0, 0, 5, 5], [5, 5, 7, 7]]
    np.testing.assert_allclose(progress[0, :, 0], [0.25, 0.75, 0.125, 0.375])
    assert progress[0, 0, 1] == progress[0, 1, 1] != progress[0, 2, 1]


def test_rows_go_there_and_back():
    frames = some_frames()
    again = frames_of(codec_rows(frames))
    np.testing.assert_allclose(again.pitch, frames.pitch, rtol=1e-4)
    np.testing.assert_allclose(again.envelope, frames.envelope, atol=2e-4)
    np.testing.assert_allclose(again.noise, frames.noise, rtol=1e-4)
    assert (again.voiced == frames.voiced).all()


def test_a_codec_with_all_channels_is_exact_and_with_few_is_the_best_projection():
    blocks = np.concatenate([codec_rows(some_frames(seed=i)).reshape(-1, 8, 55) for i in range(40)])
    whole = SpeechCodec.fit_frames(blocks, 440)
    frames = some_frames()
    np.testing.assert_allclose(codec_rows(whole.decode(whole.encode(frames))), codec_rows(frames), atol=2e-2)
    few = SpeechCodec.fit_frames(blocks, 20)
    flat = blocks.reshape(len(blocks), -1).astype(np.float64)
    centred = flat - flat.mean(0)
    lost = (np.linalg.svd(centred, compute_uv=False)[20:] ** 2).sum()
    back = (centred @ few.basis.T.astype(np.float64)) @ few.basis
    np.testing.assert_allclose(((centred - back) ** 2).sum(), lost, rtol=1e-3)


def test_a_voice_is_told_by_pitch_and_resonances_and_not_by_loudness():
    frames = some_frames(800)
    one = voice_of(frames)
    assert one.shape == (VOICE,)
    louder = Frames(frames.pitch, frames.voiced, frames.envelope + 2, frames.noise)
    np.testing.assert_allclose(voice_of(louder), one, atol=1e-4)
    deep = voice_of(warped(frames, Warp(pitch=0.5)))
    np.testing.assert_allclose(deep[-2] - one[-2], 3 * np.log(0.5), rtol=1e-4)
    peak = Frames(
        frames.pitch,
        np.ones_like(frames.voiced),
        np.tile(-((np.arange(BANDS) - 20) ** 2) / 9.0, (800, 1)),
        frames.noise,
    )
    moved = warped(peak, Warp(formants=1.2)).envelope[0].argmax()
    assert moved > 20


def test_counts_agree_where_rounding_decides():
    rng = np.random.default_rng(0)
    for _ in range(200):
        parts = rng.uniform(0.5, 20, 37)
        durations = parts * (8 * 40) / parts.sum()  # a whole number of tokens but for rounding
        utterance = Utterance((), np.zeros(37, np.int64), np.full(37, -1), durations)
        assert len(told(utterance.phonemes, durations)[0]) == utterance.tokens
