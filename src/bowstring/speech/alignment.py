"""Phonemes on the clock: which of them is due in which moment.

Shapes: p phonemes, f frames of 8 ms, l tokens of 8 frames with 4 slots each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..nn.config import SLOTS
from .g2p import PAUSES, SYMBOLS, Word
from .source_filter import FRAMES, HOP, RATE

ALPHABET = PAUSES + SYMBOLS  # sound i + 1; 0 is silence
SECONDS = HOP / RATE


@dataclass(frozen=True)
class Span:
    """A word, sound or viseme and when it is there, seconds."""

    text: str
    start: float
    end: float


def spans_of(phonemes: np.ndarray, seconds: np.ndarray, begin: float = 0.0) -> list[Span]:
    """Ids and their lengths `(p,)` as spans, one after the other."""
    ends = begin + np.cumsum(seconds)
    rows = zip(phonemes.tolist(), (ends - seconds).tolist(), ends.tolist(), strict=True)
    return [Span(ALPHABET[i - 1] if i else "", start, end) for i, start, end in rows]


def phoneme_ids(words: list[Word]) -> tuple[list[int], list[int]]:
    """Ids of the phonemes of a sentence, silence at both ends, and the word each belongs to (-1: none).

    Stress marks are phonemes of their own, short ones; words are not parted.
    """
    ids, owners = [0], [-1]
    for number, word in enumerate(words):
        for phoneme in word.phonemes:
            ids.append(ALPHABET.index(phoneme) + 1)
            owners.append(number)
    return [*ids, 0], [*owners, -1]


def token_count(durations: np.ndarray) -> int:
    """Tokens that phonemes so long take, frames; one sum for all who ask, for rounding may decide."""
    return max(1, int(np.ceil(np.cumsum(durations)[-1] / FRAMES)))


def told(phonemes: np.ndarray, durations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the network is told at every slot: ids `(l, 4)`, and progress `(l, 4, 2)`: how far into the
    sound, 0..1, and the logarithm of its seconds, centred.

    Args:
        phonemes: `(p,)` ids. durations: `(p,)` in frames, real-valued.
    """
    ends = np.cumsum(durations)
    tokens = token_count(durations)
    width = FRAMES / SLOTS
    moment = (np.arange(tokens * SLOTS) + 0.5) * width
    index = np.minimum(np.searchsorted(ends, moment, side="right"), len(phonemes) - 1)
    starts = ends - durations
    share = np.clip((moment - starts[index]) / np.maximum(durations[index], 1e-3), 0, 1)
    seconds = np.log(np.maximum(durations[index] * SECONDS, 5e-3)) + 2.6
    progress = np.stack([share, seconds], -1).astype(np.float32)
    return phonemes[index].reshape(tokens, SLOTS), progress.reshape(tokens, SLOTS, 2)
