"""Texts of imported models that energies, constraints and a validation steer, as `ArrowEngine.generate` has
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.options import choice
from ..core.options import seed as checked_seed
from ..decode.tries import candidate_seeds, outcome, tilted_by, token_energies, tried
from ..energy.steering import Steering
from ..text.request import CHOICES
from ..text.result import TextResult

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
        return [write(view, plain | {"seed": own}) for own in candidate_seeds(seed, count)]

    last, said = outcome(tried(draw, rest, how, checked_seed(plain.get("seed", 0)), tilted_by(tilt)))
    return last.but(**said)
