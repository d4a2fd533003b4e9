"""Energies of fields: lower is better, minus log density up to a constant at temperature 1.

Shapes: fields are `(b, h, w)` or `(b, h, w, c)`; an energy is a callable `(b, ...) -> (b,)`, and sums of
energies are sums. This module knows nothing of samplers, networks or files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.loop import flat
from ..core.options import real, settle

Energy = Callable[[Tensor], Tensor]
Force = Callable[[Tensor], Tensor]


def neighbours(x: Tensor, *, periodic: bool) -> Tensor:
    """Sum of the four nearest neighbours of every site; beyond insulated walls a site meets itself."""
    total = torch.zeros_like(x)
    for axis in (1, 2):
        up, down = x.roll(1, axis), x.roll(-1, axis)
        if not periodic:
            n = x.shape[axis]
            first, last = x.narrow(axis, 0, 1), x.narrow(axis, n - 1, 1)
            up = torch.cat([first, x.narrow(axis, 0, n - 1)], axis)
            down = torch.cat([x.narrow(axis, 1, n - 1), last], axis)
        total = total + up + down
    return total


def per_sample(x: Tensor) -> Tensor:
    return flat(x).sum(1)


@dataclass(frozen=True)
class EnergyPotential:
    """K/2 sum over bonds of (x_i - x_j)^2, - J sum over bonds of x_i x_j, + sum of r/2 x^2 + u/4 x^4 - h x,
    and for densities + T sum of x ln x.

    Bonds join nearest neighbours, each once; periodic fields are tori, others have insulated walls (across
    which no bond goes). Ginzburg and Landau's energy is K, u > 0 and r < 0; `phi4` gives the lattice
    convention. The thermal term T makes it a free energy of densities x >= 0 (infinite below 0): it is for
    fields at fixed mass that are minimised or guided, not a part of a Boltzmann law of fluctuating fields.

    Raises:
        ValueError: parameters for which the energy has no lower bound.
    """

    kinetic: float = 1.0
    pair: float = 0.0
    quadratic: float = -1.0
    quartic: float = 1.0
    field: float = 0.0
    thermal: float = 0.0
    periodic: bool = True

    def __post_init__(self) -> None:
        for name in ("kinetic", "pair", "quadratic", "quartic", "field"):
            settle(self, **{name: real(getattr(self, name), name)})
        settle(self, thermal=real(self.thermal, "thermal", 0))
        # per site: a bond term is at least -4 |J| x^2 / 2 or, for K < 0, -8 |K| x^2 / 2
        least = self.quadratic - 4 * abs(self.pair) - 8 * max(0.0, -self.kinetic)
        if self.quartic < 0 or (self.quartic == 0 and least <= 0):
            raise ValueError(
                f"quartic is {self.quartic} and quadratic {self.quadratic}: the energy has no lower "
                "bound. Give a "
                f"positive quartic, or a quadratic above {self.quadratic - least:g}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        """`(b, h, w[, c]) -> (b,)`."""
        near, count = self._bonds(x)
        bonds = 0.5 * self.kinetic * (count * x - near) * x - 0.5 * self.pair * near * x
        local = x * (x * (0.5 * self.quadratic + 0.25 * self.quartic * x * x) - self.field)
        if self.thermal:
            local = local - self.thermal * torch.special.entr(x)  # entr is minus infinity below 0
        return per_sample(bonds + local)

    def score(self, x: Tensor) -> Tensor:
        """Minus the gradient, in closed form."""
        near, count = self._bonds(x)
        local = x * (self.quadratic + self.quartic * x * x) - self.field
        if self.thermal:
            local = local + self.thermal * (x.log() + 1)
        return self.pair * near - self.kinetic * (count * x - near) - local

    def _bonds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of bonded neighbours and their number at every site."""
        near, count = neighbours(x, periodic=self.periodic), torch.full_like(x, 4.0)
        if not self.periodic:
            for axis in (1, 2):
                for end in (0, x.shape[axis] - 1):
                    count.narrow(axis, end, 1).sub_(1)
            near = near - (4 - count) * x
        return near, count


def phi4(k: float, lam: float) -> EnergyPotential:
    """sum of -2 k x_i x_j over bonds + x^2 + lam (x^2 - 1)^2, up to a constant; periodic."""
    return EnergyPotential(kinetic=0.0, pair=2 * k, quadratic=2 - 4 * lam, quartic=4 * lam)


def total(energies: Sequence[Energy], weights: Sequence[float] | None = None) -> Energy:
    """The weighted sum of energies.

    Raises:
        ValueError: as many weights as energies are needed.
    """
    weights = [1.0] * len(energies) if weights is None else [real(w, "weight") for w in weights]
    if not energies or len(energies) != len(weights):
        raise ValueError(f"{len(energies)} energies were given {len(weights)} weights; expected one each")
    return lambda x: torch.stack([w * energy(x) for energy, w in zip(energies, weights, strict=True)]).sum(0)


def at_temperature(energy: Energy, temperature: float) -> Energy:
    """E / kT: what a sampler at temperature 1 needs to sample at another.

    Raises:
        ValueError: a temperature that is not positive.
    """
    kt = real(temperature, "temperature", above=0)
    return lambda x: energy(x) / kt


def mixing_entropy(rho: Tensor) -> Tensor:
    """- sum of rho ln rho of densities rho >= 0, `(b, ...) -> (b,)`, nats; minus kT of it is a free energy's
    thermal part at fixed mass.

    Raises:
        ValueError: a negative density.
    """
    if bool((rho < 0).any()):
        raise ValueError(
            f"a density is {rho.min().item():.3g}; expected none below 0. Project it onto non-negative ones"
        )
    return per_sample(torch.special.entr(rho))


def score(energy: Energy, x: Tensor) -> Tensor:
    """Minus the gradient of any energy, by differentiation."""
    with torch.enable_grad():
        y = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(y).sum(), y)
    return -slope


def force_of(energy: Energy) -> Force:
    """Minus the gradient: the energy's own closed form, or differentiation."""
    own = getattr(energy, "score", None)
    return own if own is not None else lambda x: score(energy, x)
