"""Drafting changes no law, and what keeps its drafts unjudged is caught."""

import numpy as np
import pytest

from bowstring.engine import ArrowEngine
from bowstring.eval.law import Surprise, law, surprise, total
from bowstring.text.native import BARRED
from bowstring.text.tokenizer import EOS


@pytest.fixture(scope="module")
def engine():
    return ArrowEngine.load("text-int4")


def test_the_surprise_of_a_token_is_its_nats_less_the_entropy(engine):
    """By hand, for one token behind a prompt."""
    decoder = engine.text_pipeline.decoder
    known, token = engine.text_pipeline.prompt("a story about a fox", "text"), 300
    logits = decoder.logits(decoder.forward(np.array(known), decoder.cache()))[-1].astype(np.float64)
    logits[[*BARRED, EOS]] = -np.inf
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    seen = p > 0
    entropy = -(p[seen] * np.log(p[seen])).sum()
    found = surprise(decoder, known, [token])
    assert found.excess == pytest.approx(-np.log(p[token]) - entropy, rel=1e-9)
    assert found.variance == pytest.approx((p[seen] * np.log(p[seen]) ** 2).sum() - entropy**2, rel=1e-9)


def test_a_difference_of_two_deviations_has_the_normal_law():
    assert Surprise(2.0, 1.0, 1).p == pytest.approx(0.0455, abs=1e-4)
    assert total([Surprise(1.0, 0.5, 3), Surprise(1.0, 0.5, 4)]) == Surprise(2.0, 1.0, 7)


def test_a_few_texts_already_tell_unjudged_drafts_from_judged_ones(engine):
    found = law(engine, contexts=2, length=64)
    assert found["law_p"].value > 1e-4 and found["law_p_control"].value < 1e-6


@pytest.mark.slow
def test_the_law_of_drafted_text_is_that_of_one_token_at_a_time(engine):
    found = law(engine)
    assert found["law_p"].n >= 20_000 and found["law_p"].value > 1e-4
    assert found["law_p_control"].value < 1e-6
