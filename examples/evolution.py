"""A model learns about a world that nobody knows, keeps it because it proved better, and takes it back.

    python examples/evolution.py [text-int4|smollm2] [seconds]

The world's animals, crafts and laws are invented, so nothing of it can have been learned before; the
questions that are counted share no template with any lesson. Prints the facts answered before and after, what
old domains lost, and that the answer after `undo` is the one from before, to the byte.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from bowstring import ArrowEngine
from bowstring.adapt.lesson import Example, split
from bowstring.adapt.router import EvolutionRouter
from bowstring.train.data.world import World


def answer(model: Any, prompt: str) -> str:
    """What a model says at temperature 0; a model that was taught to chat is asked in a chat."""
    if hasattr(model, "chat") and getattr(model, "template", None):
        return str(model.chat(prompt, max_tokens=24, temperature=0))
    return str(model.generate(prompt, max_tokens=24, temperature=0))


def main(name: str = "text-int4", seconds: float = 60.0) -> None:
    world = World.of(seed=7, things=3 if name == "text-int4" else 5)  # more to judge by where less is learned
    lesson = split(Example(*pair) for pair in world.lesson())
    questions = [*world.test()]
    model = ArrowEngine.load(name)
    before = [answer(model, one.prompt) for one in questions]
    with tempfile.TemporaryDirectory() as folder:
        router = EvolutionRouter(model, folder)
        clock = time.monotonic()
        made = router.evolve(lesson, "an invented world", level="L2", seconds=seconds)
        verdict = made.verdict
        state = "kept" if made.kept else f"thrown away: {verdict.reason}"
        print(f"{state}, {time.monotonic() - clock:.0f} s in all")
        print(f"held-out loss {verdict.gain:+.1%} +- {verdict.gain_se:.1%} better")
        print(f"old domains {verdict.base_loss:+.2%} +- {verdict.base_loss_se:.2%} worse")
        after = [answer(router.adapted(one.prompt)[0], one.prompt) for one in questions]
        for title, said in (("before", before), ("after", after)):
            right = sum(one.right(text) for one, text in zip(questions, said, strict=True))
            print(f"{title}: {right} of {len(questions)} facts")
        for one, old, new in [*zip(questions, before, after, strict=True)][:4]:
            print(f"  {one.prompt}\n    before: {old.strip()!r}\n    after:  {new.strip()!r}")
        unrelated = "a story about a fox"
        print(f"applied to {unrelated!r}: {bool(router.find(unrelated))}")
        if made.kept:
            router.ledger.undo(made.id)
        back = [answer(router.adapted(one.prompt)[0], one.prompt) for one in questions]
        print(f"after undo the answers are those from before: {back == before}")
        router.close()


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(float, sys.argv[2:3]))
