from collections import Counter

from bowstring.adapt import learners
from bowstring.adapt.levels import LEVELS
from bowstring.eval import evolution
from bowstring.eval.results import tree_of
from bowstring.weights.shipped import model_folder


def test_every_level_is_measured_and_as_many_lessons_as_the_gate_is_asked_of():
    counts = Counter(
        (what, kind if what == "lesson" else "") for what, kind, _ in evolution.jobs(quick=False)
    )
    assert counts == {("level", ""): 5, ("lesson", "useful"): 10, ("lesson", "useless"): 40}
    assert {name for what, name, _ in evolution.jobs(quick=False) if what == "level"} == {*LEVELS}


def test_domains_that_are_looked_for_share_no_name():
    worlds = evolution.different_worlds()
    names = [name for world in worlds for name in {fact.name.lower() for fact in world.facts}]
    assert len(worlds) == evolution.DOMAINS and len(names) == len({*names})


def test_numbers_of_a_level_say_what_they_were_taken_over(monkeypatch):
    monkeypatch.setattr(evolution, "THINGS", 2)
    monkeypatch.setattr(evolution, "STEPS", {"L2": 1})
    monkeypatch.setattr(learners, "OLD", 16)
    found = evolution.level_numbers(model_folder(None), "L2")
    assert {"gain", "share", "minutes", "base_loss", "facts_before", "facts_after"} <= found.keys()
    assert tree_of(found, "value")["facts_before"] == 0 and tree_of(found, "n")["facts_before"] == 28
    assert 0.005 < tree_of(found, "value")["share"] < 0.02
