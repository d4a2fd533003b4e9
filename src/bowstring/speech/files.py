"""Sound as files: WAV that carries how it was made, and recordings as libsndfile reads them.

Nothing here knows of torch.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import as_path, output, write
from .source_filter import RATE

LONGEST = 600  # seconds that a recording may have
MOST = LONGEST * 48_000  # samples a channel
SLOWEST, FASTEST = 1000, 400_000  # Hz
BLOCK = 4096  # samples that are read at a time, so that what lies before a fault is kept
LARGEST_STREAM = 1 << 28  # bytes
ENDINGS = (".wav",)
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")
EXPECTED = "expected WAV, FLAC, OGG, MP3 or AIFF; `ffmpeg -i FILE voice.wav` makes one of most others"


def to_wav(signal: np.ndarray, rate: int = RATE, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A WAV file of 16-bit samples with metadata as JSON in its comment; equal arguments give equal bytes.

    >>> read_wav_metadata(to_wav(np.zeros(9), metadata={"seed": 7}))
    {'seed': 7}
    """
    samples = (np.clip(signal, -1, 1) * 32767).round().astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    data = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"data", samples)
    if metadata is not None:
        note = json.dumps(dict(metadata), sort_keys=True).encode() + b"\0"
        data += _chunk(b"LIST", b"INFO" + _chunk(b"ICMT", note + b"\0" * (len(note) % 2)))
    return _chunk(b"RIFF", data)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack("<4sI", name, len(data)) + data


def save_wav(
    path: Path | str, signal: np.ndarray, rate: int = RATE, metadata: Mapping[str, Any] | None = None
) -> None:
    """Writes a WAV file whole or not at all.

    Raises:
        ValueError: another ending. OSError: it cannot be written.
    """
    write(output(path, ENDINGS), to_wav(signal, rate, metadata))


def read_wav_metadata(data: bytes) -> dict[str, Any]:
    """What `to_wav` wrote beside the samples, or nothing."""
    at = data.rfind(b"INFOICMT")
    return {} if at < 0 else json.loads(data[at + 12 :].rstrip(b"\0"))


def read_sound(path: Path | str) -> tuple[np.ndarray, int]:
    """The mean of a recording's channels, `(s,)` in -1..1 (floats may go beyond), and its rate in Hz.

    A file that breaks off is read up to there. Its length is checked before its samples are read.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no sound that can be read, an empty one, or one longer than ten minutes.
    """
    import soundfile  # its library is loaded only where something is read

    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no sound {path}")
    if not path.is_file():
        raise ValueError(f"{path} is no file; expected a sound")
    try:
        with path.open("rb") as raw:
            file = soundfile.SoundFile(_source(raw, path.stat().st_size), closefd=False)
            if file.format not in FORMATS:
                raise ValueError(f"{path} is {file.format}; {EXPECTED}")
            signal, rate = _mean_of_channels(file, path), file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is no sound that can be read: {error.error_string} {EXPECTED}") from None
    if not len(signal):
        raise ValueError(f"{path} holds no sound")
    return signal, rate


def _source(file: Any, size: int) -> Any:
    """What libsndfile is to read: the file, or, of a stream whose writer never came back to say how long it
    is, a copy whose length stands for all there is.
    """
    head = file.read(4096)
    at = head.find(b"data\0\0\0\0", 12) if head.startswith(b"RIFF") else -1
    if at < 0 or int.from_bytes(head[4:8], "little") > at or size > LARGEST_STREAM:
        file.seek(0)
        return file.fileno()  # a name that ends in .raw would be believed
    return io.BytesIO(head[: at + 4] + b"\xff" * 4 + head[at + 8 :] + file.read())


def _mean_of_channels(file: Any, path: Path) -> np.ndarray:
    rate, blocks = file.samplerate, list[np.ndarray]()
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError(f"{path} has {rate} Hz; expected {SLOWEST} to {FASTEST}")
    _short_enough(file.frames, rate, path)
    size = max(BLOCK, file.frames) if file.format == "MP3" else BLOCK  # MP3 loses its thread between blocks
    while True:
        try:
            block = file.read(size, "float32", always_2d=True)
        except RuntimeError:  # a fault in the middle: what lies before it is sound
            if not blocks:
                raise
            break
        if not len(block):
            break
        blocks.append(block.mean(1))
        _short_enough(size * (len(blocks) - 1), rate, path)  # the length in the header may have been a guess
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _short_enough(samples: int, rate: int, path: Path) -> None:
    most = min(LONGEST * rate, MOST)
    if samples > most:
        raise ValueError(
            f"{path} has {samples / rate:,.0f} s at {rate} Hz; expected at most {most / rate:,.0f} s"
        )


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
