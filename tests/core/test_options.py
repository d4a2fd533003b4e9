"""Options come in the types of numpy, torch and people, and leave as plain values or as one sentence."""

import json
import math
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from bowstring.core.options import choice, flag, listed, real, seed, shown, text, texts, whole

ONES = [1, 1.0, np.int64(1), np.uint8(1), np.float32(1), np.array(1), torch.tensor(1), torch.tensor(1.0)]
ONES += [
    torch.tensor(1.0, requires_grad=True),
    Fraction(1),
    Decimal(1),
    np.float16(1),
    torch.tensor(1).half(),
]
NOT_NUMBERS = [None, "1", b"1", True, False, np.True_, torch.tensor(True), 1j, np.complex64(1), [1], (1,), {}]
NOT_NUMBERS += [
    np.ones(1),
    np.ones(3),
    torch.ones(1),
    torch.ones(2, 2),
    torch.tensor(1j),
    object(),
    int,
    set(),
]
INFINITE = [math.nan, math.inf, -math.inf, np.float32("nan"), np.inf, torch.tensor(math.nan), Decimal("inf")]


@pytest.mark.parametrize("one", ONES, ids=lambda one: type(one).__name__)
def test_a_number_of_any_type_becomes_a_plain_one(one):
    for found, kind in ((whole(one, "steps", 1, 9), int), (real(one, "speed", 1, 9), float)):
        assert type(found) is kind and found == 1 and json.loads(json.dumps(found)) == 1


@pytest.mark.parametrize("check", [whole, real, seed])
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_by_name(check, value):
    with pytest.raises(TypeError, match=r"^gain is .*; expected a (whole )?number"):
        check(value, "gain")


@pytest.mark.parametrize("check", [whole, real, seed])
@pytest.mark.parametrize("value", INFINITE, ids=repr)
def test_what_is_not_finite_is_refused_by_name(check, value):
    with pytest.raises(ValueError, match=r"^gain is .*; expected a (whole )?number"):
        check(value, "gain")


@pytest.mark.parametrize("value", [1.5, np.float32(0.1), torch.tensor(2.25), Fraction(1, 3), Decimal("0.5")])
def test_a_broken_number_is_not_rounded_to_a_whole_one(value):
    with pytest.raises(ValueError, match="expected a whole number"):
        whole(value, "steps")


def test_ends_of_a_range_belong_to_it_and_open_ones_do_not():
    assert whole(1, "n", 1, 3) == 1 and whole(3, "n", 1, 3) == 3 and whole(-(10**30), "n") == -(10**30)
    assert real(0, "x", 0, 1) == 0 and real(1, "x", above=0, high=1) == 1 and real(1e-300, "x", above=0) > 0
    for value in (0, 4, -1, 10**400):
        with pytest.raises(ValueError, match="expected a whole number from 1 to 3"):
            whole(value, "n", 1, 3)
    for value in (0, -0.0, 1.0000001, 10**400, -(10**400)):
        with pytest.raises(ValueError, match="expected a number above 0, up to 1"):
            real(value, "x", above=0, high=1)
    with pytest.raises(ValueError, match="of at least 1"):
        whole(0, "n", 1)
    with pytest.raises(ValueError, match="up to 5"):
        real(6, "x", high=5)


def test_a_large_whole_number_keeps_every_digit():
    large = 2**63 + 1
    assert whole(np.uint64(large), "n") == large and whole(large, "n") == large


def test_seeds_count_as_torch_counts_them_and_others_are_refused():
    assert [seed(s) for s in (0, 5, 2**64 - 1)] == [0, 5, 2**64 - 1]
    assert seed(-1) == 2**64 - 1 and seed(-(2**63)) == 2**63 and seed(np.uint64(2**64 - 1)) == 2**64 - 1
    for value in (2**64, -(2**63) - 1, 10**30, 1.5):
        with pytest.raises(ValueError, match=r"^seed is .* from -2\*\*63 to 2\*\*64 - 1"):
            seed(value)
    with pytest.raises(TypeError, match="seed is None"):
        seed(None)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_, torch.tensor(True), np.array(False)])
def test_a_truth_value_is_a_flag(value):
    assert flag(value, "picture") is bool(value)


@pytest.mark.parametrize("value", [0, 1, None, "no", "", [], np.ones(2, bool), 1.0])
def test_nothing_else_is_a_flag(value):
    with pytest.raises(TypeError, match=r"picture is .*; expected True or False"):
        flag(value, "picture")


def test_text_stays_as_it_is():
    for value in ("", " a\n\\n\t", "\u00df \U0001f98a", "<|end|>\x00", np.str_("a fox")):
        found = text(value, "prompt")
        assert type(found) is str and found == value
    for value in ("", " \n\t"):
        with pytest.raises(ValueError, match="prompt is empty"):
            text(value, "prompt", blank=False)


@pytest.mark.parametrize("value", [None, 5, b"a", ["a"], {"a": 1}, np.array(["a"])])
def test_what_is_no_text_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=r"^prompt is (None|of type \w+); expected a string"):
        text(value, "prompt")


def test_bytes_of_another_encoding_are_refused_before_they_reach_a_tokenizer():
    with pytest.raises(ValueError, match="no UTF-8"):
        text(b"caf\xe9".decode("utf-8", "surrogateescape"), "prompt")


def test_several_texts_are_checked_one_by_one():
    assert texts(np.array(["a", "b"]), "prompt") == ("a", "b")
    assert texts((w for w in ("a", "b")), "stop") == ("a", "b") and texts([], "stop") == ()
    with pytest.raises(TypeError, match=r"prompt\[1\] is of type int"):
        texts(["a", 3], "prompt")
    for value in (None, 3, b"ab", {"a": 1}):
        with pytest.raises(TypeError, match="expected a string or a list of strings"):
            texts(value, "prompt")


def test_a_word_is_chosen_or_the_closest_is_named():
    assert choice(np.str_("ar"), "mode", ("ar", "diffusion")) == "ar"
    with pytest.raises(
        ValueError, match=r"^mode is 'Difusion'; expected 'ar' or 'diffusion'. Closest: 'diffusion'$"
    ):
        choice("Difusion", "mode", ("ar", "diffusion"))
    with pytest.raises(TypeError, match="mode is None; expected 'ar'"):
        choice(None, "mode", ("ar",))
    assert listed(["a", "b", "c"]) == "a, b or c"


def test_a_refused_value_is_shown_in_one_short_line():
    for value in ("x" * 10_000, [0] * 10_000, "a\nb", np.zeros((64, 64)), torch.zeros(9, 9), 10**10_000):
        assert len(shown(value)) < 80 and "\n" not in shown(value)


def test_checking_options_imports_neither_numpy_nor_torch():
    code = "import sys; from bowstring.core import options; print({'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
