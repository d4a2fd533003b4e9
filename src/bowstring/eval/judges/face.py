"""The judge of lips: do they close in p, b and m, seen against the vowels beside them that open the mouth?

A face that never opens closes nothing, and one that never shuts does not either. Frames are 16 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...face.animate import FRAME, JAW, LIP_GAP
from ...face.shapes import CLOSED, TABLE, VISEMES, viseme_of
from ...speech.alignment import Span

OPEN = {name for name, jaw in zip(VISEMES, TABLE[:, JAW].tolist(), strict=True) if jaw >= 0.4}
NEAR = 0.25  # seconds between a consonant and the vowel that it is seen against
SHUT = LIP_GAP + 0.03  # jawOpen below which lips that press are shut
OPENED = 3 * LIP_GAP  # jawOpen above which a mouth is seen to be open


def jaw_in(face: np.ndarray, span: Span) -> np.ndarray:
    """jawOpen in the frames of a span, at least one."""
    first, last = int(span.start / FRAME), int(np.ceil(span.end / FRAME))
    return face[max(0, min(first, len(face) - 1)) : max(last, first + 1), JAW]


def beside_open_vowels(phonemes: Sequence[Span]) -> Iterator[tuple[Span, list[Span]]]:
    """Every p, b and m with the open vowels near it; those without any tell nothing and are left out."""
    vowels = [span for span in phonemes if span.text and viseme_of(span.text) in OPEN]
    for span in phonemes:
        if span.text and span.text in CLOSED:
            near = [v for v in vowels if max(v.start - span.end, span.start - v.end) < NEAR]
            if near:
                yield span, near


def closings(face: np.ndarray, phonemes: Sequence[Span]) -> list[bool]:
    """Of every p, b and m beside an open vowel: are the lips shut in it and open in the vowel?"""
    return [
        bool(jaw_in(face, span).min() < SHUT and max(jaw_in(face, vowel).max() for vowel in near) > OPENED)
        for span, near in beside_open_vowels(phonemes)
    ]
