"""What the encoder learns by, and from."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bowstring.memory.embed import Sizes
from bowstring.memory.words import telling
from bowstring.train.data.notes import facts, note_pairs
from bowstring.train.data.wordnet import below, synset
from bowstring.train.encode.losses import contrast, distance, interchangeable, relations
from bowstring.train.encode.run import Texts, fit
from bowstring.train.encode.tower import Tower, zipf_shares
from bowstring.train.schedule import Run

NOTES = Path("bench/notes.jsonl")


def unit(*shape):
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(1)), dim=-1
    )


def test_equal_vectors_have_neither_distance_nor_divergence():
    x = unit(6, 8)
    assert distance(x, x).item() == pytest.approx(0, abs=1e-6)
    assert relations(x, x).item() == pytest.approx(0, abs=1e-6)
    turned = x @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0]
    assert relations(turned, x).item() == pytest.approx(0, abs=1e-4)  # only likenesses count
    assert distance(turned, x) > 0.1


def test_contrast_is_the_logarithm_of_the_choice_where_nothing_tells_apart():
    same = torch.ones(5, 4) / 2
    none = torch.zeros(5, 5, dtype=torch.bool)
    assert contrast(same, same, none).item() == pytest.approx(math.log(5), abs=1e-5)
    two = torch.eye(5, dtype=torch.bool)
    two[0, 1] = two[1, 0] = True  # what is so like the right one is no wrong one
    assert contrast(same, same, two).item() == pytest.approx(
        (3 * math.log(5) + 2 * math.log(4)) / 5, abs=1e-5
    )


def test_partners_that_are_nearly_the_same_are_interchangeable():
    x = unit(4, 8)
    y = torch.cat([x[:1], x[:1], x[2:]])
    assert interchangeable(unit(8, 8)[4:], y)[0, 1] and not interchangeable(x, x).fill_diagonal_(False).any()


def test_a_line_of_wordnet_is_read():
    line = (
        "02086723 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 003 @ 02085998 n 0000 "
        '~ 01325095 n 0000 ~ 02087384 n 0101 | a member of the genus Canis; "the dog barked all night"  '
    )
    one = synset(line)
    assert one.words == ("dog", "domestic dog", "Canis familiaris") and one.id == "n02086723"
    assert one.gloss == "a member of the genus Canis" and one.examples == ("the dog barked all night",)
    assert one.kinds == ("n01325095", "n02087384")
    leaf = synset("01325095 05 n 01 puppy 0 001 @ 02086723 n 0000 | a young dog  ")
    assert below(
        {one.id: one, leaf.id: leaf, "n02087384": synset("02087384 05 n 01 pooch 0 000 | a dog")}, one.id
    ) == ["pooch", "puppy"]


def test_pairs_of_notes_are_all_different_and_the_same_every_time():
    from bowstring.train.data.notes import KINDS

    slots = {
        kind: [f"{kind}{i}" for i in range(9)]
        for kind in [*KINDS, *"name name2 day month number body place".split()]
    }
    some = [*note_pairs(slots, 300)]
    assert len(set(some)) == 300 and some == [*note_pairs(slots, 300)]
    assert not any("{" in text for pair in some for text in pair)


def stems(text):
    cut = lambda word: (
        re.sub(r"(ies|ing|ed|es|s|er|est|ly)$", "", word) if len(word) > 5 else word.rstrip("s")
    )
    return {cut(word) for word in telling(text)} if text.strip() else set()


@pytest.mark.skipif(not NOTES.exists(), reason="lies in the source tree")
def test_no_fact_that_memory_is_measured_with_is_learned():
    """A fact of the grammar and one that is measured never share words in both note and question."""
    measured = [row for line in NOTES.read_text().splitlines() if "question" in (row := json.loads(line))]
    known = [(stems(row["note"]), stems(row["question"])) for row in measured]
    assert len(known) >= 100
    assert all(not note & question for note, question in known)  # the rule of the measurement
    bare = lambda template: re.sub(r"\{\w+\}", " ", template)
    for notes, questions in facts():
        for note in notes:
            for question in questions:
                a, b = stems(bare(note)) - {"my"}, stems(bare(question))
                assert not any(a & c and b & d for c, d in known), (note, question)


def small_texts(seed):
    rng = np.random.default_rng(seed)
    ids = [[0, *rng.integers(1, 30, 4).tolist()] for _ in range(12)]
    taught = [rng.normal(size=(6, 8)).astype(np.float16) for _ in range(2)]
    return Texts(ids[:6], ids[6:], *(one / np.linalg.norm(one, axis=1, keepdims=True) for one in taught))


def small_tower():
    torch.manual_seed(3)
    tower = Tower(Sizes(30, entry=6, width=12, depth=1, attention_heads=2, ffn_hidden=8, context=8, out=8))
    tower.begin(np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32), zipf_shares(["x"] * 30))
    return tower


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    kinds = {"word": small_texts(1), "chat": small_texts(2)}
    whole, halves = small_tower(), [small_tower(), small_tower()]
    losses = [loss for _, (_, _, loss) in zip(range(9), fit(whole, kinds, Run(tmp_path / "a")), strict=False)]
    first = fit(halves[0], kinds, Run(tmp_path / "b", every_seconds=-1))
    began = [next(first)[2] for _ in range(5)]  # the fifth step is made and not saved
    first.close()
    second = fit(halves[1], kinds, Run(tmp_path / "b", every_seconds=-1))
    went_on = [next(second) for _ in range(5)]
    second.close()
    assert went_on[0][0].step == 4
    assert began[:4] + [loss for _, _, loss in went_on] == losses


def test_a_new_tower_says_of_a_piece_what_the_teacher_says_but_for_lost_components():
    tower = Tower(Sizes(30, entry=8, width=12, depth=1, attention_heads=2, ffn_hidden=8, context=8, out=8))
    alone = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    tower.begin(alone, zipf_shares(["x"] * 30))
    with torch.no_grad():
        tower.out[:, 8:] = 0  # what begins at random
        made = tower(torch.arange(30)[:, None], torch.ones(30, 1, dtype=torch.bool)).numpy()
    np.testing.assert_allclose(made, alone / np.linalg.norm(alone, axis=1, keepdims=True), atol=1e-5)
