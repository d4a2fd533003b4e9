"""Speech as 64 ms tokens of a source and a filter, and back to a waveform; nothing here knows of torch.

A frame of 8 ms says the pitch, how voiced it is, a spectral envelope and how much of it is noise. The
waveform is a band-limited pulse train and noise, each shaped by its part of the envelope with minimum phase:
the source-filter model of Morise et al. 2016 (WORLD), evaluated frame by frame with overlapping windows.
Shapes: f frames, s samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

RATE = 24_000  # samples a second
HOP = 192  # samples of a frame
FRAMES = 8  # of a token
TICK = HOP * FRAMES / RATE  # seconds of a token
BANDS = 48  # of the envelope, equal on the mel scale
NOISE_BANDS = 5
WINDOW = 1024
HIGHEST = 11_000.0  # Hz, of the pulses
FLOOR = -16.0  # natural logarithm of the least power of a band
LOWEST_PITCH, HIGHEST_PITCH = 71.0, 650.0
NOISE_POWER = np.array([1.64, 1.67, 2.32, 2.83, 2.38])  # to the teacher's own split into voice and noise
PAUSE, PAUSE_KNEE, PAUSE_DEPTH = -8.0, 3.0, 4.0  # log power of the loudest band: below it, how soon, how deep


def mel(hertz: np.ndarray) -> np.ndarray:
    """O'Shaughnessy's scale."""
    return 2595 * np.log10(1 + hertz / 700)


def band_centres(count: int) -> np.ndarray:
    """Centres of bands equally spaced in mel from 0 to half the rate, Hz."""
    return 700 * (10 ** (np.linspace(0, mel(np.array(RATE / 2)), count) / 2595) - 1)


@dataclass(frozen=True)
class Frames:
    """pitch: `(f,)` Hz, interpolated where nothing is voiced. voiced: `(f,)` 0..1. envelope: `(f, 48)` log
    power. noise: `(f, 5)` share of the amplitude that is noise, 0..1, equally spaced in mel.
    """

    pitch: np.ndarray
    voiced: np.ndarray
    envelope: np.ndarray
    noise: np.ndarray

    def __len__(self) -> int:
        return len(self.pitch)

    def __getitem__(self, index: slice) -> Frames:
        return Frames(self.pitch[index], self.voiced[index], self.envelope[index], self.noise[index])


def spread(bands: np.ndarray) -> np.ndarray:
    """Bands `(f, n)` at every bin of a window's spectrum, `(f, 513)`, by linear interpolation in mel."""
    bins = mel(np.fft.rfftfreq(WINDOW, 1 / RATE))
    at = bins / bins[-1] * (bands.shape[1] - 1)
    low = np.minimum(at.astype(int), bands.shape[1] - 2)
    share = (at - low).astype(np.float32)
    return bands[:, low] * (1 - share) + bands[:, low + 1] * share


def concatenate(parts: Sequence[Frames]) -> Frames:
    """Frames one after the other."""
    return Frames(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Frames))
    )


