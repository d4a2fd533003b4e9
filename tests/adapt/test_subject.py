import numpy as np

from bowstring.adapt.subject import WORDS, direction, encode, weight, words_of


def test_subjects_are_unit_vectors_even_of_prompts_without_words():
    vectors = encode(["What colour is the wug?", "the", "?!"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_new_name_tells_more_than_what_is_asked_of_it():
    taught, same, other = encode(
        [
            "What colour is the krubbin?",
            "A hungry krubbin comes. What do you give it?",
            "What colour is the dog?",
        ]
    )
    assert taught @ same > 0.5 > taught @ other


def test_words_of_other_letters_are_nearly_at_right_angles():
    names = [f"name{i}" for i in range(60)]
    cosines = np.stack([direction(one) for one in names]) / WORDS**0.5
    cosines = cosines @ cosines.T
    assert np.allclose(np.diag(cosines), 1)
    assert np.abs(cosines - np.eye(60)).max() < 0.25  # five standard errors of 1 / sqrt(384)


def test_a_prompt_is_the_sum_of_its_words_whatever_their_order_and_case():
    expected = sum(weight(one) * direction(one) for one in ("wug", "blue", "is", "the"))
    assert np.allclose(words_of("The WUG is blue, is it? the"[:15]), expected)
    assert np.allclose(words_of("blue blue is the wug"), expected)


def test_rare_words_are_longer_than_common_ones_and_unknown_ones_than_both():
    assert weight("the") < weight("colour") < weight("krubbin")
