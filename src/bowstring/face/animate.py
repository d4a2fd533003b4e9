"""Times of phonemes as the motion of a face: what the avatar head learns from, and what it is judged by.

Every sound pulls the face toward its viseme with a dominance that rises before it and falls after it; the
face is the mean weighed by dominance (Cohen & Massaro 1993, "Modeling coarticulation in synthetic visual
speech"). Frames are 16 ms. Shapes: f frames, 52 shapes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..speech.alignment import Span
from .shapes import CLOSED, SHAPES, TABLE, VISEMES, viseme_of

FRAME = 0.016  # seconds
RISE, FALL = 0.080, 0.120  # seconds from a tenth of a sound's dominance to all of it, and back
STRENGTH = {"PP": 6.0, "FF": 4.0, "sil": 0.5, "CH": 2.0, "U": 1.5, "O": 1.5}
JAW = SHAPES.index("jawOpen")
LIDS = [SHAPES.index("eyeBlinkLeft"), SHAPES.index("eyeBlinkRight")]
PRESS = [SHAPES.index("mouthPressLeft"), SHAPES.index("mouthPressRight")]
BROWS = [SHAPES.index("browInnerUp"), SHAPES.index("browOuterUpLeft"), SHAPES.index("browOuterUpRight")]
BLINK = (0.06, 0.05, 0.09)  # seconds closing, closed, opening
LIP_GAP = 0.05  # jawOpen below which lips that press are shut


def dominance(moment: np.ndarray, start: float, end: float) -> np.ndarray:
    """1 within a sound, falling exponentially to a tenth over RISE before it and FALL after it."""
    before, after = np.maximum(start - moment, 0), np.maximum(moment - end, 0)
    return np.exp(-np.log(10) * (before / RISE + after / FALL))


def animate(phonemes: Sequence[Span], energy: np.ndarray, seed: int = 0) -> np.ndarray:
    """Shapes `(f, 52)`; f is the length of `energy`.

    Args:
        phonemes: when each of them is there.
        energy: loudness of every frame, 0..1; it opens the jaw.
    """
    frames = len(energy)
    moment = (np.arange(frames) + 0.5) * FRAME
    weight, face = np.full(frames, 0.05), np.zeros((frames, len(SHAPES)))
    for span in phonemes:
        viseme = viseme_of(span.text)
        if span.text in "ˈˌ" and span.text:
            continue
        pull = STRENGTH.get(viseme, 1.0) * dominance(moment, span.start, span.end)
        weight += pull
        face += pull[:, None] * TABLE[VISEMES.index(viseme)]
    face /= weight[:, None]
    face[:, JAW] *= 0.55 + 0.6 * energy
    shut(face, phonemes)
    face[:, LIDS] = np.maximum(face[:, LIDS], blinks(frames, seed)[:, None])
    face[:, BROWS] += 0.25 * slow(energy, 0.2)[:, None]
    return face.clip(0, 1).astype(np.float32)


def shut(face: np.ndarray, phonemes: Sequence[Span]) -> None:
    """Lips meet once in every p, b and m, whatever surrounds it: the nearest face, in place, whose jaw is
    below a bound and whose lips press above one.
    """
    moment = (np.arange(len(face)) + 0.5) * FRAME
    for span in phonemes:
        if span.text and span.text in CLOSED:
            middle = (span.start + span.end) / 2
            half = max((span.end - span.start) / 2, FRAME)
            open_by = np.clip((np.abs(moment - middle) - half * 0.6) / 0.03, 0, 1)
            face[:, JAW] = np.minimum(face[:, JAW], LIP_GAP * 0.4 + open_by)
            face[:, PRESS] = np.maximum(face[:, PRESS], 0.6 * (1 - open_by)[:, None])


def blinks(frames: int, seed: int) -> np.ndarray:
    """Lids 0..1: a blink every two to five seconds."""
    rng = np.random.default_rng(seed)
    moment, out, at = (np.arange(frames) + 0.5) * FRAME, np.zeros(frames), rng.uniform(0.5, 3.0)
    closing, closed, opening = BLINK
    while at < frames * FRAME:
        rise = (moment - at) / closing
        fall = 1 - (moment - at - closing - closed) / opening
        out = np.maximum(out, np.clip(np.minimum(rise, fall), 0, 1))
        at += rng.uniform(2.0, 5.0)
    return out


def slow(values: np.ndarray, seconds: float) -> np.ndarray:
    """A running mean."""
    count = max(1, round(seconds / FRAME))
    kernel = np.ones(count) / count
    return np.convolve(values, kernel, "same")[: len(values)]


def loudness(envelope: np.ndarray) -> np.ndarray:
    """Loudness 0..1 in frames of 16 ms from log power `(2 f, bands)` in frames of 8 ms."""
    level = envelope[:, : envelope.shape[1] * 2 // 3].mean(1)
    pairs = level[: len(level) // 2 * 2].reshape(-1, 2).mean(1)
    return np.clip((pairs + 10) / 7, 0, 1)


def closures(face: np.ndarray, phonemes: Sequence[Span]) -> float:
    """Share of p, b and m in which the lips are shut at some frame; NaN without any."""
    hits = []
    for span in phonemes:
        if span.text and span.text in CLOSED:
            first, last = int(span.start / FRAME), int(np.ceil(span.end / FRAME))
            part = face[max(0, first) : max(last, first + 1)]
            hits.append(bool(len(part)) and float(part[:, JAW].min()) < LIP_GAP + 0.03)
    return float(np.mean(hits)) if hits else float("nan")


def lag(made: np.ndarray, truth: np.ndarray, most: int = 12) -> float:
    """Seconds by which the jaw of one face comes after that of another, by the best correlation, to a
    fraction of a frame.
    """
    a, b = (x[:, JAW] - x[:, JAW].mean() for x in (made, truth))
    n = min(len(a), len(b)) - 2 * most
    fits = np.array([a[most + d : most + d + n] @ b[most : most + n] for d in range(-most, most + 1)])
    k = int(fits[1:-1].argmax()) + 1
    bend = fits[k - 1] - 2 * fits[k] + fits[k + 1]
    part = (fits[k - 1] - fits[k + 1]) / (2 * bend) if bend < 0 else 0.0
    return float((k - most + part) * FRAME)
