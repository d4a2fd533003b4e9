"""A shortcut for a solver: jump to a late state of phase separation, then let the solver relax it.

The solver alone walks from noise to time T; the network draws a state shortly before T, and the solver's few
steps from there remove what it got wrong. That saves time against accurate steps; a solver that
may take coarse ones is faster than the network on so small a grid, and is printed too.
Run: python examples/shortcut.py   (writes docs/shortcut.png)
"""

import math
import time

import torch

from bowstring.core.rng import Rng
from bowstring.fields.picture import field_grid
from bowstring.fields.sampling import fields
from bowstring.fields.solvers import cahn_hilliard, free_energy
from bowstring.fields.weights import load_fields

COUNT, TIME, COARSE, FINE, RELAX = 16, 250.0, 0.2, 0.02, 8.0  # lengths of time, not of computing


def length(x: torch.Tensor) -> float:
    """The size of domains: 2 pi over the mean wave number of the power spectrum."""
    side = x.shape[1]
    wave = 2 * math.pi * torch.fft.fftfreq(side)
    size = (wave[:, None] ** 2 + wave[None] ** 2).sqrt()
    power = torch.fft.fft2(x - x.mean((1, 2), keepdim=True)).abs().square().mean(0)
    return float(2 * math.pi * power.sum() / (power * size).sum())


def told(name: str, x: torch.Tensor, seconds: float) -> None:
    energy = free_energy(x).mean().item() / x[0].numel()
    facts = f"free energy per site {energy:.4f}  domains {length(x):5.2f}  mass {x.mean():+.5f}"
    print(f"{name:28} {seconds:6.2f} s  {facts}")


def main() -> None:
    model = load_fields()
    fields(model, "cahn-hilliard", 2.0, count=COUNT, steps=2)  # the first call is slower
    noise = 0.1 * Rng.of(5, COUNT).normal(64, 64)
    noise = noise - noise.mean((1, 2), keepdim=True)
    began = time.perf_counter()
    *_, coarse = cahn_hilliard(noise, round(TIME / COARSE), COARSE)
    told(f"solver, steps of {COARSE}", coarse, time.perf_counter() - began)
    began = time.perf_counter()
    *_, solved = cahn_hilliard(noise, round(TIME / FINE), FINE)
    alone = time.perf_counter() - began
    told(f"solver, steps of {FINE}", solved, alone)
    began = time.perf_counter()
    start = fields(model, "cahn-hilliard", math.log10(TIME - RELAX), count=COUNT, steps=10, seed=4)
    told("jump", start, time.perf_counter() - began)
    *_, relaxed = cahn_hilliard(start, round(RELAX / FINE), FINE)
    short = time.perf_counter() - began
    told("jump, then the fine solver", relaxed, short)
    print(f"{alone / short:.1f} times less time than the fine solver alone")
    field_grid(torch.cat([solved[:4], start[:4], relaxed[:4]]), columns=4, scale=2).save("docs/shortcut.png")


if __name__ == "__main__":
    main()
