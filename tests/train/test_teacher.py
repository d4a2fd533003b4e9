"""What is learned of speech and faces: exact times, and heads that leave the rest alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bowstring.face.animate import closures
from bowstring.face.codec import FaceCodec
from bowstring.nn.config import BASELINE_FEATURES, VOICE
from bowstring.speech.alignment import ALPHABET, spans_of
from bowstring.speech.baseline import ResidualCoder, features
from bowstring.speech.codec import AUDIO_CHANNELS
from bowstring.speech.source_filter import BANDS, FRAMES, HOP, NOISE_BANDS, RATE, Frames
from bowstring.speech.voice import Warp, voice_of
from bowstring.train.face.head import face_loss, face_motion
from bowstring.train.speech.files import load_utterances, save_utterances
from bowstring.train.speech.flow import (
    TrainingUtterance,
    batch_of,
    fit_coder,
    speech_batches,
    speech_loss,
    warped_utterance,
)
from bowstring.train.speech.reading import alphabet_durations
from bowstring.train.speech.voices import (
    HELD_OUT_VOICES,
    MIXTURES,
    SENTENCES_PER_MIXTURE,
    SENTENCES_PER_VOICE,
    SPEAKERS,
    VOICES,
    is_held_out,
    is_held_out_voice,
    is_mixture,
    texts_of,
)
from tests.conftest import build_network


def utterance(seed=0, symbols="mˈɑmɑ bˈi."):
    rng = np.random.default_rng(seed)
    ids = np.array([0, *(ALPHABET.index(c) + 1 for c in symbols if c in ALPHABET), 0])
    durations = rng.uniform(8, 20, len(ids))
    count = round(durations.sum())
    slow = lambda n: np.cumsum(rng.normal(size=(count, n)), 0) * 0.1
    frames = Frames(
        160 * np.exp(0.1 * slow(1)[:, 0]),
        np.ones(count, np.float32),
        slow(BANDS) - 4,
        np.full((count, NOISE_BANDS), 0.3),
    )
    return TrainingUtterance(ids, durations * count / durations.sum(), frames)


def test_times_of_what_is_not_written_go_to_the_sound_before():
    ids, durations = alphabet_durations(
        "hˈI ðˈɛɹ.", np.array([0.2, 0.05, 0.01, 0.15, 0.03, 0.06, 0.01, 0.1, 0.1, 0.2, 0.1])
    )
    assert [ALPHABET[i - 1] for i in ids[1:-1]] == list("hˈIðˈɛɹ.")
    seconds = durations * HOP / RATE
    assert seconds.sum() == pytest.approx(1.01)
    assert seconds[3] == pytest.approx(0.15 + 0.03)  # the gap between the words


def test_a_pseudo_speaker_is_as_much_slower_as_asked():
    one = utterance()
    slow = warped_utterance(one, Warp(speed=0.8))
    assert len(slow.frames) == round(len(one.frames) / 0.8)
    assert slow.durations.sum() == pytest.approx(len(slow.frames))


def test_a_face_fits_into_its_tokens():
    faces = [face_motion(utterance(seed), seed) for seed in range(12)]
    codec = FaceCodec.fit_faces(faces)
    one = utterance(3)
    spans = spans_of(one.phonemes, one.durations * HOP / RATE)
    again = codec.decode(codec.encode(faces[3]))
    assert again.shape[1] == 52 and len(again) - len(faces[3]) < 4
    assert np.abs(again[: len(faces[3])] - faces[3]).mean() < 0.01
    assert closures(again, spans) == closures(faces[3], spans) == 1.0


def test_losses_reach_their_heads_and_the_face_leaves_speech_alone():
    network = build_network(modalities=["text", "audio", "avatar"])
    some = [utterance(seed) for seed in range(3)]
    coder = fit_coder(some)
    voices = [np.zeros(VOICE, np.float32)] * 3
    rng = torch.Generator().manual_seed(0)
    speech_loss(network, batch_of(some, voices, coder), rng).backward()
    head = network.heads["audio"]
    assert all(p.grad is not None for p in head.parameters())
    network.zero_grad(set_to_none=True)
    network.requires_grad_(requires_grad=False)
    network.heads["avatar"].requires_grad_()
    faces = [torch.zeros(-(-len(one.frames) // FRAMES), 40) for one in some]
    loss = face_loss(network, some, faces, voices, coder, rng)
    loss.backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    assert touched and all(name.startswith("heads.avatar.") for name in touched)


def test_what_is_taken_off_comes_back():
    some = [utterance(seed, "mˈɑbˈi."[: 3 + seed % 5]) for seed in range(30)]
    coder = fit_coder(some)
    one, voice = some[4], voice_of(some[4].frames)
    known = (one.phonemes, one.durations, voice)
    left = coder.encode(one.frames, *known)
    again = coder.codec.encode(coder.decode(left, *known))
    np.testing.assert_allclose(again, coder.codec.encode(one.frames)[: len(left)], atol=1e-2)


def test_a_token_that_is_a_sum_of_its_sounds_is_expected_exactly():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(BASELINE_FEATURES, AUDIO_CHANNELS)).astype(np.float32)

    class Given:
        """A codec whose tokens are linear in the features, for which the regression has an exact answer."""

        def encode(self, frames):
            return frames

    cases = [(utterance(seed), rng.normal(size=VOICE).astype(np.float32)) for seed in range(12)]
    told = [(features(u.phonemes, u.durations, v) @ truth, u.phonemes, u.durations, v) for u, v in cases]
    coder = ResidualCoder.fit(Given(), told)
    for tokens, *known in told:
        error = np.square(coder.conditional_mean(*known) - tokens).mean() / tokens.var()
        assert error < 0.02  # the ridge's


def test_no_two_voices_read_the_same_and_held_out_ones_read_what_nobody_learns():
    texts = [
        f"sentence {i}" for i in range(SENTENCES_PER_VOICE * len(VOICES) + SENTENCES_PER_MIXTURE * MIXTURES)
    ]
    read = [texts_of(number, texts) for number in range(len(SPEAKERS))]
    learned = [
        text for one, some in zip(SPEAKERS, read, strict=True) if not is_held_out(one) for text in some
    ]
    assert len(VOICES) == 28 and len(learned) == len(set(learned))
    assert len(learned) == SENTENCES_PER_VOICE * 22 + SENTENCES_PER_MIXTURE * MIXTURES
    assert sum(map(is_held_out, SPEAKERS)) == 6 + 3
    for number, one in enumerate(
        SPEAKERS, 1
    ):  # a mixture is of two that are learned from, or of two that are not
        assert is_mixture(number) == (len(one) == 2) and len({is_held_out((voice,)) for voice in one}) == 1
    assert len(HELD_OUT_VOICES) == 6
    for name in HELD_OUT_VOICES:
        hidden = VOICES.index(name)
        assert not set(read[hidden]) & set(texts)
        assert is_held_out_voice(replace(utterance(), speaker=hidden + 1))
    assert not is_held_out_voice(utterance())


def test_who_spoke_is_kept_and_voices_are_told_by_themselves(tmp_path):
    spoken = [replace(utterance(seed), speaker=seed % 2) for seed in range(8)]
    save_utterances(tmp_path / "speech.safetensors", spoken)
    again = load_utterances(tmp_path / "speech.safetensors")
    assert [one.speaker for one in again] == [one.speaker for one in spoken]
    assert warped_utterance(again[1], Warp(pitch=1.2)).speaker == 1
    high = [
        replace(one, frames=replace(one.frames, pitch=one.frames.pitch * (1 + one.speaker))) for one in again
    ]
    batch = speech_batches(high, fit_coder(high), rows=24, seed=1)(0)
    pitch = batch.voice[:, -2]  # of the voice: a log, three times as large
    assert pitch.max() - pitch.min() > 1.5  # both speakers are among them
