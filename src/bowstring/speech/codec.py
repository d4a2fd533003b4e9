"""Frames of speech as tokens: eight frames at a time, on their principal components.

Shapes: f frames, n tokens of 64 ms, c channels.
"""

from __future__ import annotations

import numpy as np

from .pca import PCA
from .source_filter import BANDS, FLOOR, FRAMES, HIGHEST_PITCH, LOWEST_PITCH, NOISE_BANDS, Frames

ROW = 2 + BANDS + NOISE_BANDS
AUDIO_CHANNELS = 96
WEIGHTS = np.array([8.0, 2.5] + [1.0] * BANDS + [1.5] * NOISE_BANDS, np.float32)  # how much a unit is heard
QUIET = -11.0  # log power of a band below which differences are not heard


def codec_rows(frames: Frames) -> np.ndarray:
    """Numbers that may be averaged: log pitch, voicing, envelope, noise; weighed, `(f, 55)`."""
    noise = np.log(np.clip(frames.noise, 0.03, 1.0))
    envelope = np.maximum(frames.envelope, QUIET)
    parts = [np.log(frames.pitch)[:, None], frames.voiced[:, None], envelope, noise]
    return (np.concatenate(parts, 1) * WEIGHTS).astype(np.float32)


def frames_of(rows: np.ndarray) -> Frames:
    """The way back from `codec_rows`."""
    plain = rows / WEIGHTS
    pitch = np.exp(np.clip(plain[:, 0], np.log(LOWEST_PITCH), np.log(HIGHEST_PITCH)))
    envelope = plain[:, 2 : 2 + BANDS]
    quiet = envelope < QUIET + 0.5  # what was cut off there is silence
    envelope = np.where(quiet, QUIET + 0.5 + 4 * (envelope - QUIET - 0.5), envelope)
    noise = np.exp(np.clip(plain[:, 2 + BANDS :], np.log(0.03), 0))
    return Frames(pitch, (plain[:, 1] > 0.5).astype(np.float32), np.maximum(envelope, FLOOR), noise)


class SpeechCodec(PCA):
    """Tokens on the principal components of eight frames."""

    @classmethod
    def fit_frames(cls, rows: np.ndarray, channels: int = AUDIO_CHANNELS) -> SpeechCodec:
        """From blocks `(n, 8, 55)` of `codec_rows`."""
        return cls.fit(rows.reshape(len(rows), -1), channels)

    def encode(self, frames: Frames) -> np.ndarray:
        """Tokens `(n, c)`; the last frame is repeated to fill the last token."""
        rows = codec_rows(frames)
        rows = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % FRAMES, 0)])
        return self.transform(rows.reshape(-1, FRAMES * ROW))

    def decode(self, tokens: np.ndarray) -> Frames:
        return frames_of(self.inverse_transform(tokens).reshape(-1, ROW))
