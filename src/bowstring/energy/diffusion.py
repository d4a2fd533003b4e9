"""`ForwardDiffusion` and `ReverseDiffusion`: the names of the physics framework, as faces of `core`.

Shapes: b fields `(b, ...)`; times from 0 (clean) to 1 (noise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from ..core.diffusion import ContinuousSampler, DiffusionCore, NoiseScheduler
from ..core.loop import Denoise, State, last
from ..core.options import real
from ..core.options import seed as checked_seed
from ..core.rng import Rng
from .constraints import project_x_0, tilted
from .potential import Energy
from .projections import Project


@dataclass(frozen=True)
class ForwardDiffusion:
    """Clean fields become noise along a schedule: linear, cosine, sqrt, linear-beta or custom.

    >>> forward = ForwardDiffusion(NoiseScheduler("linear"))
    >>> [x.shape for x in forward.trajectory(torch.zeros(3, 4, 4), [0.5, 1.0])]
    [torch.Size([3, 4, 4]), torch.Size([3, 4, 4])]
    """

    scheduler: NoiseScheduler = field(default_factory=NoiseScheduler)

    def sample(self, x_0: Tensor, t: Tensor | float, *, seed: int = 0) -> Tensor:
        """x_t of each field at its time, a number or `(b,)`."""
        times = torch.as_tensor(t, device=x_0.device).expand(len(x_0))
        noise = Rng.of(checked_seed(seed), len(x_0), device=x_0.device).normal(*x_0.shape[1:]).to(x_0.dtype)
        return self.scheduler.add_noise(x_0, noise, times)

    def trajectory(self, x_0: Tensor, times: Sequence[float], *, seed: int = 0) -> Iterator[Tensor]:
        """One path of each field: x_t at every one of the rising times, each made from the one before.

        From s to t > s the signal shrinks by a = alpha_t / alpha_s and noise of variance
        sigma_t^2 - a^2 sigma_s^2 is added, so every x_t has the law that `sample` gives it.

        Raises:
            ValueError: times that do not rise within [0, 1].
        """
        rng, x, s = Rng.of(checked_seed(seed), len(x_0), device=x_0.device), x_0, 0.0
        for i, time in enumerate(times):
            t = real(time, f"times[{i}]", above=s, high=1)
            (alpha_s, sigma_s), (alpha_t, sigma_t) = (
                self.scheduler.gaussian.at(_each(u, x), x) for u in (s, t)
            )
            kept = alpha_t / alpha_s
            spread = (sigma_t**2 - (kept * sigma_s) ** 2).clamp(min=0).sqrt()
            x = kept * x + spread * rng.fork(i).normal(*x.shape[1:]).to(x.dtype)
            yield x
            s = t


def _each(time: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), time, dtype=torch.float64, device=x.device)


@dataclass(frozen=True)
class ReverseDiffusion:
    """Noise becomes fields: DDPM or DDIM in any number of steps (or any sampler of reals), with an energy and
    with conserved quantities.

    energy tilts the law towards p(x) exp(-eta E(x)), given the data's variance `power`, as
    `constraints.tilted` does; for the literal gradient at x_t wrap the denoiser in `guidance.energy_guided`.
    conserve puts every belief and every finished field onto a set, so a linear quantity is kept to rounding.
    """

    denoise: Denoise
    scheduler: NoiseScheduler = field(default_factory=NoiseScheduler)
    _: KW_ONLY
    sampler: ContinuousSampler = field(default_factory=lambda: ContinuousSampler("ddpm"))
    energy: Energy | None = None
    eta: float = 1.0
    power: Tensor | float = 1.0
    conserve: Project | None = None

    def stream(
        self,
        shape: Sequence[int],
        *,
        num_samples: int = 1,
        num_inference_steps: int | Sequence[float] | None = None,
        seed: int = 0,
    ) -> Iterator[State]:
        """States from noise to fields of this shape."""
        denoise = self.denoise
        if self.energy is not None:
            denoise = tilted(denoise, self.energy, self.scheduler.gaussian, self.power, self.eta)
        if self.conserve is not None:
            denoise = project_x_0(denoise, self.conserve)
        return DiffusionCore(denoise, self.sampler, scheduler=self.scheduler).stream(
            shape,
            num_samples=num_samples,
            num_inference_steps=num_inference_steps,
            seed=seed,
            project_final=self.conserve,
        )

    def sample(
        self,
        shape: Sequence[int],
        *,
        num_samples: int = 1,
        num_inference_steps: int | Sequence[float] | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Fields `(num_samples, *shape)`."""
        steps = num_inference_steps
        states = self.stream(shape, num_samples=num_samples, num_inference_steps=steps, seed=seed)
        return last(states).x  # type: ignore[return-value]
