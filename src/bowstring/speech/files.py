"""Sound as files and arrays: WAV that carries how it was made; nothing here knows of torch."""

from __future__ import annotations

import io
import json
import struct
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .source_filter import RATE

LONGEST = 600  # seconds that a file may have


def to_wav(signal: np.ndarray, rate: int = RATE, said: Mapping[str, Any] | None = None) -> bytes:
    """A WAV file of 16-bit samples with `said` as JSON in its comment; equal arguments give equal bytes.

    >>> read_wav_facts(to_wav(np.zeros(9), said={"seed": 7}))
    {'seed': 7}
    """
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(signal, -1, 1) * 32767).round().astype("<i2").tobytes())
    data = file.getvalue()
    if said is None:
        return data
    text = json.dumps(dict(said), sort_keys=True).encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    data += struct.pack("<4sI4s4sI", b"LIST", len(text) + 12, b"INFO", b"ICMT", len(text)) + text
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def read_wav_facts(data: bytes) -> dict[str, Any]:
    """What `to_wav` was told, or nothing."""
    at = data.rfind(b"INFOICMT")
    return {} if at < 0 else json.loads(data[at + 12 :].rstrip(b"\0"))


def read_wav(path: Path | str) -> np.ndarray:
    """A WAV file of 8 to 32 bits, any rate and channels, as samples in -1..1 at 24 kHz.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no WAV file of whole numbers, or longer than ten minutes.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no sound {path}")
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            if not 1000 <= rate <= 400_000 or count > LONGEST * rate or width not in (1, 2, 3, 4):
                raise ValueError(
                    f"{path} has {count} samples of {8 * width} bits at {rate} Hz; expected at most "
                    f"{LONGEST} s of 8 to 32 bits"
                )
            data = file.readframes(count)
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is no WAV file of whole numbers: {error}") from None
    data = data[: len(data) // (width * channels) * width * channels]
    if not data:
        raise ValueError(f"{path} holds no sound")
    return resampled(_whole_numbers(data, width).reshape(-1, channels).mean(1), rate)


def _whole_numbers(data: bytes, width: int) -> np.ndarray:
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        wide = (parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) >> 8
        return wide.astype(np.float32) / 2**23
    return np.frombuffer(data, f"<i{width}").astype(np.float32) / 2 ** (8 * width - 1)


def resampled(signal: np.ndarray, rate: int, wanted_rate: int = RATE) -> np.ndarray:
    """At another rate, by cutting or extending the spectrum."""
    if rate == wanted_rate:
        return signal.astype(np.float32)
    count = max(1, round(len(signal) * wanted_rate / rate))
    spectrum = np.fft.rfft(signal)
    wanted = count // 2 + 1
    kept = np.zeros(wanted, complex)
    n = min(wanted, len(spectrum))
    kept[:n] = spectrum[:n]
    return (np.fft.irfft(kept, count) * count / len(signal)).astype(np.float32)
