"""BoltzmannSampler: chains that are tuned, run, and judged; parallel tempering for laws with several homes.

Shapes: b chains of states `(b, ...)`; results are `(chains, draws, ...)`. Chains do not know of each other,
unless they are rungs of a ladder.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...core import options
from ...core.loop import State, Step, iterate
from ...core.rng import Rng
from ..diagnostics import bulk_size, r_hat, tail_size, virial
from ..potential import Energy, EnergyPotential, force_of
from .chains import check_mass, hmc, mala, metropolis, started, ula
from .lattice import MOST_STEPS, fits, is_unit, sweeps

SMALLEST_STEP = 1e-30  # adaptation stops here; a chain that needs less is stuck
Observable = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BoltzmannResult:
    """What a sampler returns: draws `(chains, draws, ...)`, their energies and the logarithms of the last
    acceptance ratios `(chains, draws)`, acceptance `(chains,)`, step size, temperature.

    exact is False for a kernel that is wrong by its step size. stuck marks chains that accepted less than
    1 %; escaped those that stood where the energy is not finite, which an exact kernel never does.
    """

    draws: Tensor
    energy: Tensor
    log_ratio: Tensor
    acceptance: Tensor
    step_size: float
    temperature: float
    exact: bool

    @property
    def stuck(self) -> Tensor:
        return self.acceptance < 0.01

    @property
    def escaped(self) -> Tensor:
        return ~self.energy.isfinite().all(1)

    def __repr__(self) -> str:
        chains, draws, *shape = self.draws.shape
        return (
            f"BoltzmannResult({draws} draws of {chains} chains of shape {tuple(shape)}, acceptance "
            f"{self.acceptance.mean().item():.2f}, step_size {self.step_size:.3g}, exact={self.exact})"
        )

    def report(self, energy: Energy, observable: Observable | None = None) -> dict[str, float | bool]:
        """Whether the chains can be believed.

        ess_bulk, ess_tail, r_hat are of `observable` `(b, ...) -> (b,)`, the energy by default. creutz is the
        mean of exp(-dH) over stationary proposals: 1 for a kernel that is right. virial is 1 when the law has
        temperature kT.
        """
        flat = self.draws.flatten(0, 1)
        values = self.energy if observable is None else observable(flat).view(self.energy.shape)
        work = virial(flat, force_of(energy)(flat)).mean().item() / self.temperature
        return {
            "exact": self.exact,
            "acceptance": self.acceptance.mean().item(),
            "stuck": int(self.stuck.sum()),
            "escaped": int(self.escaped.sum()),
            "ess_bulk": bulk_size(values),
            "ess_tail": tail_size(values),
            "r_hat": r_hat(values),
            "creutz": self.log_ratio.exp().mean().item(),
            "virial": work,
            "energy_error": self.log_ratio[self.log_ratio.isfinite()].abs().median().item(),
        }

    def to_arviz(self, name: str = "x") -> Any:
        """The draws as ArviZ keeps them, a tree of data sets: posterior `name`, and energy and acceptance
        rate as sample statistics, dimensions (chain, draw, ...).

        Raises:
            ImportError: ArviZ is not installed.
        """
        try:
            from arviz_base import from_dict
        except ImportError:
            raise ImportError('ArviZ is not installed; pip install "bowstring[report]"') from None
        groups = {
            "posterior": {name: self.draws.cpu().numpy()},
            "sample_stats": {
                "energy": self.energy.cpu().numpy(),
                "acceptance_rate": self.log_ratio.clamp(max=0).exp().cpu().numpy(),
            },
        }
        return from_dict(groups)


KERNELS: dict[str, tuple[Callable[..., Step], float]] = {  # the acceptance that a step size is tuned for
    "ula": (ula, 1.0),
    "mala": (mala, 0.574),
    "metropolis": (metropolis, 0.234),
    "hmc": (hmc, 0.8),
}


@dataclass(frozen=True)
class BoltzmannSampler:
    """Draws states from exp(-E / kT) with many chains at once.

    `method` is ula, mala, metropolis or hmc. `step_size` is where the adaptation begins, which takes place
    during warm-up only (Robbins and Monro's rule on its logarithm), towards the acceptance that is best in
    high dimensions. `mass`, for hmc, is one number or one per site. HMC of an `EnergyPotential` on a torus
    with mass 1 runs natively; `cluster_updates` then adds so many flips of clusters to each step.

    >>> from bowstring.energy.potential import EnergyPotential
    >>> free = EnergyPotential(0.0, 0.0, 1.0, 0.0)
    >>> found = BoltzmannSampler(free).sample(torch.zeros(8, 4, 4), num_samples=40, num_warmup=20)
    >>> found.draws.shape, found.exact
    (torch.Size([8, 40, 4, 4]), True)

    Raises:
        ValueError: an unknown method, a number out of its range, or an option of another method than this.
    """

    energy: Energy
    method: str = "hmc"
    _: KW_ONLY
    step_size: float = 0.1
    num_integration_steps: int = 10
    temperature: float = 1.0
    mass: Tensor | float = 1.0
    cluster_updates: int = 0

    def __post_init__(self) -> None:
        options.settle(
            self,
            method=options.choice(self.method, "method", KERNELS),
            step_size=options.real(self.step_size, "step_size", above=0),
            num_integration_steps=options.whole(
                self.num_integration_steps, "num_integration_steps", 1, MOST_STEPS
            ),
            temperature=options.real(self.temperature, "temperature", above=0),
            cluster_updates=options.whole(self.cluster_updates, "cluster_updates", 0, MOST_STEPS),
        )
        check_mass(self.mass)
        if self.cluster_updates and not (self.method == "hmc" and isinstance(self.energy, EnergyPotential)):
            raise ValueError(
                "cluster_updates are for the method hmc and an EnergyPotential; set cluster_updates to 0"
            )
        if self.method != "hmc" and not is_unit(self.mass):
            raise ValueError(f"mass is for the method hmc, not for {self.method}; leave it out")

    def kernel(self, step_size: float, x: Tensor, count: int = 1) -> Step:
        """`count` steps of the chains at x as one."""
        make, _ = KERNELS[self.method]
        if self.method != "hmc":
            return repeated(make(self.energy, step_size, self.temperature), count)
        steps, mass = self.num_integration_steps, self.mass
        if self.cluster_updates or (fits(self.energy, x) and is_unit(mass)):
            energy: EnergyPotential = self.energy  # type: ignore[assignment]
            clusters = self.cluster_updates
            return sweeps(
                energy, step_size, steps, self.temperature, mass, cluster_updates=clusters, count=count
            )
        return repeated(hmc(self.energy, step_size, steps, self.temperature, mass), count)

    def chain(self, state: State, steps: int, step_size: float, rng: Rng, count: int = 1) -> Iterator[State]:
        """The chains in `state` after `count` steps, after twice as many, ...; `steps` states."""
        kernel = self.kernel(step_size, state.x, count)  # type: ignore[arg-type]
        return iterate(kernel, state, torch.zeros(int(state.steps[0]) + steps + 1), rng)

    def sample(
        self, x: Tensor, num_samples: int, num_warmup: int, *, thin: int = 1, seed: int = 0
    ) -> BoltzmannResult:
        """Runs the chains that start at `x (chains, ...)`: `num_warmup` steps that adapt and are forgotten,
        then `num_samples` times `thin` steps of which the last of each is kept.

        Raises:
            ValueError: a start whose energy is not one finite number per chain, or an option out of range.
        """
        draws = options.whole(num_samples, "num_samples", 1)
        warmup, thin = options.whole(num_warmup, "num_warmup", 0), options.whole(thin, "thin", 1, MOST_STEPS)
        check_start(self.energy, x)
        check_mass(self.mass, tuple(x.shape[1:]))
        rng, state = Rng.of(options.seed(seed), len(x), device=x.device), State.begin(x)
        state, step_size = self.adapted(state, warmup, rng)
        kept = list(self.chain(state, draws, step_size, rng, thin))
        energies = torch.stack([one.carry["energy"].float() for one in kept], 1)
        result = BoltzmannResult(
            torch.stack([one.x for one in kept], 1),  # type: ignore[misc]
            energies,
            torch.stack([one.carry["log_ratio"] for one in kept], 1),
            kept[-1].carry["accepted"] / kept[-1].carry["proposed"],
            step_size,
            self.temperature,
            exact=self.method != "ula",
        )
        if bool(result.escaped.any()):
            warnings.warn(
                f"{int(result.escaped.sum())} of {len(x)} chains stand where the energy is not finite: "
                f"{self.method} does not know walls. Use mala, hmc or metropolis",
                RuntimeWarning,
                stacklevel=2,
            )
        return result

    def adapted(self, state: State, steps: int, rng: Rng) -> tuple[State, float]:
        """The chains after `steps` steps during which the step size was adapted, their counts forgotten; and
        that step size.
        """
        step_size, wanted = float(self.step_size), KERNELS[self.method][1]
        for i in range(steps):
            before = torch.zeros_like(state.t) if state.carry is None else state.carry["accepted"]
            (state,) = self.chain(state, 1, step_size, rng)
            if self.method != "ula":
                share = (state.carry["accepted"] - before).mean().item()
                step_size = max(step_size * math.exp((share - wanted) / (i + 10) ** 0.6), SMALLEST_STEP)
        if state.carry is not None:
            fresh = torch.zeros_like(state.carry["accepted"])
            state = replace(state, carry=state.carry | {"accepted": fresh, "proposed": fresh})
        return state, step_size


def check_start(energy: Energy, x: Tensor) -> None:
    """
    Raises:
        ValueError: there is no chain, or its energy is not one finite number.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"x is a {type(x).__name__}; expected a tensor: torch.from_numpy makes one of an array"
        )
    if x.ndim == 0 or not len(x) or not x.is_floating_point():
        raise ValueError(f"x is {options.shown(x)} of {x.dtype}; expected real numbers (chains, ...)")
    found = energy(x)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"energy gives {options.shown(found)}; expected a tensor of one number per chain, ({len(x)},)"
        )
    if found.shape != (len(x),):
        raise ValueError(f"energy gives {tuple(found.shape)}; expected one number per chain, ({len(x)},)")
    if not bool(torch.isfinite(found).all()):
        raise ValueError("a start has an energy that is not finite; begin the chains elsewhere")


