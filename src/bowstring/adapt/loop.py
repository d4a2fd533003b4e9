"""The closed loop: doubt calls for learning, memories on the subject are the lesson, the router learns it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .ledger import Adaptation
from .lesson import Lesson, halves, named, split
from .router import EvolutionRouter
from .uncertainty import UncertaintyEstimator

MOST = 200  # memories of a lesson
Recall = Callable[[str, int], Sequence[str]]


def lesson_of_memories(texts: Sequence[str]) -> Lesson:
    """What is remembered of a subject, each memory once, as passages to go on with.

    Raises:
        ValueError: too little to learn from and to judge by.
    """
    return split(halves(dict.fromkeys(texts)))


def learn_if_unsure(
    router: EvolutionRouter, prompt: str, result: Any, recall: Recall, **options: Any
) -> Adaptation | None:
    """Learns what memories say of a prompt whose result was doubtful; None where it was not.

    Args:
        recall: (subject, how many) -> texts of memories, the best first.
        options: of `EvolutionRouter.evolve`: level, seconds, seed, progress, cancel.

    Raises:
        ValueError: the model was not calibrated, or memories say too little of the subject.
    """
    doubt = UncertaintyEstimator()
    uncertainty = doubt.estimate(result)
    if not doubt.should_evolve(uncertainty):
        return None
    lesson = lesson_of_memories(recall(prompt, MOST))
    return router.evolve(lesson, named(prompt), uncertainty=uncertainty, **options)
