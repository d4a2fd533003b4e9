"""What the gate keeps and what it throws away, on losses whose means are known."""

import dataclasses

import numpy as np
import pytest

from bowstring.adapt.gate import Trial, judge, mean_and_error

rng = np.random.default_rng(0)
NOISE = rng.normal(size=400)


def trial(gain=0.1, astray=0.0, harm=0.0, noise=0.05, n=400, later=None):
    before = 2 + 0.3 * NOISE[:n]
    fall = 2 * gain + noise * rng.normal(size=n)
    base = 1 + 0.1 * NOISE[:n]
    left = None if later is None else before - later * fall
    return Trial(
        before, before - fall, before + 0.1, before + 0.1 - 2 * astray, base, base + harm * base.mean(), left
    )


def test_a_gain_beyond_three_errors_that_harms_nothing_is_kept():
    verdict = judge(trial())
    assert verdict.kept and verdict.reason == "better"
    assert verdict.gain == pytest.approx(0.1, abs=4 * verdict.gain_se)
    assert verdict.base_loss == 0 and verdict.left is None


@pytest.mark.parametrize(
    "worse, words",
    [
        ({"gain": 0.005}, "held-out loss fell by"),
        ({"gain": 0.02, "noise": 1.0}, "more than 3 standard errors"),
        ({"gain": -0.1}, "held-out loss fell by -10"),
        ({"gain": 0.1, "astray": 0.1}, "ties nothing to its prompts"),
        ({"harm": 0.011}, "old domains lost 1.1%"),
        ({"later": 0.4}, "left 40% of the gain"),
    ],
)
def test_whatever_is_no_better_is_thrown_away_with_its_reason(worse, words):
    verdict = judge(trial(**worse))
    assert not verdict.kept and words in verdict.reason


def test_half_of_a_gain_may_be_lost_and_a_hundredth_of_the_old():
    assert judge(trial(later=0.6)).kept
    assert judge(trial(harm=0.009)).kept


@pytest.mark.parametrize("name", [one.name for one in dataclasses.fields(Trial)])
def test_losses_that_are_not_finite_are_no_gain(name):
    fine = trial(later=0.9)
    broken = getattr(fine, name).copy()
    broken[3] = np.nan
    assert (
        judge(fine).kept
        and judge(dataclasses.replace(fine, **{name: broken})).reason == "a loss is not finite"
    )


def test_useless_adaptations_pass_no_oftener_than_three_errors_allow():
    """A gain of nothing but noise exceeds three errors once in 430 trials of 40 (Student's t); four standard
    errors of the count are allowed."""
    kept = sum(judge(trial(gain=0.0, noise=0.3, n=40)).kept for _ in range(2000))
    assert kept <= 2000 / 430 + 4 * (2000 / 430) ** 0.5


def test_errors_are_those_of_paired_differences():
    values = np.array([1.0, 2.0, 4.0])
    mean, error = mean_and_error(values, 2.0)
    assert mean == pytest.approx(7 / 6) and error == pytest.approx(np.std(values, ddof=1) / 3**0.5 / 2)


def test_too_few_or_unequal_losses_are_refused():
    good = np.ones(8)
    with pytest.raises(ValueError, match="at least 8"):
        Trial(good[:4], good[:4], good[:4], good[:4], good, good)
    with pytest.raises(ValueError, match="base_after has shape"):
        Trial(good, good, good, good, good, np.ones(9))
