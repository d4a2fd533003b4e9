"""A waveform as frames of source and filter: pitch, envelope, and how much of it is noise.

Shapes: f frames of 8 ms, 513 bins of a window of 1,024 samples.
"""

from __future__ import annotations

import numpy as np

from .source_filter import (
    BANDS,
    FLOOR,
    HIGHEST_PITCH,
    HOP,
    LOWEST_PITCH,
    NOISE_BANDS,
    RATE,
    WINDOW,
    Frames,
    band_centres,
)

STATES = 128  # pitches that are weighed against each other, equally spaced in the logarithm
STRETCH = 720  # samples that are compared with themselves one period later
DULL = 1200.0  # Hz
JUMP = 4.0  # cost of an octave from one frame to the next
VOICED = 0.45  # correlation from which a frame is voiced
UNVOICED_PITCH = 400.0  # sets the window where there is no pitch
CHUNK = 2000  # frames at a time
BIN = RATE / WINDOW


def stretches(signal: np.ndarray, length: int, frames: int) -> np.ndarray:
    """`length` samples centred on every frame, `(f, length)`."""
    half = length // 2
    padded = np.pad(signal, (half, half + HOP))
    return np.lib.stride_tricks.sliding_window_view(padded, length)[HOP // 2 :: HOP][:frames]


def self_similarity(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised cross-correlation of every frame at the periods of STATES pitches, `(f, n)`; the pitches."""
    frames = len(signal) // HOP
    pitches = np.geomspace(LOWEST_PITCH, HIGHEST_PITCH, STATES)
    longest = int(RATE / LOWEST_PITCH) + 2
    lags = RATE / pitches
    low = lags.astype(int)
    share = lags - low
    out = np.empty((frames, STATES), np.float32)
    for at in range(0, frames, CHUNK):
        part = stretches(signal, STRETCH + longest, frames)[at : at + CHUNK].astype(np.float64)
        size = 1 << int(np.ceil(np.log2(2 * STRETCH + longest)))
        one, both = np.fft.rfft(part[:, :STRETCH], size), np.fft.rfft(part, size)
        cross = np.fft.irfft(both * one.conj(), size)[:, :longest]
        squares = np.cumsum(np.pad(part**2, ((0, 0), (1, 0))), 1)
        energy = squares[:, STRETCH : STRETCH + longest] - squares[:, :longest]
        similar = cross / np.sqrt(np.maximum(energy[:, :1] * energy, 1e-12))
        out[at : at + CHUNK] = similar[:, low] * (1 - share) + similar[:, low + 1] * share
    return out, pitches


def dulled(signal: np.ndarray) -> np.ndarray:
    """Without what lies above DULL: breath and hiss, which would hide the voice's period."""
    hertz = np.fft.rfftfreq(len(signal), 1 / RATE)
    return np.fft.irfft(np.fft.rfft(signal) * np.exp(-((hertz / DULL) ** 4)), len(signal))


def best_path(similar: np.ndarray, pitches: np.ndarray) -> np.ndarray:
    """The pitches that are similar and do not jump, by dynamic programming: indices `(f,)`."""
    octaves = np.log2(pitches)
    jump = (JUMP * np.abs(octaves[:, None] - octaves[None])).astype(np.float32)
    cost = 1 - similar - 0.03 * (octaves - octaves[0])  # of two periods that fit, the shorter one
    total, back = cost[0].copy(), np.zeros(similar.shape, np.int32)
    for i in range(1, len(cost)):
        reached = total[:, None] + jump * min(1.0, max(0.05, float(similar[i].max())))
        back[i] = reached.argmin(0)
        total = reached[back[i], np.arange(STATES)] + cost[i]
    path = np.empty(len(cost), np.int32)
    path[-1] = total.argmin()
    for i in range(len(cost) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def pitch_of(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch in Hz, interpolated where nothing is voiced, and which frames are voiced, `(f,)` each."""
    similar, pitches = self_similarity(dulled(signal))
    path = best_path(similar, pitches)
    frames = np.arange(len(path))
    inner = np.clip(path, 1, STATES - 2)
    left, middle, right = (similar[frames, inner + d] for d in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < -1e-6, np.clip((left - right) / (2 * np.minimum(bend, -1e-6)), -1, 1), 0)
    step = np.log(pitches[1] / pitches[0])
    pitch = pitches[inner] * np.exp(shift * step)
    power = (stretches(signal, 2 * HOP, len(path)).astype(np.float64) ** 2).mean(1)
    loud = power > max(1e-9, 1e-4 * float(np.quantile(power, 0.98)))
    voiced = median((similar[frames, path] > VOICED) & loud)
    return filled(pitch, voiced), voiced.astype(np.float32)


def median(flags: np.ndarray) -> np.ndarray:
    """Of five flags in a row, what most say."""
    padded = np.pad(flags.astype(int), 2, "edge")
    return np.lib.stride_tricks.sliding_window_view(padded, 5).sum(1) >= 3


def filled(pitch: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Pitch whose unvoiced stretches go straight (in the logarithm) from one voiced frame to the next."""
    known = np.flatnonzero(voiced)
    if not len(known):
        return np.full(len(pitch), 120.0)
    return np.exp(np.interp(np.arange(len(pitch)), known, np.log(pitch[known])))


def at_fraction(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Values of each row at real-valued indices, `(f, n), (f, m) -> (f, m)`."""
    index = np.clip(index, 0, rows.shape[1] - 1.001)
    low = index.astype(int)
    share = index - low
    return np.take_along_axis(rows, low, 1) * (1 - share) + np.take_along_axis(rows, low + 1, 1) * share


def power_envelope(signal: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Power density `(f, 513)` without the harmonics' ripple, by pitch-adaptive windows and liftering.

    Source: Morise 2015, "CheapTrick, a spectral envelope estimator", equations 1 to 8.
    """
    f = len(pitch)
    part = stretches(signal, WINDOW, f).astype(np.float64)
    width = 1.5 * RATE / pitch[:, None]
    at = (np.arange(WINDOW) - WINDOW // 2)[None]
    window = np.where(np.abs(at) < width, 0.5 + 0.5 * np.cos(np.pi * at / width), 0.0)
    window /= np.sqrt((window**2).sum(1, keepdims=True))
    part = part * window
    part -= window * (part.sum(1) / window.sum(1))[:, None]
    power = np.abs(np.fft.rfft(part)) ** 2
    bins, period = np.arange(power.shape[1])[None], pitch[:, None] / BIN
    mirrored = at_fraction(power, np.maximum(period - bins, 0))
    power = np.where(bins < period, power + np.where(bins < period, mirrored, 0), power)
    half = (period / 3).clip(0.5)
    pad = int(half.max()) + 2
    wide = np.concatenate([power[:, pad:0:-1], power, power[:, -2 : -pad - 2 : -1]], 1)
    sums = np.concatenate([np.zeros((f, 1)), np.cumsum(wide, 1)], 1)
    centre = bins + pad + 0.5
    smooth = (at_fraction(sums, centre + half) - at_fraction(sums, centre - half)) / (2 * half)
    cepstrum = np.fft.irfft(np.log(np.maximum(smooth, 1e-12)), WINDOW)
    quefrency = np.minimum(np.arange(WINDOW), WINDOW - np.arange(WINDOW))[None] / RATE
    lifter = np.sinc(pitch[:, None] * quefrency)
    lifter *= 1.18 - 2 * 0.09 * np.cos(2 * np.pi * quefrency * pitch[:, None])
    return np.exp(np.fft.rfft(cepstrum * lifter).real)


def noise_share(signal: np.ndarray, pitch: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Share of the amplitude that does not repeat after a period, in bands, `(f, 5)`."""
    f, size = len(pitch), 2 * WINDOW
    part = stretches(signal, WINDOW, f).astype(np.float64) * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(part, size)) ** 2
    centres, hertz = band_centres(NOISE_BANDS), np.fft.rfftfreq(size, 1 / RATE)
    window_alone = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(WINDOW), size)) ** 2, size)
    lag = (RATE / pitch)[:, None]
    fade = at_fraction(np.repeat(window_alone[None, :WINDOW], f, 0), lag)[:, 0] / window_alone[0]
    out = np.ones((f, NOISE_BANDS), np.float32)
    for band in range(NOISE_BANDS):
        low = centres[band - 1] if band else 0.0
        high = centres[band + 1] if band + 1 < NOISE_BANDS else RATE / 2
        here = np.where((hertz >= low) & (hertz <= high), power, 0)
        repeat = np.fft.irfft(here, size)
        around = np.stack([at_fraction(repeat, lag + d)[:, 0] for d in (-1.0, -0.5, 0.0, 0.5, 1.0)])
        similar = around.max(0) / np.maximum(repeat[:, 0] * np.maximum(fade, 0.05), 1e-12)
        out[:, band] = np.sqrt(np.clip(1 - similar, 0.003, 1))
    return np.where(voiced[:, None] > 0.5, out, 1.0).astype(np.float32)


def analyse(signal: np.ndarray, pitch: np.ndarray | None = None, voiced: np.ndarray | None = None) -> Frames:
    """Frames of a waveform `(s,)` at 24 kHz; pitch and voicing are found if they are not given.

    Raises:
        ValueError: less than a tenth of a second of sound.
    """
    if len(signal) < RATE // 10:
        raise ValueError(f"the sound has {len(signal) / RATE:.3f} s; expected at least 0.1 s")
    if pitch is None or voiced is None:
        pitch, voiced = pitch_of(signal)
    window_pitch = np.where(voiced > 0.5, np.clip(pitch, LOWEST_PITCH, HIGHEST_PITCH), UNVOICED_PITCH)
    at = band_centres(BANDS) / BIN
    parts, noises = [], []
    for i in range(0, len(pitch), CHUNK):
        here, first = slice(i, i + CHUNK), max(0, i * HOP - WINDOW)
        piece = signal[first : (i + CHUNK) * HOP + WINDOW]
        lead = (i * HOP - first) // HOP
        take = lambda values: np.concatenate([np.repeat(values[i : i + 1], lead), values[here]])  # noqa: E731,B023
        count = len(pitch[here]) + lead
        piece = np.pad(piece, (0, max(0, count * HOP - len(piece))))
        power = power_envelope(piece, take(window_pitch))[lead:]
        parts.append(at_fraction(np.log(power), np.repeat(at[None], len(power), 0)))
        noises.append(noise_share(piece, take(window_pitch), take(voiced))[lead:])
    envelope = np.maximum(np.concatenate(parts), FLOOR).astype(np.float32)
    return Frames(pitch.astype(np.float32), voiced.astype(np.float32), envelope, np.concatenate(noises))
