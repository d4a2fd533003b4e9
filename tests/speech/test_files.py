"""Recordings come in whatever program wrote them, and go out as WAV that says how it was made."""

import io
import struct
import wave

import numpy as np
import pytest
import soundfile
import torch

from bowstring.speech.analysis import analyse
from bowstring.speech.files import RATE, read_sound, read_wav_metadata, resampled, save_wav, to_wav
from bowstring.speech.recording import as_recording
from bowstring.speech.source_filter import BANDS, Frames, synthesise
from bowstring.speech.voice import voice_of

HISS = np.random.default_rng(0).normal(size=2 * RATE)
TONE = (0.5 * np.sin(np.arange(2 * RATE) / 9)).astype(np.float32)
SPOKEN = (np.where(np.arange(2 * RATE) % 9000 < 8000, TONE, 0) + 1e-3 * HISS).astype(np.float32)
WRITTEN = [
    ("WAV", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
]
WRITTEN += [("WAVEX", kind) for kind in ("PCM_16", "PCM_24", "FLOAT")]
WRITTEN += [("RF64", "PCM_16"), ("W64", "PCM_24"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS")]
WRITTEN += [("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("CAF", "FLOAT"), ("OGG", "OPUS")]


@pytest.fixture(scope="module")
def speech():
    """Three seconds of a voice that glides and pauses."""
    count = 375
    pitch = 140 + 30 * np.sin(np.arange(count) / 20)
    formants = -6 + 3 * np.cos(np.arange(BANDS) / 4)[None] + np.sin(np.arange(count) / 9)[:, None]
    voiced = (np.arange(count) % 60 < 50).astype(np.float32)
    signal = synthesise(Frames(pitch, voiced, formants, np.full((count, 5), 0.1)))
    loud = np.where(np.repeat(voiced, len(signal) // count) > 0, 0.4, 4e-4)
    return (loud * signal / np.abs(signal).max()).astype(np.float32)


def test_a_file_carries_how_it_was_made_and_is_the_same_every_time(tmp_path):
    made = {"text": "an owl \u2014 hoo", "seed": 3}
    data = to_wav(TONE[:2401], metadata=made)
    assert read_wav_metadata(data) == made and read_wav_metadata(to_wav(TONE)) == {}
    assert data == to_wav(TONE[:2401], metadata=dict(reversed(made.items())))
    assert int.from_bytes(data[4:8], "little") == len(data) - 8 and len(data) % 2 == 0
    with wave.open(io.BytesIO(data)) as file:
        assert file.getparams()[:4] == (1, 2, RATE, 2401)
    save_wav(tmp_path / "a.WAV", TONE[:2401], metadata=made)
    signal, rate = read_sound(tmp_path / "a.WAV")
    assert rate == RATE and (tmp_path / "a.WAV").read_bytes() == data
    np.testing.assert_allclose(signal, TONE[:2401], atol=1e-4)


def test_only_wav_is_written_and_the_rest_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x.mp3 ends in '.mp3'; expected .wav"):
        save_wav(tmp_path / "x.mp3", TONE)
    assert not (tmp_path / "x.mp3").exists()


@pytest.mark.parametrize(("form", "kind"), WRITTEN)
@pytest.mark.parametrize("channels", [1, 6])
def test_what_other_programs_write_is_read(tmp_path, form, kind, channels):
    if kind in ("MPEG_LAYER_III", "OPUS") and channels > 2:
        channels = 2
    soundfile.write(tmp_path / "x", np.repeat(TONE[:, None], channels, 1), RATE, kind, format=form)
    signal, rate = read_sound(tmp_path / "x")
    assert rate == RATE and abs(len(signal) - len(TONE)) < 2400
    np.testing.assert_allclose(signal[4800:24_000], TONE[4800:24_000], atol=0.06)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF - 36])
def test_of_a_stream_without_a_length_all_that_is_there_is_read(tmp_path, length):
    data = bytearray(to_wav(TONE))
    data[4:8] = struct.pack("<I", length and 0xFFFFFFFF)
    data[40:44] = struct.pack("<I", length)
    (tmp_path / "x.wav").write_bytes(data)
    assert len(read_sound(tmp_path / "x.wav")[0]) == len(TONE)


@pytest.mark.parametrize(("form", "least"), [("WAV", 20_000), ("FLAC", 4096), ("MP3", 4096)])
def test_a_file_that_breaks_off_is_read_up_to_there(tmp_path, form, least):
    soundfile.write(tmp_path / "x", TONE, RATE, format=form)
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[: len(data) // 2])
    signal, _ = read_sound(tmp_path / "x")
    assert least <= len(signal) < len(TONE)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no sound that can be read"),
        (b"hello there, this is text", "Format not recognised. expected WAV, FLAC, OGG, MP3 or AIFF"),
        (b"\0\0\0\x20ftypM4A ", "ffmpeg -i"),
        (to_wav(np.zeros(0)), "holds no sound"),
        (to_wav(TONE)[:40], "no sound that can be read"),
        (to_wav(TONE)[:24] + struct.pack("<I", 1) + to_wav(TONE)[28:], "has 1 Hz; expected 1000 to 400000"),
    ],
    ids=["empty", "text", "m4a", "no samples", "no data", "slow"],
)
def test_what_is_no_sound_is_refused_in_words(tmp_path, data, says):
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        read_sound(tmp_path / "x.wav")
    (tmp_path / "x.raw").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        read_sound(tmp_path / "x.raw")


def test_long_and_missing_recordings_are_refused(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(1000 * 601, np.int16), 1000)
    with pytest.raises(ValueError, match="601 s at 1000 Hz; expected at most 600 s"):
        read_sound(tmp_path / "long.flac")
    with pytest.raises(FileNotFoundError, match="no sound"):
        read_sound(tmp_path / "none.wav")
    with pytest.raises(ValueError, match="is no file"):
        read_sound(tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        SPOKEN.astype(np.float64),
        SPOKEN.astype(np.float16),
        SPOKEN.tolist(),
        torch.tensor(SPOKEN),
        torch.tensor(SPOKEN)[None],
        torch.tensor(SPOKEN).requires_grad_(),
        np.stack([SPOKEN, SPOKEN], 1),
        np.stack([SPOKEN, SPOKEN, SPOKEN]),
        (SPOKEN * 32767).astype(np.int16),
        (SPOKEN * 2**31).astype(np.int32),
        (SPOKEN * 127 + 128).astype(np.uint8),
        (SPOKEN, RATE),
        (RATE, SPOKEN),
        {"array": SPOKEN, "sampling_rate": RATE},
        (torch.tensor(SPOKEN), torch.tensor(RATE)),
        (resampled(SPOKEN, RATE, 2 * RATE), 2 * RATE),
    ],
    ids=lambda v: f"{type(v).__name__} {getattr(v, 'dtype', '')} {getattr(v, 'shape', '')}",
)
def test_arrays_of_any_type_are_the_sound_they_hold(value):
    found = as_recording(value)
    assert found.signal.dtype == np.float32 and found.signal.shape == SPOKEN.shape and not found.notes
    inside = slice(2400, -2400)
    np.testing.assert_allclose(found.signal[inside], SPOKEN[inside], atol=0.02)


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (None, TypeError, "voice is None; expected a path, samples at 24 kHz, or"),
        (3.0, TypeError, "voice is 3.0"),
        (io.BytesIO(b"x"), TypeError, "voice is <_io.BytesIO"),
        ({"a": 1}, TypeError, "voice is {'a': 1}"),
        (np.ones(9000, bool), TypeError, "expected a path"),
        (np.zeros(9000), ValueError, "is silent"),
        (np.full(9000, 0.5), ValueError, "is silent"),
        (np.full(9000, np.nan), ValueError, "not finite"),
        (TONE[:9], ValueError, "voice has 0.000 s; expected 0.1 to 600 s"),
        (np.zeros((100, 100)), ValueError, r"shape \(100, 100\)"),
        ((TONE, "fast"), TypeError, "the rate of voice is 'fast'"),
        ((TONE, 5), ValueError, "the rate of voice is 5; expected a whole number from 1000"),
        ([[1, 2], [3]], ValueError, "rows differ"),
    ],
    ids=repr,
)
def test_what_is_no_recording_is_refused_in_words(value, error, says):
    with pytest.raises(error, match=says):
        as_recording(value)


@pytest.mark.parametrize(
    "spoil", [lambda x: x + 0.5, lambda x: x / 2000, lambda x: (x * 3e4).astype(np.int16)]
)
def test_an_offset_and_a_level_do_not_change_the_voice(speech, spoil):
    true = voice_of(analyse(as_recording(speech).signal))
    found = as_recording(spoil(speech))
    assert not found.notes and np.abs(voice_of(analyse(found.signal)) - true).mean() < 0.02


def test_a_recording_that_may_not_carry_the_voice_is_noted(speech):
    assert as_recording(speech).notes == ()
    note, *_ = as_recording((speech * 80).clip(-1, 1), "me.wav").notes
    assert note.startswith("me.wav is clipped: ") and note.endswith("record it more quietly")
    (note,) = as_recording(speech[: RATE // 2]).notes
    assert note == "voice has only 0.5 s; a voice is matched better from about 5 s"
    (note,) = as_recording((resampled(speech, RATE, 8000), 8000)).notes
    assert note == "voice has nothing above 4.0 kHz; record at 24 kHz or more, not by telephone"
    (note,) = as_recording(speech + 0.1 * HISS[: len(speech)].std() * np.resize(HISS, len(speech))).notes
    assert note.startswith("voice is noisy or never pauses: loud and quiet differ by ")
