"""The one way in for recordings: files and arrays become mono sound, with notes on what may spoil it.

Sound is `(s,)` float32 at 24 kHz.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.options import on_host, shown, whole
from .files import FASTEST, LONGEST, SLOWEST, read_sound, resampled
from .source_filter import RATE

CHANNELS = 8
SHORTEST = 0.1  # seconds
SHORT = 2.0  # seconds from which a voice can be matched well
CLIPPED = 0.005  # share of samples at the limit from which a voice is matched badly
DULL = 8500.0  # Hz; of telephones and of 16 kHz
NOTHING = 1e-7  # share of the power that is no more than rounding to 16 bits
NOISY = 25.0  # dB between loud and quiet; clean speech has more than 40
QUIET, USUAL = 0.1, 0.5  # peaks: below the first one, a recording is raised to the second


@dataclass(frozen=True)
class Recording:
    """Mono sound at 24 kHz around zero; `notes` say what may spoil it."""

    signal: np.ndarray
    notes: tuple[str, ...] = ()


def as_recording(value: Any, name: str = "voice") -> Recording:
    """A recording from a file, or from an array or tensor at 24 kHz, or at another rate as `(array, rate)`.

    Arrays are `(s,)`, `(s, channels)` or `(channels, s)`; whole numbers may have any depth. A constant offset
    is removed, a quiet recording raised.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: nothing that can be a recording. ValueError: damaged, silent, too short or too long.
    """
    if isinstance(value, Recording):
        return value
    name = os.fspath(value) if isinstance(value, str | os.PathLike) else name
    signal, rate = _loaded(value, name)
    seconds = len(signal) / rate
    if not SHORTEST <= seconds <= LONGEST:
        raise ValueError(f"{name} has {seconds:.3f} s; expected {SHORTEST} to {LONGEST} s, best about 5 s")
    if not np.isfinite(signal).all():
        raise ValueError(f"{name} has samples that are not finite; expected numbers")
    centred = signal.astype(np.float64) - signal.mean(dtype=np.float64)
    peak = float(np.abs(centred).max())
    if peak <= 1e-5:
        raise ValueError(f"{name} is silent; expected about 5 s of clear speech")
    level = USUAL / peak if peak > 1 or peak < QUIET else 1.0
    return Recording(resampled(centred * level, rate), tuple(faults(centred, rate, name)))


def faults(signal: np.ndarray, rate: int, name: str) -> Iterator[str]:
    """What may spoil the voice in a recording, a sentence each."""
    if (share := clipped_share(signal)) > CLIPPED:
        yield f"{name} is clipped: {share:.0%} of it lies at the limit; record it more quietly"
    if (seconds := len(signal) / rate) < SHORT:
        yield f"{name} has only {seconds:.1f} s; a voice is matched better from about 5 s"
    if (top := highest_frequency(signal, rate)) < DULL:
        yield f"{name} has nothing above {top / 1000:.1f} kHz; record at 24 kHz or more, not by telephone"
    if (decibels := dynamic_range(signal, rate)) < NOISY:
        yield (
            f"{name} is noisy or never pauses: loud and quiet differ by {decibels:.0f} dB; record one voice "
            "in a quiet room"
        )


def highest_frequency(signal: np.ndarray, rate: int) -> float:
    """The frequency in Hz above which next to no power is left.

    >>> round(highest_frequency(np.sin(np.arange(24_000) * 2 * np.pi / 24), 24_000))
    1000
    """
    power = np.abs(np.fft.rfft(signal)) ** 2
    left = np.cumsum(power[::-1])[::-1] > NOTHING * power.sum()
    return float(np.flatnonzero(left)[-1] * rate / len(signal))


def dynamic_range(signal: np.ndarray, rate: int) -> float:
    """How much louder the loud hundredths of a second are than the quiet ones, in dB."""
    width = rate // 100
    power = (signal[: len(signal) // width * width].reshape(-1, width) ** 2).mean(1)
    quiet, loud = np.quantile(power, (0.05, 0.95))
    return float(10 * np.log10(max(loud, 1e-20) / max(quiet, 1e-20)))


def clipped_share(signal: np.ndarray, run: int = 4) -> float:
    """The share of samples that lie at the highest or lowest value, `run` or more of them in a row.

    >>> clipped_share(np.clip(np.sin(np.arange(3000) / 9) * 9, -1, 1)) > 0.9
    True
    """
    share = 0.0
    for side in (signal, -signal):
        flat = side >= 0.999 * side.max()
        begin = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0) == 1)
        end = np.flatnonzero(np.diff(flat.astype(np.int8), append=0) == -1) + 1
        lengths = end - begin
        share += lengths[lengths >= run].sum() / len(signal)
    return float(share)


def _loaded(value: Any, name: str) -> tuple[np.ndarray, int]:
    """Samples of one channel and their rate."""
    if isinstance(value, str | os.PathLike):
        return read_sound(value)  # type: ignore[arg-type]
    rate: Any = RATE
    if isinstance(value, Mapping) and {"array", "sampling_rate"} <= {*value}:  # as data sets of sound have it
        value = (value["array"], value["sampling_rate"])
    if isinstance(value, tuple) and len(value) == 2:
        value, rate = value if np.ndim(value[1]) == 0 else (value[1], value[0])
    return _mono(value, name), whole(rate, f"the rate of {name}", SLOWEST, FASTEST)


def _mono(value: Any, name: str) -> np.ndarray:
    """An array, a tensor or a list as samples of one channel around zero."""
    value = on_host(value)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is a list whose rows differ in length; expected samples") from None
    if array.dtype.kind not in "uif" or array.ndim == 0:
        raise TypeError(f"{name} is {shown(value)}; expected a path, samples at 24 kHz, or (samples, rate)")
    rows = array[0] if array.ndim == 3 and len(array) == 1 else array
    if rows.ndim not in (1, 2) or (rows.ndim == 2 and min(rows.shape) > CHANNELS):
        raise ValueError(f"{name} has shape {array.shape}; expected (samples,) or (samples, channels)")
    return rows if rows.ndim == 1 else rows.mean(int(np.argmin(rows.shape)), dtype=np.float64)
