"""Partial differential equations on a grid: phase separation by a semi-implicit spectral step, heat by its
exact modes.

Shapes: fields `(b, h, w)`, lattice spacing 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..core.options import real, whole
from ..energy.projections import symbol


def wave_numbers(h: int, w: int) -> Tensor:
    """|k|^2 of the modes of a real field, `(h, w // 2 + 1)`."""
    rows, columns = (2 * math.pi * f for f in (torch.fft.fftfreq(h), torch.fft.rfftfreq(w)))
    return rows[:, None] ** 2 + columns[None] ** 2


def cahn_hilliard(
    x: Tensor, steps: int, dt: float = 0.2, kappa: float = 1.0, stabilise: float = 2.0
) -> Iterator[Tensor]:
    """dx/dt = laplacian(x^3 - x - kappa laplacian x): a mixture separates, its mass stays.

    The stiff linear part is implicit and `stabilise` is added to both sides, so that the free energy falls at
    every step (Eyre 1998). Yields the field after each step.

    Raises:
        ValueError: a step of time or a stiffness that is not positive.
    """
    steps, dt = whole(steps, "steps", 1), real(dt, "dt", above=0)
    kappa, stabilise = real(kappa, "kappa", above=0), real(stabilise, "stabilise", 0)
    k2 = wave_numbers(*x.shape[1:]).to(x)
    below = 1 + dt * k2 * (stabilise + kappa * k2)
    modes = torch.fft.rfft2(x)
    for _ in range(steps):
        bulk = torch.fft.rfft2(x**3 - (1 + stabilise) * x)
        modes = (modes - dt * k2 * bulk) / below
        x = torch.fft.irfft2(modes, s=x.shape[1:])
        yield x


def free_energy(x: Tensor, kappa: float = 1.0) -> Tensor:
    """Ginzburg and Landau's, sum of (x^2 - 1)^2 / 4 + kappa |grad x|^2 / 2 with spectral gradients,
    `(b,)`.
    """
    h, w = x.shape[1:]
    modes = torch.fft.rfft2(x)
    bent = torch.fft.irfft2(wave_numbers(h, w).to(x) * modes, s=(h, w))
    return (0.25 * (x**2 - 1) ** 2 + 0.5 * kappa * x * bent).flatten(1).sum(1)


def cosines(n: int) -> Tensor:
    """The orthonormal cosine basis of n insulated sites (DCT-II), `(n, n)`, a mode per row."""
    place, mode = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)
    basis = torch.cos(math.pi / n * (place + 0.5) * mode[:, None]) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis


def heat(x: Tensor, time: Tensor) -> Tensor:
    """dx/dt = lattice laplacian of x between insulated walls, after `time (b,)`, exactly.

    Raises:
        ValueError: a time below 0.
    """
    if not bool((time >= 0).all()):
        raise ValueError(f"time is {time.tolist()}; expected none below 0: heat does not flow back")
    h, w = x.shape[1:]
    rows, columns = (cosines(n).to(x.device) for n in (h, w))
    rate = symbol(2 * h, 2 * w)[:h, :w].to(x.device)  # 4 sin^2(pi k / 2 n)
    modes = torch.einsum("ki,bij,lj->bkl", rows, x.double(), columns)
    modes = modes * torch.exp(-rate * time.double().to(x.device)[:, None, None])
    return torch.einsum("ki,bkl,lj->bij", rows, modes, columns).to(x.dtype)
