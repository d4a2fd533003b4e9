import numpy as np
import pytest

from bowstring.eval.judges.face import closings
from bowstring.eval.judges.speech import (
    mean_cosine,
    plain_words,
    start_differences,
    word_error_rate,
    word_errors,
)
from bowstring.eval.speech import word_times
from bowstring.face.animate import FRAME, animate
from bowstring.speech.alignment import Span
from bowstring.train.speech.reading import Reading

SAID = ["The birch canoe slid.", "It cost 2 coins."]


def spans(phonemes, each=0.12):
    return [Span(p, i * each, (i + 1) * each) for i, p in enumerate(phonemes)]


def test_words_are_counted_as_they_are_said():
    assert word_error_rate(SAID, ["the birch canoe slid", "it cost two coins"]).value == 0
    found = word_error_rate(SAID, ["the canoe slid", "It costs two gold coins"])
    assert found.value == 3 / 8 and found.n == 2 and found.se > 0
    assert word_errors("Dr. Fox, at 9!", "doctor fox") == (2, 4)
    assert plain_words("Dr. Fox, at 9!") == ["doctor", "fox", "at", "nine"]


def test_voices_are_compared_pair_by_pair():
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert mean_cosine([east, north], [east, east]).value == pytest.approx(0.5)


def test_words_that_were_misheard_are_not_compared():
    ours = [Span("the", 0.0, 0.1), Span("old", 0.1, 0.4), Span("fox", 0.4, 0.8)]
    theirs = [Span("The", 0.02, 0.1), Span("cold", 0.1, 0.4), Span("fox.", 0.34, 0.8)]
    assert start_differences(ours, theirs) == pytest.approx([20, 60])


def test_times_of_words_are_sums_of_their_symbols():
    seconds = np.array([0.2, 0.1, 0.1, 0.05, 0.3, 0.2])  # silence, a, b, a gap, c, silence
    reading = Reading("ab c", seconds, np.zeros(1), np.zeros(1))
    assert word_times(reading) == [
        Span("ab", pytest.approx(0.2), pytest.approx(0.4)),
        Span("c", pytest.approx(0.45), pytest.approx(0.75)),
    ]


def test_lips_close_only_where_the_mouth_opens_beside_them():
    """A face that moves by the rule closes; one that never opens and one that never shuts score nothing."""
    said = spans("mɑmɑbɑt")
    face = animate(said, np.full(round(0.12 * 7 / FRAME), 0.8))
    assert closings(face, said) == [True] * 3
    assert closings(np.zeros_like(face), said) == [False] * 3
    assert closings(np.full_like(face, 0.4), said) == [False] * 3
    late = np.roll(face, round(0.12 / FRAME), axis=0)
    assert sum(closings(late, said)) < 3


def test_a_consonant_without_an_open_vowel_beside_it_tells_nothing():
    assert closings(np.zeros((60, 52)), spans("tstms")) == []
