"""Fields from a FieldModel: of one family at once, or coarse to fine.

Shapes: fields `(b, h, w)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import options
from ..core.loop import Denoise, State, iterate, last
from ..core.process import karras
from ..core.rng import Rng
from ..core.samplers.continuous import dpmpp_2m
from ..energy.constraints import project_x_0, tilted
from ..energy.mcmc.lattice import MOST_STEPS, sweeps
from ..energy.potential import Energy, EnergyPotential, force_of, phi4
from ..energy.projections import Project
from .model import DETAILS, FAMILIES, FIELD_PROCESS, LAM, LOWEST_NOISE, FieldModel, Preconditioning
from .scales import unhaar

SIDES = (64, 128, 256)
SWEEP = 0.09  # step size of the chains that relax fields


@dataclass(frozen=True)
class Constraints:
    """What generated fields have to obey, in the fields' own units.

    energy: lower is better; the law becomes p(x) exp(-eta E(x)), see `constraints.tilted`. project_x_0: onto
    a convex set, for every belief. project_final: onto a set, for the finished field.
    """

    energy: Energy | None = None
    eta: float = 1.0
    project_x_0: Project | None = None
    project_final: Project | None = None


NONE = Constraints()


class Scaled:
    """An energy of fields in their own units, as one of the `(b, 1, h, w)` fields of variance 1 in the
    loop.
    """

    def __init__(self, energy: Energy, units: Preconditioning) -> None:
        self.energy, self.units = energy, units

    def __call__(self, x: Tensor) -> Tensor:
        return self.energy(self.units.field(x)[:, 0])

    def score(self, x: Tensor) -> Tensor:
        return self.units.scale * force_of(self.energy)(self.units.field(x)[:, 0])[:, None]


def inside(units: Preconditioning, project: Project) -> Project:
    """A projection of fields in their own units, as one in the loop's."""

    def scaled(x: Tensor) -> Tensor:
        there = project(units.field(x)[:, 0])
        return (there[:, None] - units.offset) / units.scale

    return scaled


def constrained(units: Preconditioning, constraints: Constraints) -> Denoise:
    """The denoiser whose beliefs heed the energy and lie on the convex set."""
    denoise = units.denoise
    if constraints.energy is not None:
        energy = Scaled(constraints.energy, units)
        denoise = tilted(denoise, energy, FIELD_PROCESS, units.power, constraints.eta)
    if constraints.project_x_0 is not None:
        denoise = project_x_0(denoise, inside(units, constraints.project_x_0))
    return denoise


def denoising(
    units: Preconditioning,
    shape: tuple[int, ...],
    steps: int,
    rng: Rng,
    constraints: Constraints = NONE,
    low: float = LOWEST_NOISE,
) -> Iterator[State]:
    """States of the loop for something of this shape `(c, h, w)`, in units of variance 1; `low` is the noise
    of the last evaluation.
    """
    step = dpmpp_2m(constrained(units, constraints), FIELD_PROCESS)
    times = karras(steps, FIELD_PROCESS.schedule, low=low)
    at_end = constraints.project_final
    project_final = None if at_end is None else inside(units, at_end)
    return iterate(step, State.begin(rng.normal(*shape)), times, rng, project_final=project_final)


def conditions(
    family: str, value: float | Tensor, second: float | Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Parameters on [0, 1] and second conditions of `count` fields.

    Raises:
        ValueError: an unknown family, or a parameter outside of what was learned.
    """
    known = FAMILIES[options.choice(family, "family", FAMILIES)]
    every = [torch.as_tensor(v, dtype=torch.float32).expand(count) for v in (value, second)]
    return known.unit(every[0]), known.checked_second(every[1])


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
    constraints: Constraints = NONE,
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
    size = options.whole(size, "size")
    if size not in SIDES:
        raise ValueError(f"size is {size}; expected 64, 128 or 256")
    count, steps = options.whole(count, "count", 1), options.whole(steps, "steps", 1, MOST_STEPS)
    relax, seed = options.whole(relax, "relax", 0, MOST_STEPS), options.seed(seed)
    here = model.log_power.device
    u, second = (one.to(here) for one in conditions(family, value, second, count))
    units, rng = model.whole(family, u, second, size, size), Rng.of(seed, count, device=here)
    low = FAMILIES[family].lowest_noise
    for state in denoising(units, (1, size, size), steps, rng, constraints, low):
        if watch is not None:
            watch(units.field(state.carry["x_0"])[:, 0])
    made = units.field(state.x)[:, 0]  # type: ignore[arg-type]
    if not relax:
        return made
    return relaxed(made, family, torch.as_tensor(value).expand(count).to(here), relax, seed)


def relaxed(x: Tensor, family: str, value: Tensor, count: int, seed: int) -> Tensor:
    """Fields after `count` sweeps of a Markov chain at their own energy: what is local and wrong is put
    right at once, what is large was right before. The chain is exact; a constraint that the fields were to
    obey is not kept.

    Raises:
        ValueError: the family has no energy whose law it follows.
    """
    if family not in ("phi4", "ising"):
        raise ValueError(f"relax is {count}, but {family} is no equilibrium of an energy; set it to 0")
    spins, out = family == "ising", x.sign() if family == "ising" else x.clone()
    for one in value.unique().tolist():
        here = (value == one).nonzero().flatten()
        energy = EnergyPotential(0.0, one, 1.0, 1.0) if spins else phi4(one / 2, LAM)
        steps = 0 if spins else 10
        step = sweeps(energy, SWEEP, steps, cluster_updates=2, count=count)
        rng = Rng.of(seed, len(x), device=x.device).rows(here).fork(30)
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

    def __post_init__(self) -> None:
        if len(self.steps) != 3:
            raise ValueError(f"steps is {self.steps}; expected a number for each of the three scales")
        options.settle(
            self,
            steps=tuple(options.whole(n, f"steps[{i}]", 1, MOST_STEPS) for i, n in enumerate(self.steps)),
            noise=options.real(self.noise, "noise", above=0),
        )

    @torch.no_grad()
    def sample(
        self, beta: float | Tensor, count: int = 1, seed: int = 0, constraints: Constraints = NONE
    ) -> tuple[Tensor, Tensor, Tensor]:
        """phi4 fields of 256 x 256 sites, and their means over 2 x 2 and 4 x 4 blocks before them.

        Args:
            constraints: of the coarsest field.
        """
        count, seed = options.whole(count, "count", 1), options.seed(seed)
        x = fields(self.model, "phi4-quarter", beta, 64, count, self.steps[0], seed, constraints=constraints)
        out = [x]
        for i, family in enumerate(DETAILS):
            rng = Rng.of(seed, count, device=x.device).fork(40 + i)
            x = self.refine(x, family, beta, self.steps[1 + i], rng)
            out.append(x)
        return out[0], out[1], out[2]

    @torch.no_grad()
    def refine(self, x: Tensor, family: str, beta: float | Tensor, steps: int, rng: Rng) -> Tensor:
        """The field at twice the resolution whose block means are `x (b, h, w)`."""
        u = conditions(family, beta, 0.0, len(x))[0].to(x.device)
        noise = torch.full((len(x),), self.noise, device=x.device)
        spread = self.model.power(family, u, *x.shape[1:]).mean((1, 2)).sqrt()
        blurred = x + (noise * spread)[:, None, None] * rng.fork(1).normal(*x.shape[1:])
        units = self.model.details(family, u, blurred, noise)
        found = last(denoising(units, (3, *x.shape[1:]), steps, rng)).x
        return unhaar(x, units.field(found))  # type: ignore[arg-type]