def repeated(step: Step, count: int) -> Step:
    """`count` steps as one; their random numbers are of one step and of different streams."""
    if count == 1:
        return step

    def many(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        for i in range(count):
            state = step(state, t, s, rng if i == 0 else rng.fork(15 + i))
        return state

    return many


def parallel_tempering(kernels: Sequence[Step], temperatures: Sequence[float], energy: Energy) -> Step:
    """Parallel tempering: chain i of every r = len(kernels) moves at temperature i of the ladder, then
    neighbours on it, even pairs and odd ones in turn, exchange their fields with probability
    min(1, exp((1/kT_i - 1/kT_j) (E_i - E_j))) (Geyer 1991).

    The state's b chains are b / r ladders, temperature running fastest; chains 0, r, 2 r, ... are at the
    first.

    Raises:
        ValueError: as many kernels as temperatures are needed, and a whole number of ladders.
    """
    r = len(kernels)
    if r < 2 or r != len(temperatures):
        raise ValueError(f"{r} kernels for {len(temperatures)} temperatures; expected as many, at least 2")
    inverse = 1 / torch.tensor(
        [options.real(kt, f"temperatures[{i}]", above=0) for i, kt in enumerate(temperatures)],
        dtype=torch.float64,
    )

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        b = len(state.t)
        if b % r:
            raise ValueError(f"{b} chains are no whole number of ladders of {r} temperatures")
        for i, kernel in enumerate(kernels):
            rung = torch.arange(i, b, r, device=t.device)
            part = kernel(state.rows(rung), t[rung], s[rung], rng.rows(rung))
            state = _put(state, rung, part, energy)
        rates = inverse.to(t.device)
        energies = energy(state.x).double()  # type: ignore[arg-type]
        first = int(rng.step[0]) % 2
        place = torch.arange(b, device=t.device)
        low = place.view(-1, r)[:, first : first + (r - first) // 2 * 2 : 2].flatten()
        high = low + 1
        gain = (rates[low % r] - rates[high % r]) * (energies[low] - energies[high])
        swap = rng.fork(9).uniform().double()[low].log() < gain
        source = place.clone()
        source[low[swap]], source[high[swap]] = high[swap], low[swap]
        carry = state.carry | {
            "energy": energies[source],
            "swapped": state.carry.get("swapped", torch.zeros(b, device=t.device)).index_add(
                0, low[swap], torch.ones(int(swap.sum()), device=t.device)
            ),
        }
        return replace(state, x=state.x[source], energy=carry["energy"].float(), carry=carry)  # type: ignore[index]

    return step


def _put(state: State, rung: Tensor, part: State, energy: Energy) -> State:
    """`state` with the chains of one rung replaced."""
    if state.carry is None:
        state = replace(state, carry=started(state, energy))
    own = {
        key: part.carry[key].to(state.carry[key].dtype)
        for key in ("energy", "accepted", "proposed", "log_ratio")
    }
    rest = {key: value[rung] for key, value in state.carry.items() if key not in own}
    return state.merged(rung, replace(part, carry=own | rest))
