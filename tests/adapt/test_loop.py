"""Doubt, memories, lesson: what calls for learning and what is learned."""

from types import SimpleNamespace

import pytest

from bowstring.adapt.loop import MOST, learn_if_unsure, lesson_of_memories

FACTS = [f"the animal number {i} of this island eats red leaves and sleeps by day" for i in range(80)]


class Router:
    def __init__(self):
        self.asked = []

    def evolve(self, lesson, domain, **options):
        self.asked.append((lesson, domain, options))
        return "kept"


def test_typical_results_teach_nothing():
    router, looked = Router(), []
    typical = SimpleNamespace(uncertainty=1.5)
    assert learn_if_unsure(router, "an island", typical, lambda *asked: looked.append(asked) or FACTS) is None
    assert not router.asked and not looked


def test_doubt_makes_a_lesson_of_what_is_remembered():
    """No passage on both sides, none twice, the doubt handed on."""
    router, doubtful = Router(), SimpleNamespace(uncertainty=2.5)
    recalled = []

    def recall(subject, most):
        recalled.append((subject, most))
        return [*FACTS, FACTS[0]]

    assert learn_if_unsure(router, "an island", doubtful, recall, seconds=9.0) == "kept"
    ((lesson, domain, options),) = router.asked
    learned, held = ({one.prompt + one.answer for one in part} for part in (lesson.train, lesson.held_out))
    assert learned | held == set(FACTS) and not learned & held
    assert (domain, options) == ("an island", {"uncertainty": 2.5, "seconds": 9.0})
    assert recalled == [("an island", MOST)]


def test_too_few_memories_are_told():
    with pytest.raises(ValueError, match="too few"):
        lesson_of_memories(FACTS[:5])
    with pytest.raises(ValueError, match="calibrat"):
        learn_if_unsure(Router(), "an island", SimpleNamespace(uncertainty=None), lambda *_: FACTS)
