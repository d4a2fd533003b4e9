"""Nearest points of constraint sets, in closed form or to rounding; each maps `(b, ...)` to the same shape.

`guidance.projected` puts one after every step. Being on a set and being distributed as if conditioned on it
are different things: a projection offers the first. Fields are `(b, h, w)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.loop import Project, flat
from ..core.options import real, whole


def _target(value: Tensor | float, x: Tensor) -> Tensor:
    """A number or one per sample, as a column.

    Raises:
        ValueError: it is not finite.
    """
    wanted = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if not bool(wanted.isfinite().all()):
        raise ValueError(f"the quantity to keep is {value}; expected finite numbers")
    return wanted.expand(len(x))[:, None]


def mass(m: Tensor | float) -> Project:
    """sum x = m, a number or one per sample."""

    def project(x: Tensor) -> Tensor:
        rows = flat(x)
        return (rows + (_target(m, x) - rows.sum(1, keepdim=True)) / rows.shape[1]).view_as(x)

    return project


def mass_and_norm(m: Tensor | float, square: Tensor | float) -> Project:
    """sum x = m and sum x^2 = square: a sphere cut by a plane.

    Raises:
        ValueError: square < m^2 / n, which no field has.
    """

    def project(x: Tensor) -> Tensor:
        rows = flat(mass(m)(x))
        n, mean = rows.shape[1], _target(m, x) / rows.shape[1]
        left = _target(square, x) - n * mean**2
        if bool((left < 0).any()):
            raise ValueError(f"sum of squares {square} is below mass^2 / n; no field of {n} sites has both")
        centred = rows - mean
        length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
        aside = torch.zeros_like(centred)  # all directions are equally near a constant field
        aside[:, 0], aside[:, -1] = math.sqrt(0.5), -math.sqrt(0.5)
        unit = torch.where(length > 0, centred / length.clamp(min=1e-30), aside)
        return (mean + left.sqrt() * unit).view_as(x)

    return project


def box_and_mass(low: float, high: float, m: Tensor | float) -> Project:
    """low <= x <= high and sum x = m: x - tau clipped, with tau found exactly between breakpoints.

    Raises:
        ValueError: a mass that no field in the box has, or a box without an inside.
    """
    low = real(low, "low")
    high = real(high, "high", above=low)

    def project(x: Tensor) -> Tensor:
        rows, wanted = flat(x), _target(m, x)
        n = rows.shape[1]
        if bool((wanted < n * low).any() or (wanted > n * high).any()):
            raise ValueError(f"mass {m} does not fit {n} sites between {low} and {high}")
        below, above = rows.amin(1, keepdim=True) - high, rows.amax(1, keepdim=True) - low
        for _ in range(100):  # bisection to neighbouring floats, then the linear piece is solved
            tau = (below + above) / 2
            heavy = (rows - tau).clamp(low, high).sum(1, keepdim=True) > wanted
            below, above = torch.where(heavy, tau, below), torch.where(heavy, above, tau)
        y = (rows - (below + above) / 2).clamp(low, high)
        inside = (y > low) & (y < high)
        rest = (wanted - y.sum(1, keepdim=True)) / inside.sum(1, keepdim=True).clamp(min=1)
        return torch.where(inside, y + rest, y).clamp(low, high).view_as(x)

    return project


def nonnegative_and_mass(m: Tensor | float) -> Project:
    """x >= 0 and sum x = m: the simplex, where no site can have more than the whole mass."""
    return box_and_mass(0.0, float(torch.as_tensor(m).max()), m)


def coarse(low: Tensor) -> Project:
    """Means over blocks equal `low (b, h / k, w / k)`."""

    def project(x: Tensor) -> Tensor:
        k = x.shape[1] // low.shape[1]
        pooled = x.unflatten(1, (-1, k)).unflatten(3, (-1, k)).mean((2, 4))
        return x + (low - pooled).repeat_interleave(k, 1).repeat_interleave(k, 2)

    return project


def affine(a: Tensor, b: Tensor) -> Project:
    """A x = b for a matrix `(m, n)` of full row rank over flattened states; the factor is made once.

    Raises:
        ValueError: rows that depend on each other, so that some b cannot be met.
    """
    a = a.double()
    try:
        factor = torch.linalg.cholesky(a @ a.T)
    except torch.linalg.LinAlgError:
        raise ValueError(
            f"the {len(a)} rows of a depend on each other; leave out the redundant ones"
        ) from None

    def project(x: Tensor) -> Tensor:
        rows = flat(x).double()
        lack = (b.double() - rows @ a.T).T
        return (rows + (a.T @ torch.cholesky_solve(lack, factor)).T).to(x.dtype).view_as(x)

    return project


def intersection(projects: Sequence[Project], rounds: int = 200, close: float = 1e-6) -> Project:
    """The nearest point of several convex sets at once (Dykstra 1983).

    Raises:
        ValueError: the sets are still `close` apart after all rounds; perhaps they do not meet. Or there is
            no set, or an option is out of its range.
    """
    rounds, close = whole(rounds, "rounds", 1), real(close, "close", above=0)
    if not projects:
        raise ValueError("there is no set; give at least one projection")

    def project(x: Tensor) -> Tensor:
        y, owed = x, [torch.zeros_like(x) for _ in projects]
        for _ in range(rounds):
            before = y
            for i, one in enumerate(projects):
                z = one(y + owed[i])
                owed[i] = y + owed[i] - z
                y = z
            gap = max(float((one(y) - y).abs().max()) for one in projects)
            if gap <= close and float((y - before).abs().max()) <= close:
                return y
        raise ValueError(
            f"after {rounds} rounds the sets are {gap:.2g} apart, more than {close:g}; do they meet? "
            "Give more rounds"
        )

    return project


def dirichlet(value: Tensor | float) -> Project:
    """1/2 sum over bonds of (x_i - x_j)^2 = value on a torus: every Fourier mode shrinks or grows by 1 /
    (1 + l lambda_k), with one number l per sample found by bisection.

    Raises:
        ValueError: a negative value, or one that this field cannot be brought to: what has no modes, such as
            a constant, cannot become rough by changing their sizes.
    """

    def project(x: Tensor) -> Tensor:
        wanted = _target(value, x).double()[..., None]
        if bool((wanted < 0).any()):
            raise ValueError(f"a sum of squares cannot be {value}")
        modes = torch.fft.fft2(x.double())
        h, w = x.shape[1:]
        rates = symbol(h, w, x.device)
        weight = 0.5 * rates * modes.abs() ** 2 / rates.numel()

        def energy(factor: Tensor) -> Tensor:
            return (weight / (1 + factor * rates) ** 2).sum((1, 2), keepdim=True)

        # below -1 / max rate the nearest point changes its branch; energies above stay on the right one
        low = torch.full_like(wanted, -1 / rates.max().item()) * (1 - 1e-12)
        high = torch.ones_like(wanted)
        while bool((energy(high) > wanted).any()) and high.max() < 1e300:
            high = torch.where(energy(high) > wanted, high * 2, high)
        for _ in range(200):
            middle = (low + high) / 2
            much = energy(middle) > wanted
            low, high = torch.where(much, middle, low), torch.where(much, high, middle)
        reached, wanted = energy(high).flatten(), wanted.flatten()
        if bool(((reached - wanted).abs() > 1e-6 * wanted.clamp(min=1e-12)).any()):
            off = int((reached - wanted).abs().argmax())
            raise ValueError(
                f"a field reaches {reached[off]:.3g} where {wanted[off]:.3g} is wanted: it has too little in "
                "its finest modes to be made rougher. Add noise to it first"
            )
        return torch.fft.ifft2(modes / (1 + high * rates)).real.to(x.dtype)

    return project


def symbol(h: int, w: int, device: torch.device | None = None) -> Tensor:
    """Eigenvalues of minus the lattice Laplacian on a torus, `(h, w)`: 4 sin^2(k/2) summed over axes."""
    waves = (torch.arange(n, dtype=torch.float64, device=device) for n in (h, w))
    rows, columns = (4 * torch.sin(math.pi * wave / len(wave)) ** 2 for wave in waves)
    return rows[:, None] + columns[None]


def divergence_free(x: Tensor) -> Tensor:
    """The nearest flow `(b, h, w, 2)` on a torus without sources, its divergence taken by backward
    differences.
    """
    h, w = x.shape[1:3]
    turns = (torch.fft.fftfreq(n, dtype=torch.float64, device=x.device) for n in (h, w))
    ahead = [1 - torch.exp(-2j * math.pi * turn) for turn in turns]
    d = torch.stack([ahead[0][:, None].expand(h, w), ahead[1][None].expand(h, w)], -1)
    modes = torch.fft.fft2(x.double(), dim=(1, 2))
    flux = (modes * d).sum(-1, keepdim=True) / (d.abs() ** 2).sum(-1, keepdim=True).clamp(min=1e-300)
    return torch.fft.ifft2(modes - flux * d.conj(), dim=(1, 2)).real.to(x.dtype)
