"""Fields from a FieldModel: of one family at once, or coarse to fine.

Shapes: fields `(b, h, w)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.loop import Denoise, State, iterate, last
from ..core.process import karras
from ..core.rng import Rng
from ..core.samplers.continuous import dpmpp_2m
from ..energy.constraints import at_last, hulled, tilted
from ..energy.mcmc.lattice import sweeps
from ..energy.potential import Energy, EnergyPotential, force_of, phi4
from ..energy.projections import Project
from .model import DETAILS, FAMILIES, LAM, PROCESS, FieldModel, Guess
from .scales import unhaar

SWEEP = 0.09  # step size of the chains that relax fields
LOWEST = 0.02  # noise-to-signal ratio of the last evaluation


@dataclass(frozen=True)
class Wishes:
    """What generated fields have to obey, in the fields' own units.

    energy: lower is better; the law becomes p(x) exp(-eta E(x)), see `constrain.tilted`. hull: a convex set
    for every belief. last: a set for the finished field.
    """

    energy: Energy | None = None
    eta: float = 1.0
    hull: Project | None = None
    last: Project | None = None


NONE = Wishes()


class Scaled:
    """An energy of fields in their own units, as one of the `(b, 1, h, w)` fields of variance 1 in the
    loop.
    """

    def __init__(self, energy: Energy, guess: Guess) -> None:
        self.energy, self.guess = energy, guess

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(self.guess.found(x)[:, 0])

    def score(self, x: Tensor) -> Tensor:
        return self.guess.scale * force_of(self.energy)(self.guess.found(x)[:, 0])[:, None]


def wishful(guess: Guess, wishes: Wishes) -> tuple[Denoise, Project | None]:
    """The denoiser that heeds energy and hull, and the last projection, both inside the loop's units."""

    def inside(project: Project) -> Project:
        def scaled(x: Tensor) -> Tensor:
            there = project(guess.found(x)[:, 0])
            return (there[:, None] - guess.offset) / guess.scale

        return scaled

    denoise = guess.denoise
    if wishes.energy is not None:
        denoise = tilted(denoise, Scaled(wishes.energy, guess), PROCESS, guess.power, wishes.eta)
    if wishes.hull is not None:
        denoise = hulled(denoise, inside(wishes.hull))
    return denoise, None if wishes.last is None else inside(wishes.last)


def denoising(
    guess: Guess, shape: tuple[int, ...], steps: int, rng: Rng, wishes: Wishes = NONE
) -> Iterator[State]:
    """States of the loop for something of this shape `(c, h, w)`, in units of variance 1."""
    denoise, at_end = wishful(guess, wishes)
    step = dpmpp_2m(denoise, PROCESS)
    step = step if at_end is None else at_last(step, at_end)
    times = karras(steps, PROCESS.schedule, low=LOWEST)
    return iterate(step, State.begin(rng.normal(*shape)), times, rng)


def conditions(
    family: str, value: float | Tensor, second: float | Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Parameters on [0, 1] and second conditions of `count` fields.

    Raises:
        ValueError: an unknown family, or a parameter outside of what was learned.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; expected one of {sorted(FAMILIES)}")
    every = [torch.as_tensor(v, dtype=torch.float32).expand(count) for v in (value, second)]
    return FAMILIES[family].unit(every[0]), every[1]


@torch.no_grad()
def fields(
    model: FieldModel,
    family: str,
    value: float | Tensor,
    size: int = 64,
    count: int = 1,
    steps: int = 50,
    seed: int = 0,
    second: float | Tensor = 0.0,
    wishes: Wishes = NONE,
    relax: int = 0,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """`count` fields of a family at parameter `value`, `(count, size, size)`.

    Args:
        steps: network evaluations.
        relax: sweeps of an exact chain afterwards, for phi4 and ising; see `relaxed`.
        watch: shown the predicted field after each step.

    Raises:
        ValueError: an unknown family, a parameter or a size that the model does not have.
    """
    if size not in (64, 128, 256):
        raise ValueError(f"size is {size}; expected 64, 128 or 256")
    u, second = conditions(family, value, second, count)
    guess, rng = model.whole(family, u, second, size, size), Rng.of(seed, count)
    x = None
    for state in denoising(guess, (1, size, size), steps, rng, wishes):
        x = state.x
        if watch is not None:
            watch(guess.found(state.carry["x_0"])[:, 0])
    assert isinstance(x, Tensor)
    made = guess.found(x)[:, 0]
    return relaxed(made, family, torch.as_tensor(value).expand(count), relax, seed) if relax else made


def relaxed(x: Tensor, family: str, value: Tensor, count: int, seed: int) -> Tensor:
    """Fields after `count` sweeps of a Markov chain at their own energy: what is local and wrong is put
    right at once, what is large was right before. The chain is exact; a wish that the fields were to obey is
    not kept.

    Raises:
        ValueError: the family has no energy whose law it follows.
    """
    if family not in ("phi4", "ising"):
        raise ValueError(f"relax is {count}, but {family} is no equilibrium of an energy; set it to 0")
    spins, out = family == "ising", x.sign() if family == "ising" else x.clone()
    for one in value.unique().tolist():
        here = (value == one).nonzero().flatten()
        energy = EnergyPotential(0.0, one, 1.0, 1.0) if spins else phi4(one / 2, LAM)
        step = sweeps(energy, SWEEP, length=0 if spins else 10, flips=2, count=count)
        rng = Rng.of(seed, len(x)).rows(here).fork(30)
        out[here] = last(iterate(step, State.begin(out[here]), torch.zeros(2), rng)).x  # type: ignore[assignment]
    return out


@dataclass(frozen=True)
class MultiScaleGenerator:
    """Coarse to fine: 64 -> 128 -> 256. Each scale adds the details within 2 x 2 blocks, whose means stay, so
    the mass is that of the coarsest field to rounding.

    steps: evaluations at the three scales. noise: the coarse field is shown blurred by this share of its
    standard deviation, so that a network forgives what the scale before got wrong.
    """

    model: FieldModel
    steps: tuple[int, int, int] = (50, 20, 20)
    noise: float = 0.05

    @torch.no_grad()
    def sample(
        self, beta: float | Tensor, count: int = 1, seed: int = 0, wishes: Wishes = NONE
    ) -> tuple[Tensor, Tensor, Tensor]:
        """phi4 fields of 256 x 256 sites, and their means over 2 x 2 and 4 x 4 blocks before them.

        Args:
            wishes: of the coarsest field.
        """
        x = fields(self.model, "phi4-quarter", beta, 64, count, self.steps[0], seed, wishes=wishes)
        out = [x]
        for i, family in enumerate(DETAILS):
            x = self.refine(x, family, beta, self.steps[1 + i], Rng.of(seed, count).fork(40 + i))
            out.append(x)
        return out[0], out[1], out[2]

    @torch.no_grad()
    def refine(self, x: Tensor, family: str, beta: float | Tensor, steps: int, rng: Rng) -> Tensor:
        """The field at twice the resolution whose block means are `x (b, h, w)`."""
        u, _ = conditions(family, beta, 0.0, len(x))
        noise = torch.full((len(x),), self.noise)
        spread = self.model.power(family, u, *x.shape[1:]).mean((1, 2)).sqrt()
        blurred = x + (noise * spread)[:, None, None] * rng.fork(1).normal(*x.shape[1:])
        guess = self.model.details(family, u, blurred, noise)
        found = last(denoising(guess, (3, *x.shape[1:]), steps, rng)).x
        return unhaar(x, guess.found(found))  # type: ignore[arg-type]
