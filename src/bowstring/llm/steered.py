"""Texts of imported models that energies, constraints and a validation steer, as `ArrowEngine.generate` has
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.options import LARGEST_SEED, choice
from ..core.options import seed as checked_seed
from ..energy.steering import Steering
from ..text.request import CHOICES
from ..text.result import TextResult
from ..text.tries import failure, token_energies, tried

NAMES = ("energies", "constraints", "valid", "retries", "candidates")
Write = Callable[[Any, Mapping[str, Any]], TextResult]


def steered(model: Any, write: Write, options: Mapping[str, Any]) -> TextResult:
    """A text that is chosen among candidates; a plain one where nothing steers.

    Args:
        write: (model, options without those that steer) -> a text.

    Raises:
        TypeError, ValueError: an option of a wrong kind or out of its range.
    """
    how = choice(options.get("choose", CHOICES[0]), "choose", CHOICES)
    steering = Steering(**{name: options[name] for name in NAMES if name in options})
    plain = {name: value for name, value in options.items() if name not in (*NAMES, "choose")}
    if not steering:
        return write(model, plain)
    tilt, rest = token_energies(steering, model.decoder.config.vocab)

    def draw(strength: float, seed: int, count: int) -> list[TextResult]:
        view = model if tilt is None else model.tilted(strength * tilt)
        return [
            write(view, plain | {"seed": (seed + (number << 32)) % (LARGEST_SEED + 1)})
            for number in range(count)
        ]

    def tilts(text: TextResult) -> float:
        return 0.0 if tilt is None else float(tilt[list(text.tokens)].sum())

    found = tried(draw, rest, how, checked_seed(plain.get("seed", 0)), tilts)
    tries = [one for _, one in found]
    text = found[-1][0].but(tries=tries)
    return text.but(notes=(*text.notes, *failure(tries)))
