"""The rulers of the benchmark, on cases whose length is known."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bowstring
from bowstring.eval.ngram import probabilities
from bowstring.eval.text import content, distinct_2, parses, token_entropy, words_found


@pytest.mark.parametrize("order", [1, 2, 5])
def test_an_ngram_model_is_a_distribution(order):
    train = np.random.default_rng(0).integers(0, 6, 400)
    prefix = train[10:14]
    total = sum(probabilities(train, np.array([*prefix, w]), order, 8)[-1] for w in range(8))
    assert total == pytest.approx(1)


def test_a_bigram_by_hand():
    """Witten-Bell: after 0 come 1, 1 and 2, so total 3 and two kinds; unigram likewise over uniform."""
    train = np.array([0, 1, 0, 1, 0, 2])
    unigram = (2 + 3 * 1 / 4) / (6 + 3)
    assert probabilities(train, np.array([0, 1]), 2, 4)[1] == pytest.approx((2 + 2 * unigram) / (3 + 2))


def test_a_long_context_tells_a_cycle():
    train = np.tile([1, 2, 3, 1, 4], 200)
    assert probabilities(train, train[:50], 5, 8)[10:].min() > 0.97
    assert probabilities(train, train[:50], 1, 8).max() < 0.45


def test_recall_counts_words_that_were_asked_for():
    assert content("a story about a brave fox and the wheel") == {"brave", "fox", "wheel"}
    assert words_found("a story about a fox and a wheel", "Two foxes met.") == 0.5


def test_entropy_and_distinct_pairs_by_hand():
    assert token_entropy([[1, 2], [3, 4]]) == 2
    assert distinct_2([[1, 2, 1, 2]]) == pytest.approx(2 / 3)


def test_code_that_does_not_parse_is_told():
    assert parses("def f(a):\n    return a\n") and not parses("def f(a:\n    return")


def test_memory_is_a_process_s_own_and_not_its_parents():
    """Counted over an exec, the peak of a child of a large process would be the parent's."""
    code = "from bowstring.eval.report import resident_mb; print(resident_mb())"
    where = {**os.environ, "PYTHONPATH": str(Path(bowstring.__file__).parents[1])}

    def peak():
        done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, check=True)
        return float(done.stdout)

    alone = peak()
    held = np.ones(int(1e6 * (alone + 200)) // 8)  # this process is now larger than its child will be
    assert abs(peak() - alone) < 60 and held[-1] == 1
