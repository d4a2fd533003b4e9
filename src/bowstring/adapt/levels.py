"""The five levels of adaptation, and which of them a doubt calls for.

| level | what is learned | share of the parameters |
|---|---|---|
| L0 | the weights of a mixture of what is there already | none |
| L1 | a ControlNet: residual branches behind layers | about 10 % |
| L2 | a LoRA: low-rank deltas of linear maps | about 1 % |
| L3 | the layers that doubt points at | a few layers |
| L4 | all layers | all |
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..core.options import choice, real, whole

Level = Literal["L0", "L1", "L2", "L3", "L4"]
LEVELS: tuple[Level, ...] = ("L0", "L1", "L2", "L3", "L4")


class Needs(NamedTuple):
    """What a level is worth trying with: doubt, examples, seconds."""

    doubt: float
    examples: int
    seconds: float


# Larger doubt asks for more of the network; more of the network asks for more examples and time.
NEEDS: dict[Level, Needs] = {
    "L0": Needs(0.0, 1, 0.0),
    "L2": Needs(1.5, 16, 20.0),
    "L1": Needs(2.0, 64, 40.0),
    "L3": Needs(3.0, 256, 120.0),
    "L4": Needs(4.0, 1024, 300.0),
}


def level_for(doubt: float, examples: int, seconds: float, *, known: int) -> Level | None:
    """The highest level that doubt calls for and that examples and seconds suffice for.

    Args:
        doubt: calibrated uncertainty, 1 is typical and 1.5 calls for something.
        known: adaptations that are there and fit; without any, L0 has nothing to mix.

    Returns:
        None where there is no doubt, or too little to learn from.

    >>> level_for(1.2, 500, 600, known=0), level_for(1.6, 500, 600, known=0), level_for(9.0, 20, 30, known=0)
    (None, 'L2', 'L2')
    """
    doubt, seconds = real(doubt, "doubt", 0, 1e9), real(seconds, "seconds", 0, 1e9)
    examples = whole(examples, "examples", 0)
    if doubt < NEEDS["L2"].doubt:
        return None
    fits = [
        level
        for level, needs in NEEDS.items()
        if doubt >= needs.doubt
        and examples >= needs.examples
        and seconds >= needs.seconds
        and (level != "L0" or known > 0)
    ]
    return fits[-1] if fits else None


def checked_level(level: str) -> Level:
    """
    Raises:
        ValueError: no such level.
    """
    return choice(level, "level", LEVELS)  # type: ignore[return-value]
