"""The invented world: exact truth, and no template on both sides."""

from bowstring.train.data.world import RELATIONS, VALUES, World


def test_a_world_is_a_function_of_its_seed():
    assert World.of(3) == World.of(3) != World.of(4)
    assert len(World.of(0).facts) == 8 * (3 + 2 + 2)


def test_every_fact_is_taught_and_asked():
    world = World.of(1)
    answers = [answer for _, answer in world.lesson()]
    for question in world.test():
        assert any(question.fact.name in one and question.right(one) for one in answers)
        assert question.right(f"I think {question.fact.value}.")


def test_lesson_and_test_share_no_template():
    for some in RELATIONS.values():
        for _, said, asked, tests in some:
            taught = {*said, *(side for pair in asked for side in pair)}
            assert not taught & set(tests)
            assert all("{v}" not in one for one in tests)  # no test gives its answer away


def test_an_answer_that_names_several_values_is_wrong():
    question = next(World.of(0).test())
    other = next(one for one in VALUES[question.fact.relation] if one != question.fact.value)
    assert not question.right(f"{question.fact.value} or {other}")
    assert not question.right(other) and not question.right("")


def test_no_value_is_part_of_another():
    for some in VALUES.values():
        for one in some:
            assert sum(f" {one} " in f" {other} " for other in some) == 1
