import numpy as np
import pytest

from bowstring.eval.judges.speech import alike, plain_words, word_errors


def test_words_are_counted_as_they_are_said():
    said = ["The birch canoe slid.", "It cost 2 coins."]
    assert word_errors(said, ["the birch canoe slid", "it cost two coins"]) == 0
    assert word_errors(said, ["the canoe slid", "It costs two gold coins"]) == 3 / 8
    assert plain_words("Dr. Fox, at 9!") == ["doctor", "fox", "at", "nine"]


def test_voices_are_compared_pair_by_pair():
    east, north = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert alike([east, north], [east, east]) == pytest.approx(0.5)
