"""A voice as numbers that can be read off any recording, and other voices made by warping one.

The numbers are statistics of the frames: what the vocal tract and the glottis do on average, and how much it
varies. Shapes: f frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .source_filter import BANDS, NOISE_BANDS, Frames, band_centres, mel

VOICE = 2 * BANDS + NOISE_BANDS + 2
FEWEST = 40  # voiced frames from which a voice can be told


def voice_of(frames: Frames) -> np.ndarray:
    """`(103,)`: mean and spread of the envelope where voiced and loud, level removed; noise; pitch.

    Raises:
        ValueError: too little of the sound is voiced.
    """
    here = frames.voiced > 0.5
    if here.sum() < FEWEST:
        raise ValueError(
            f"only {here.sum() * 0.008:.2f} s of the recording are voiced; expected at least "
            f"{FEWEST * 0.008:.2f} s, better 5 s of clear speech"
        )
    envelope = frames.envelope[here]
    level = envelope.mean(1)
    loud = level > np.median(level)
    shape = (envelope - level[:, None])[loud]
    pitch = np.log(frames.pitch[here])
    centre = np.median(pitch)
    kept = np.abs(pitch - centre) < 0.5  # octave errors
    numbers = [
        shape.mean(0) / 2,
        shape.std(0) - 1,
        np.log(np.clip(frames.noise[here][loud], 0.03, 1)).mean(0) + 1,
        [(centre - 5) * 3, pitch[kept].std() * 5 - 0.7],
    ]
    return np.concatenate(numbers).astype(np.float32)


@dataclass(frozen=True)
class Warp:
    """A pseudo-speaker: factors of pitch, of the vocal tract's resonances, and of speed."""

    pitch: float = 1.0
    formants: float = 1.0
    speed: float = 1.0


def warped(frames: Frames, warp: Warp) -> Frames:
    """The same words in another voice. Only pitch and resonances change here; speed is the durations'."""
    top = mel(np.array(12_000.0))
    at = mel(band_centres(BANDS) / warp.formants) / top * (BANDS - 1)
    at = np.clip(at, 0, BANDS - 1.001)
    low = at.astype(int)
    share = (at - low).astype(np.float32)
    envelope = frames.envelope[:, low] * (1 - share) + frames.envelope[:, low + 1] * share
    return Frames(frames.pitch * warp.pitch, frames.voiced, envelope, frames.noise)


def draw_warp(rng: np.random.Generator) -> Warp:
    """A pseudo-speaker: deep voices have long vocal tracts, mostly."""
    size = rng.normal()
    pitch = float(np.exp(np.clip(0.28 * size + 0.12 * rng.normal(), -0.75, 0.55)))
    formants = float(np.exp(np.clip(0.07 * size + 0.04 * rng.normal(), -0.2, 0.2)))
    return Warp(pitch, formants, float(np.exp(np.clip(0.12 * rng.normal(), -0.3, 0.3))))
