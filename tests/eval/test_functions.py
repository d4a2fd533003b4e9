"""Functions are judged by what they do, whatever they are called."""

import pytest

from bowstring.eval.functions import named, pass_rates, passing, unseen_functions
from bowstring.train.data.corpora import snippet_documents
from bowstring.train.data.splits import RULE


@pytest.fixture(scope="module")
def functions():
    return unseen_functions("filler", 12)


def test_a_right_function_passes_under_any_name_and_a_wrong_one_under_none(functions):
    right = [one.source for one in functions]
    renamed = [source.replace("def ", "def my_", 1) for source in right]
    assert passing(right, functions).value == passing(renamed, functions).value == 1
    assert passing([*right[1:], right[0]], functions).value < 0.2
    assert passing(["def broken(:"] * len(right), functions).value == 0
    assert passing([""] * len(right), functions).value == 0


def test_what_is_asked_was_never_learned(functions):
    learned = {prompt for d in snippet_documents(3000) if d.split != "test" for prompt in d.prompts}
    for novelty in ("filler", "template"):
        asked = [one.prompt for one in unseen_functions(novelty, 40)]
        assert len({*asked}) == len(asked) == 40 and not learned & {*asked}


def test_a_model_of_the_first_rule_has_no_rate():
    assert {one.value for one in pass_rates(lambda _: [], RULE - 1, 10).values()} == {None}


def test_a_name_that_is_right_already_stays():
    assert named("def f(x):\n    return x", "f") == "def f(x):\n    return x"
