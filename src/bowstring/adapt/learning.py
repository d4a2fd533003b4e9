"""Learning at one level, and the trial at the gate: what a supervised process does.

Nothing is kept here. A process leaves an adapter and a verdict in a folder of its own; whoever supervises it
puts both into the ledger, in one transaction, if the verdict is that it is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .gate import Trial, Verdict, judge
from .lesson import Example, Lesson
from .levels import Level

COMPETING = ("L3", "L4")  # levels that must outlast a competing lesson
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned, as its learner holds it (None: nothing), and what it took; share: of the
    parameters.
    """

    deltas: Any = None
    steps: int = 0
    seconds: float = 0.0
    share: float = 0.0


NOTHING = Learned()


class Learner(Protocol):
    """A model that can learn, and say how surprised it is."""

    def losses(self, examples: Sequence[Example], learned: Learned) -> np.ndarray:
        """Nats a byte of each example's answer behind its prompt, `(n,)`."""

    def learn(
        self,
        examples: Sequence[Example],
        level: Level,
        seconds: float,
        seed: int,
        tell: Tell,
        start: Learned = NOTHING,
    ) -> Learned:
        """Learns from examples at a level, starting at what was learned before."""

    def compete(self, learned: Learned, level: Level, seed: int, tell: Tell) -> Learned:
        """What is left of what was learned once as many steps were spent on old domains."""

    def old_losses(self, learned: Learned) -> np.ndarray:
        """Nats a token of texts of what the model was made for, which no lesson learns from, `(n,)`."""

    def old_prompts(self) -> Sequence[str]:
        """Prompts of such texts."""


def tried(
    learner: Learner,
    lesson: Lesson,
    level: Level,
    seconds: float,
    seed: int,
    tell: Tell,
) -> tuple[Learned, Verdict]:
    """Learns a lesson and has the gate judge it."""
    tell({"stage": "learning", "level": level, "examples": len(lesson.train)})
    learned = learner.learn(lesson.train, level, seconds, seed, tell)
    tell({"stage": "judging", "examples": len(lesson.held_out)})
    later = learner.compete(learned, level, seed + 1, tell) if level in COMPETING else None
    return learned, judge(trial(learner, lesson, learned, later))


def trial(learner: Learner, lesson: Lesson, learned: Learned, later: Learned | None = None) -> Trial:
    """Losses before and after, of the held-out examples, of their answers astray, and of old domains."""
    own = lesson.held_out
    astray = strayed(own, learner.old_prompts())
    return Trial(
        before=learner.losses(own, NOTHING),
        after=learner.losses(own, learned),
        astray_before=learner.losses(astray, NOTHING),
        astray_after=learner.losses(astray, learned),
        base_before=learner.old_losses(NOTHING),
        base_after=learner.old_losses(learned),
        later=None if later is None else learner.losses(own, later),
    )


def strayed(examples: Sequence[Example], prompts: Sequence[str] = ()) -> list[Example]:
    """Each answer behind the prompt of another example whose answer is another one, or, where there is none,
    behind one of `prompts`.

    >>> [one.prompt for one in strayed([Example("a", "1"), Example("b", "2"), Example("c", "3")])]
    ['b', 'c', 'a']
    """
    n, made = len(examples), []
    for i, one in enumerate(examples):
        others = (examples[(i + k) % n] for k in range(1, n))
        other = next((o.prompt for o in others if o.answer != one.answer and o.prompt != one.prompt), None)
        if other is None:
            if not prompts:
                raise ValueError("all examples have one answer; expected prompts of other answers")
            other = prompts[i % len(prompts)]
        made.append(Example(other, one.answer))
    return made
