"""The protocol of guidance: held-out trials, judges that know nothing of vectors, a control at chance."""

import random

import pytest
import torch

from bowstring.eval.memory_guidance import (
    KEYS,
    chosen,
    measure_guidance,
    nearest,
    picture_trials,
    text_trials,
)
from bowstring.eval.results import Setting
from bowstring.train.data.pictures import ALL_TINTS, STYLE_PACKAGES
from bowstring.train.data.remembered import which
from bowstring.train.memory_run import remembered_facts, remembered_pictures


def test_no_trial_was_learned():
    learned = set(remembered_facts(400))
    trials = text_trials(40)
    assert all(ten[0].held_out and len(set(ten)) == 10 and ten[0] not in learned for ten in trials)
    things = [f"thing {i}" for i in range(20)]
    pictures = picture_trials(things, 40)
    assert all(ten[0].held_out and len({one.colour for one in ten}) == 10 for ten in pictures)
    assert {one.style for one in pictures[0]} == set(STYLE_PACKAGES)


def test_pictures_are_learned_of_other_combinations():
    class Named:
        def __init__(self, label):
            self.label = label

    found = remembered_pictures([Named("fox"), Named("owl")], 50)
    assert len(found) == 50 and not any(one.held_out for one in found)
    assert {one.colour for one in found} <= set(ALL_TINTS)


def test_a_perfect_guide_is_seen_and_shuffling_brings_chance():
    rng = random.Random(0)
    found = [which(ten[0].story(rng), ten) for ten in text_trials(100)]
    right, shuffled = chosen(found)
    assert right.value == 1.0
    assert shuffled.value == pytest.approx(0.1, abs=4 * 0.03)
    assert chosen([None] * 10)[0].value == chosen([None] * 10)[1].value == 0


def test_pictures_are_told_apart_by_their_colours():
    tones = torch.tensor([[0.9, -0.9, -0.9], [-0.9, 0.9, -0.9], [-0.9, -0.9, 0.9]])
    drawings = torch.ones(3, 3, 32, 32)
    drawings[:, :, 8:24, 8:24] = tones[:, :, None, None]
    for number, tone in enumerate(tones):
        seen = torch.ones(1, 3, 32, 32)
        seen[0, :, :14, :20] = (tone + 0.05 * torch.randn(3))[:, None, None]
        assert nearest(seen, drawings) == number


def test_a_model_without_projectors_measures_nothing(tmp_path):
    found = measure_guidance(Setting(model=tmp_path))
    assert not found.numbers and set(found.missing) == set(KEYS)
