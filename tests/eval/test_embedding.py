"""How meaning is measured."""

import numpy as np
import pytest

from bowstring.eval.embedding import found_by_vectors, found_by_words, trial
from bowstring.train.data.pairs import Pair

PAIRS = [
    *(Pair("title", "test", f"title {i}", f"opening {i}") for i in range(5)),
    Pair("title", "test", "title 0", "told again"),
    Pair("title", "test", "another name", "opening 1"),
    *(Pair("passage", "test", f"before {i}", f"after {i}") for i in range(900)),
    *(Pair("word", "test", f"word {i}", f"gloss {i}") for i in range(7)),
]


def test_a_trial_has_one_right_answer_for_each_question_among_400():
    questions, texts = trial(PAIRS, "title", 4)
    assert questions == [f"title {i}" for i in range(4)] and texts[:4] == [f"opening {i}" for i in range(4)]
    assert len(texts) == len({*texts}) == 400
    questions, texts = trial(PAIRS, "word", 400)
    assert questions[3] == "gloss 3" and texts == [f"word {i}" for i in range(7)]


def test_what_is_found_is_among_the_ten_best():
    def on_a_circle(texts):
        """The text of number i at an angle of i twentieths, the question `shift` further on."""
        angles = np.array([sum(map(int, one.split("+"))) for one in texts]) / 20
        return np.stack([np.cos(angles), np.sin(angles)], 1)

    texts = [str(i) for i in range(60)]
    for shift, found in ((0, 60), (4, 60), (6, 10)):  # further on, eleven lie nearer, but near the end
        questions = [f"{i}+{shift}" for i in range(60)]
        assert sum(found_by_vectors(on_a_circle, questions, texts)) == pytest.approx(found, abs=2)


def test_words_find_only_what_has_them():
    assert found_by_words(["a red fox", "the tax"], ["fox", "bear"]) == [True, False]
