"""Likelihoods by source: what is missing is missing, what is paired is compared in pairs."""

import math

import numpy as np
import pytest

from bowstring.eval.likelihood import (
    HeldText,
    bits_per_byte,
    held_texts,
    key_of,
    over_works,
    perplexity_gap,
)
from bowstring.train.data.corpora import Document


def held(source, work, size=32, tokens=8):
    return HeldText("text", source, [1], [9] * tokens, size, work)


def document(source, work, body, **facts):
    kind = "text" if source in ("tale", "story") else "code"
    return Document(kind, "test", source, ("a prompt",), body, True, work=work, title=work, **facts)


def test_gap_is_of_one_source_and_real_is_of_all_that_people_wrote():
    texts = [held("tale", "a"), held("tale", "b"), held("function", "c"), held("story", "d")]
    rival = np.array([8.0, 16.0, 8.0, 1.0])
    nats = rival + 8 * np.array([0.1, 0.1, 0.4, 5.0])
    gap = perplexity_gap(texts, nats, rival)
    assert gap["tale"].value == pytest.approx(math.expm1(0.1)) and gap["tale"].se == pytest.approx(
        0, abs=1e-9
    )
    assert gap["function"].value == pytest.approx(math.expm1(0.4)) and gap["function"].se is None
    assert gap["real"].value == pytest.approx(math.expm1(0.2)) and gap["real"].n == 3


def test_a_missing_source_is_none_and_so_is_what_it_belongs_to():
    bits = bits_per_byte([held("function", "c"), held("story", "d")], np.array([8.0, 8.0]))
    assert bits["tale"].value is bits["real"].value is bits["snippet"].value is None
    assert bits["story"].value == pytest.approx(8 / math.log(2) / 32)


def test_every_work_gives_one_piece_before_any_gives_two():
    documents = [document("tale", "long", f"piece {i}") for i in range(50)]
    documents += [document("tale", f"short {i}", f"only {i}") for i in range(4)]
    first = over_works(documents)[:5]
    assert {one.work for one in first} == {"long", *(f"short {i}" for i in range(4))}
    assert over_works([*reversed(documents)]) == over_works(documents)


def test_held_texts_are_spread_over_works_and_were_not_learned(codec):
    long = "A small fox ran over the hill and met a bear who was kind. " * 8
    documents = [document("tale", f"work {i % 3}", f"{long} {i}") for i in range(30)]
    learned = [Document("text", "train", "tale", ("p",), long, True, work="w", title="w")]
    found = held_texts([*learned, *documents], codec, 128, 6, rule=2)
    assert sorted(one.work for one in found) == sorted(f"work {i % 3}" for i in range(6))
    assert all(len(one.body) % 16 == 0 and one.size > 0 for one in found)


@pytest.mark.parametrize(
    ("novelty", "name"), [("template", "story"), ("filler", "story_filler"), ("combination", "story_known")]
)
def test_templates_words_and_combinations_are_told_apart_where_they_were_held_out(novelty, name):
    one = document("story", "x", "x", novelty=novelty)
    assert key_of(one, 2) == name and key_of(one, 1) == "story"
    assert key_of(document("tale", "x", "x"), 2) == "tale"
