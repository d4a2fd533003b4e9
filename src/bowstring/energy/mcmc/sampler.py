"""BoltzmannSampler: chains that are tuned, run, and judged; parallel tempering for laws with several homes.

Shapes: b chains of fields `(b, ...)`. Chains do not know of each other, unless they are rungs of a ladder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.loop import State, Step, iterate
from ...core.rng import Rng
from ..diagnostics import bulk_size, r_hat, tail_size, virial
from ..potential import Energy, EnergyPotential, force_of
from .chains import hmc, mala, metropolis, started, ula
from .lattice import fits, sweeps

Observable = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """What a sampler returns: kept fields `(kept, b, ...)`, their energies and the logarithms of the last
    acceptance ratios `(kept, b)`, acceptance `(b,)`, step size, temperature.

    exact is False for a kernel that is wrong by its step size. stuck marks chains that accepted less than
    1 %.
    """

    x: Tensor
    energy: Tensor
    log_ratio: Tensor
    acceptance: Tensor
    size: float
    temperature: float
    exact: bool

    @property
    def stuck(self) -> Tensor:
        return self.acceptance < 0.01

    def report(self, energy: Energy, observable: Observable | None = None) -> dict[str, float | bool]:
        """Whether the chains can be believed.

        ess_bulk, ess_tail, r_hat are of `observable` `(b, ...) -> (b,)`, the energy by default. creutz is the
        mean of exp(-dH) over stationary proposals: 1 for a kernel that is right. virial is 1 when the law has
        temperature kT.
        """
        kept, b = self.energy.shape
        draws = self.energy if observable is None else observable(self.x.flatten(0, 1)).view(kept, b)
        fields = self.x.flatten(0, 1)
        work = virial(fields, force_of(energy)(fields)).mean().item() / self.temperature
        return {
            "exact": self.exact,
            "acceptance": self.acceptance.mean().item(),
            "stuck": int(self.stuck.sum()),
            "ess_bulk": bulk_size(draws),
            "ess_tail": tail_size(draws),
            "r_hat": r_hat(draws),
            "creutz": self.log_ratio.exp().mean().item(),
            "virial": work,
            "energy_error": self.log_ratio[self.log_ratio.isfinite()].abs().median().item(),
        }


KERNELS: dict[str, tuple[Callable[..., Step], float]] = {  # the acceptance that a step size is tuned for
    "ula": (ula, 1.0),
    "mala": (mala, 0.574),
    "metropolis": (metropolis, 0.234),
    "hmc": (hmc, 0.8),
}


@dataclass(frozen=True)
class BoltzmannSampler:
    """Draws fields from exp(-E / kT) with many chains at once.

    `method` is ula, mala, metropolis or hmc. The step size is adapted during warm-up only (Robbins and
    Monro's rule on its logarithm), towards the acceptance that is best in high dimensions. HMC of an
    `EnergyPotential` on a torus runs natively; `flips` then adds so many cluster flips to each step.

    >>> from bowstring.energy.potential import EnergyPotential
    >>> run = BoltzmannSampler(EnergyPotential(0.0, 0.0, 1.0, 0.0)).sample(torch.zeros(8, 4, 4), 40, 20)
    >>> run.x.shape, run.exact
    (torch.Size([40, 8, 4, 4]), True)

    Raises:
        ValueError: an unknown method, or flips with another method or energy than they are for.
    """

    energy: Energy
    method: str = "hmc"
    size: float = 0.1
    length: int = 10
    temperature: float = 1.0
    mass: Tensor | float = 1.0
    flips: int = 0

    def __post_init__(self) -> None:
        if self.method not in KERNELS:
            raise ValueError(f"method is {self.method!r}; expected one of {sorted(KERNELS)}")
        if self.flips and not (self.method == "hmc" and isinstance(self.energy, EnergyPotential)):
            raise ValueError("flips are for the method hmc and an EnergyPotential; set flips to 0")

    def kernel(self, size: float, x: Tensor, count: int = 1) -> Step:
        """`count` steps of the chains at x as one."""
        make, _ = KERNELS[self.method]
        if self.method != "hmc":
            return repeated(make(self.energy, size, self.temperature), count)
        if self.flips or (fits(self.energy, x) and self.mass == 1.0):
            energy: EnergyPotential = self.energy  # type: ignore[assignment]
            return sweeps(energy, size, self.length, self.temperature, flips=self.flips, count=count)
        return repeated(hmc(self.energy, size, self.length, self.temperature, self.mass), count)

    def chain(self, state: State, steps: int, size: float, rng: Rng, count: int = 1) -> Iterator[State]:
        """The chains in `state` after `count` steps, after twice as many, ...; `steps` states."""
        kernel = self.kernel(size, state.x, count)  # type: ignore[arg-type]
        return iterate(kernel, state, torch.zeros(int(state.steps[0]) + steps + 1), rng)

    def sample(self, x: Tensor, keep: int, warm_up: int, thin: int = 1, seed: int = 0) -> Run:
        """Runs the chains that start at `x (b, ...)`: `warm_up` steps that adapt and are forgotten, then
        `keep` times `thin` steps of which the last of each is kept.

        Raises:
            ValueError: a start whose energy is not finite.
        """
        if not bool(torch.isfinite(self.energy(x)).all()):
            raise ValueError("a start has an energy that is not finite; begin the chains elsewhere")
        rng, state, size = Rng.of(seed, len(x)), State.begin(x), self.size
        wanted = KERNELS[self.method][1]
        for i in range(warm_up):
            before = torch.zeros(len(x)) if state.carry is None else state.carry["accepted"]
            (state,) = self.chain(state, 1, size, rng)
            if self.method != "ula":
                share = (state.carry["accepted"] - before).mean().item()
                size *= math.exp((share - wanted) / (i + 10) ** 0.6)
        if state.carry is not None:
            fresh = torch.zeros_like(state.carry["accepted"])
            state = replace(state, carry=state.carry | {"accepted": fresh, "proposed": fresh})
        fields, energies, ratios, carry = [], [], [], None
        for one in self.chain(state, keep, size, rng, thin):
            carry = one.carry
            fields.append(one.x)
            energies.append(carry["energy"].float())
            ratios.append(carry["log_ratio"])
        acceptance = carry["accepted"] / carry["proposed"]  # type: ignore[index]
        return Run(
            torch.stack(fields),  # type: ignore[arg-type]
            torch.stack(energies),
            torch.stack(ratios),
            acceptance,
            size,
            self.temperature,
            exact=self.method != "ula",
        )


def repeated(step: Step, count: int) -> Step:
    """`count` steps as one; their random numbers are of one step and of different streams."""
    if count == 1:
        return step

    def many(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        for i in range(count):
            state = step(state, t, s, rng if i == 0 else rng.fork(15 + i))
        return state

    return many


def tempered(kernels: Sequence[Step], temperatures: Sequence[float], energy: Energy) -> Step:
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
    inverse = 1 / torch.tensor(temperatures, dtype=torch.float64)

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        b = len(state.t)
        if b % r:
            raise ValueError(f"{b} chains are no whole number of ladders of {r} temperatures")
        for i, kernel in enumerate(kernels):
            rung = torch.arange(i, b, r)
            part = kernel(state.rows(rung), t[rung], s[rung], rng.rows(rung))
            state = _put(state, rung, part, energy)
        energies = energy(state.x).double()  # type: ignore[arg-type]
        first = int(rng.step[0]) % 2
        low = torch.arange(b).view(-1, r)[:, first : first + (r - first) // 2 * 2 : 2].flatten()
        high = low + 1
        gain = (inverse[low % r] - inverse[high % r]) * (energies[low] - energies[high])
        swap = rng.fork(9).uniform().double()[low].log() < gain
        source = torch.arange(b)
        source[low[swap]], source[high[swap]] = high[swap], low[swap]
        carry = state.carry | {
            "energy": energies[source],
            "swapped": state.carry.get("swapped", torch.zeros(b)).index_add(
                0, low[swap], torch.ones(int(swap.sum()))
            ),
        }
        return replace(state, x=state.x[source], carry=carry)  # type: ignore[index]

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
