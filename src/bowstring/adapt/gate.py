"""The gate: an adaptation is kept where held-out examples prove it better, and only there.

Losses are nats a byte, one number an example, `(n,)`; the same examples stand in the same places before and
after, so that differences are taken pairwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GAIN = 0.01  # the least share by which the loss of the new domain must fall
ERRORS = 3.0  # standard errors that a fall must exceed
HARM = 0.01  # the largest share by which the loss of old domains may rise
LASTING = 0.5  # the least share of the gain that is left after a competing lesson
FEWEST = 8


@dataclass(frozen=True, eq=False)
class Trial:
    """What was measured of an adaptation.

    before, after: losses of held-out examples of the new domain. astray_before, astray_after: of the same
    answers, each behind the prompt of another example. base_before, base_after: of old domains, the
    adaptation forced on. later: of the new domain again, after as many steps of a competing lesson on a copy;
    None where weights of the base are left alone.
    """

    before: np.ndarray
    after: np.ndarray
    astray_before: np.ndarray
    astray_after: np.ndarray
    base_before: np.ndarray
    base_after: np.ndarray
    later: np.ndarray | None = None

    def __post_init__(self) -> None:
        pairs = (
            ("after", self.before, self.after),
            ("astray_before", self.before, self.astray_before),
            ("astray_after", self.before, self.astray_after),
            ("base_after", self.base_before, self.base_after),
            ("later", self.before, self.before if self.later is None else self.later),
        )
        for name, one, other in pairs:
            if one.ndim != 1 or one.shape != other.shape or len(one) < FEWEST:
                raise ValueError(
                    f"{name} has shape {other.shape} beside {one.shape}; expected as many losses, and at "
                    f"least {FEWEST}"
                )


@dataclass(frozen=True)
class Verdict:
    """Whether an adaptation is kept, and why; shares of the loss before, with their standard errors.

    gain: by which the new domain's loss fell. own: by which more it fell behind an answer's own prompt than
    behind another's. base_loss: by which the old domains' loss rose. left: what is left of the gain after a
    competing lesson.
    """

    kept: bool
    reason: str
    gain: float
    gain_se: float
    own: float
    own_se: float
    base_loss: float
    base_loss_se: float
    left: float | None = None


def judge(trial: Trial) -> Verdict:
    """The verdict on a trial. Each test that fails names itself; the first one is the reason."""
    measured = [one for one in vars(trial).values() if one is not None]
    if not all(np.isfinite(one).all() for one in measured):
        return Verdict(False, "a loss is not finite", *[0.0] * 6)
    level = float(trial.before.mean())
    gain, gain_se = mean_and_error(trial.before - trial.after, level)
    astray = trial.astray_before - trial.astray_after
    own, own_se = mean_and_error(trial.before - trial.after - astray, level)
    harm, harm_se = mean_and_error(trial.base_after - trial.base_before, float(trial.base_before.mean()))
    left = None
    if trial.later is not None:
        fell = float((trial.before - trial.after).mean())
        left = float((trial.before - trial.later).mean()) / fell if fell > 0 else 0.0
    reason = _reason((gain, gain_se), (own, own_se), harm, left)
    return Verdict(reason == "", reason or "better", gain, gain_se, own, own_se, harm, harm_se, left)


def _reason(gain: tuple[float, float], own: tuple[float, float], harm: float, left: float | None) -> str:
    """Why not, or nothing."""
    if gain[0] < GAIN or gain[0] <= ERRORS * gain[1]:
        return (
            f"held-out loss fell by {gain[0]:.1%} +- {gain[1]:.1%}; expected at least {GAIN:.0%} and more "
            f"than {ERRORS:g} standard errors"
        )
    if own[0] <= ERRORS * own[1]:
        return (
            f"answers gained {own[0]:.1%} +- {own[1]:.1%} more behind their own prompts than behind others'; "
            f"expected more than {ERRORS:g} standard errors: the lesson ties nothing to its prompts"
        )
    if harm > HARM:
        return f"old domains lost {harm:.1%}; expected at most {HARM:.0%}"
    if left is not None and left < LASTING:
        return f"a competing lesson left {left:.0%} of the gain; expected at least {LASTING:.0%}"
    return ""


def mean_and_error(differences: np.ndarray, level: float) -> tuple[float, float]:
    """Mean of paired differences and its standard error, as shares of a level."""
    values = np.asarray(differences, np.float64)
    return float(values.mean()) / level, float(values.std(ddof=1)) / len(values) ** 0.5 / level
