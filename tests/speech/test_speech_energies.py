import numpy as np
import pytest

from bowstring.speech.alignment import Span
from bowstring.speech.energies import Level, Pace
from bowstring.speech.result import SpeechResult


def said(audio, words=()):
    return SpeechResult(np.asarray(audio, np.float32), tuple(words), (), 1, (0.0,), {})


def test_level_is_the_root_mean_square_in_decibels():
    tone = 0.1 * np.sin(2 * np.pi * np.arange(24_000) / 24)
    assert Level(-23.0103)(said(tone)) == pytest.approx(0, abs=1e-6)
    assert Level(-20, spread=2)(said(tone)) == pytest.approx(3.0103**2 / 8, rel=1e-4)
    assert np.isfinite(Level(-20)(said(np.zeros(8))))


def test_pace_counts_words_from_the_first_to_the_end_of_the_last():
    words = [Span("a", 1.0, 1.2), Span("b", 1.4, 1.5), Span("c", 1.8, 2.0)]
    assert Pace(3)(said(np.zeros(8), words)) == 0
    assert Pace(2.4, spread=0.3)(said(np.zeros(8), words)) == pytest.approx(2)
    assert Pace(3)(said(np.zeros(8))) == pytest.approx(50)