def pulses(pitch: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Every harmonic below HIGHEST at amplitude 1 and phase 0, `(s,)`; silent where nothing is voiced."""
    return pulse_train(pitch, voiced, np.arange(len(pitch) * HOP), 0.0)[0]


def pulse_train(
    pitch: np.ndarray, voiced: np.ndarray, samples: np.ndarray, phase: float
) -> tuple[np.ndarray, float]:
    """`pulses` at some `samples` in a row, and the phase they end with, given the one before them: trains of
    adjacent stretches are those of the whole to the bit.
    """
    at, places = (samples + 0.5) / HOP - 0.5, np.arange(len(pitch))
    frequency = np.interp(at, places, pitch)
    path = np.cumsum(np.append(phase, 2 * np.pi * (frequency / RATE)))[1:]
    count = np.floor(HIGHEST / frequency)
    half = np.sin(path / 2)
    safe = np.where(np.abs(half) < 1e-4, 1.0, half)
    kernel = np.where(np.abs(half) < 1e-4, count, np.sin((count + 0.5) * path) / (2 * safe) - 0.5)
    heard = kernel * (np.interp(at, places, voiced) > 0.5)
    return heard.astype(np.float32), float(path[-1]) if len(path) else phase


def windows(signal: np.ndarray, frames: int) -> np.ndarray:
    """Hann-windowed stretches centred on every frame, `(f, 1024)`."""
    padded = np.pad(signal, (WINDOW // 2, WINDOW // 2 + HOP))
    view = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[HOP // 2 :: HOP][:frames]
    return view * np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def minimum_phase(log_amplitude: np.ndarray) -> np.ndarray:
    """Spectra `(f, 513)` with these log amplitudes whose energy comes as early as it can."""
    cepstrum = np.fft.irfft(log_amplitude, WINDOW)
    cepstrum[:, 1 : WINDOW // 2] *= 2
    cepstrum[:, WINDOW // 2 + 1 :] = 0
    return np.exp(np.fft.rfft(cepstrum, WINDOW)).astype(np.complex64)


def noise_of(seed: int) -> np.random.Generator:
    """Where the noise of a waveform comes from, sample by sample."""
    return np.random.Generator(np.random.Philox(seed))


def synthesise(frames: Frames, seed: int = 0) -> np.ndarray:
    """The waveform, `(192 f,)`; the noise depends on the seed alone."""
    white = noise_of(seed).standard_normal(len(frames) * HOP, dtype=np.float32)
    return shaped(frames, pulses(frames.pitch, frames.voiced), white)


def shaped(frames: Frames, train: np.ndarray, white: np.ndarray) -> np.ndarray:
    """A pulse train and white noise `(192 f,)`, each shaped by its part of the envelope and added.

    An envelope of 0 is the density of white noise of variance 1. A harmonic stands for a band as wide as the
    pitch and carries 2 pitch / RATE of it: voiced and unvoiced frames of equal envelope are equally loud.
    """
    f = len(frames)
    envelope = spread(frames.envelope.astype(np.float32)) / 2
    share = np.clip(spread(frames.noise.astype(np.float32)), 1e-3, 0.999)
    voiced = frames.voiced > 0.5
    share = np.where(voiced[:, None], share, 0.999)
    per_pulse = np.log(np.sqrt(4 * np.maximum(frames.pitch, 1) / RATE))[:, None]  # of one harmonic
    buzz = minimum_phase(envelope + np.log1p(-(share**2)) / 2 + per_pulse)
    hiss = np.exp(envelope + np.log(share))
    spectrum = np.fft.rfft(windows(train, f)) * buzz
    spectrum = spectrum + np.fft.rfft(windows(white, f)) * hiss
    return windowed_overlap_add(np.fft.irfft(spectrum, WINDOW).astype(np.float32))


def windowed_overlap_add(parts: np.ndarray) -> np.ndarray:
    """Stretches `(f, 1024)` centred on frames, windowed once before, windowed again and added, `(192 f,)`."""
    f, hann = len(parts), np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    total, weight = (np.zeros(f * HOP + WINDOW + HOP, np.float32) for _ in range(2))
    for i in range(f):
        at = slice(i * HOP + HOP // 2, i * HOP + HOP // 2 + WINDOW)
        total[at] += parts[i] * hann
        weight[at] += hann * hann
    inside = slice(WINDOW // 2, WINDOW // 2 + f * HOP)
    return total[inside] / np.maximum(weight[inside], 1e-3)


def noise_gated(frames: Frames) -> Frames:
    """Frames that went through the codec, as they should sound: the noise that analysis finds where only the
    pitch moved is taken back, and pauses are quiet.
    """
    voiced = (frames.voiced > 0.5)[:, None]
    noise = np.where(voiced, frames.noise**NOISE_POWER, frames.noise)
    level = frames.envelope[:, 2:36].max(1)
    fade = PAUSE_DEPTH * np.clip((PAUSE - level) / PAUSE_KNEE, 0, 1)
    return replace(frames, noise=noise, envelope=np.maximum(frames.envelope - fade[:, None], FLOOR))
