import numpy as np
import pytest

from bowstring.speech.analysis import analyse, pitch_of
from bowstring.speech.files import resampled
from bowstring.speech.source_filter import (
    BANDS,
    HOP,
    NOISE_BANDS,
    RATE,
    WINDOW,
    Frames,
    band_centres,
    minimum_phase,
    pulses,
    synthesise,
)

SECOND = 125  # frames


def frames(pitch=150.0, voiced=1.0, envelope=None, noise=0.05, count=SECOND):
    shape = np.zeros((count, BANDS)) if envelope is None else np.tile(envelope, (count, 1))
    return Frames(np.full(count, pitch), np.full(count, voiced), shape, np.full((count, NOISE_BANDS), noise))


def formants():
    """Log power of a vowel-like filter at the bands' centres."""
    hertz = band_centres(BANDS)
    peaks = sum(np.exp(-(((hertz - f) / w) ** 2)) for f, w in ((600, 250), (1300, 350), (2500, 500)))
    return np.log(0.003 + peaks) - 4


def test_a_flat_envelope_of_zero_is_white_noise_of_variance_one():
    signal = synthesise(frames(voiced=0.0, count=4 * SECOND))[2000:-2000]
    assert abs(signal.var() - 1) < 4 * (2 / len(signal)) ** 0.5 * 2.5  # windows overlap, so samples are akin
    power = np.abs(np.fft.rfft(signal)) ** 2
    low, high = (part.mean() for part in np.array_split(power, 2))
    assert abs(np.log(low / high)) < 4 * (8 / len(power)) ** 0.5 * 2.5


def test_pulses_hold_every_harmonic_at_amplitude_one():
    pitch = 125.0  # 192 samples a period
    signal = pulses(np.full(SECOND, pitch), np.ones(SECOND))[2400 : 2400 + 19_200]
    spectrum = 2 * np.abs(np.fft.rfft(signal)) / 19_200
    at = np.arange(1, 88) * round(pitch * 19_200 / RATE)
    np.testing.assert_allclose(spectrum[at], 1.0, atol=2e-3)
    assert np.delete(spectrum, [*at, *(at[-1:] + at[0])]).max() < 0.02


def test_voiced_and_unvoiced_sound_of_one_envelope_are_equally_loud():
    flat = np.full(BANDS, -3.0)
    buzz, hiss = (synthesise(frames(pitch=200.0, voiced=v, envelope=flat, noise=0.01)) for v in (1.0, 0.0))
    inside = slice(3000, -3000)
    loud = np.sqrt((buzz[inside] ** 2).mean() / (hiss[inside] ** 2).mean())
    assert loud == pytest.approx((11_000 / 12_000) ** 0.5, rel=0.06)


def test_minimum_phase_keeps_the_amplitude_and_comes_early():
    smooth = np.cos(np.linspace(0, 3 * np.pi, WINDOW // 2 + 1))[None]
    spectrum = minimum_phase(smooth)
    np.testing.assert_allclose(np.abs(spectrum), np.exp(smooth), rtol=1e-4)
    response = np.fft.irfft(spectrum)[0]
    assert (response[: WINDOW // 8] ** 2).sum() / (response**2).sum() > 0.999


@pytest.mark.parametrize("pitch", [90.0, 155.0, 320.0])
def test_analysis_finds_what_was_synthesised(pitch):
    envelope = formants()
    found = analyse(synthesise(frames(pitch=pitch, envelope=envelope)))
    inside = slice(12, -12)
    assert found.voiced[inside].mean() == 1
    np.testing.assert_allclose(found.pitch[inside], pitch, rtol=0.01)
    hertz = band_centres(BANDS)
    heard = (hertz > 200) & (hertz < 5000)
    error = (found.envelope[inside] - envelope)[:, heard] * 10 / np.log(10)
    assert np.sqrt((error**2).mean()) < 3.0  # dB
    assert found.noise[inside, :3].mean() < 0.45


def test_noise_is_unvoiced():
    found = analyse(synthesise(frames(voiced=0.0, envelope=formants())))
    assert found.voiced[12:-12].mean() < 0.1
    assert found.noise[12:-12].mean() > 0.9


def test_a_gliding_pitch_is_followed():
    glide = np.geomspace(100, 220, 2 * SECOND)
    whole = Frames(
        glide, np.ones(len(glide)), np.tile(formants(), (len(glide), 1)), np.full((len(glide), 5), 0.05)
    )
    pitch, voiced = pitch_of(synthesise(whole))
    assert voiced[12:-12].all()
    assert np.abs(np.log2(pitch / glide))[12:-12].max() < 0.05


def test_the_same_seed_gives_the_same_samples():
    one, two, other = (synthesise(frames(noise=0.5), seed) for seed in (1, 1, 2))
    assert (one == two).all() and (one != other).any()


def test_a_sound_without_a_period_is_too_short():
    with pytest.raises(ValueError, match=r"at least 0\.1 s"):
        analyse(np.zeros(100))


def test_resampling_keeps_a_tone():
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    up = resampled(tone, 16_000)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    np.testing.assert_allclose(up, expected, atol=1e-4)
    assert HOP * SECOND == RATE
