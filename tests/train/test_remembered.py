"""Memories and their stories, told and read without any network."""

import random

from bowstring.train.data.remembered import Facts, matches, rivals, which


def test_a_story_holds_every_fact_and_a_brief_one_too():
    rng = random.Random(0)
    for facts in (one for _ in range(30) for one in rivals(rng, 2)):
        story, brief = facts.story(rng), facts.brief(rng)
        assert matches(story, facts) == matches(brief, facts) == 4
        assert len(facts.mentions(brief)) >= 4
        assert all(
            word in facts.sentence(rng) for word in (facts.kind, facts.mood, facts.companion, facts.colour)
        )


def test_rivals_share_their_subject_alone():
    ten = rivals(random.Random(1))
    assert len({one.kind for one in ten}) == 1
    assert all(
        len({getattr(one, name) for one in ten}) == 10 for name in ("mood", "place", "companion", "colour")
    )


def test_a_story_tells_which_of_ten_memories_it_is_of():
    """By chance another one's fact may stand in it, too; never as many."""
    rng = random.Random(2)
    for _ in range(50):
        ten = rivals(rng)
        assert which(ten[3].story(rng), ten) == 3
    assert which("Nothing is told here.", ten) is None


def test_combinations_are_held_out_by_themselves():
    rng = random.Random(3)
    facts = [rivals(rng, 1)[0] for _ in range(2000)]
    assert 0.15 < sum(one.held_out for one in facts) / len(facts) < 0.25
    assert Facts("fox", "shy", "river", "cat", "red").prompt == "a story about a fox"
