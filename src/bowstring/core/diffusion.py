"""`NoiseScheduler`, `ContinuousSampler`, `DiscreteSampler` and `DiffusionCore`: thin faces of the loop for
those who know these names. Each puts together what `process`, `samplers` and `loop` hold, and adds nothing.

Times are floats, 1 noise and 0 clean; where a whole number comes it counts the steps of training, as in
diffusers, and t = n / num_train_steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import torch
from torch import Tensor

from .guidance import cfg
from .loop import Denoise, Halt, Project, State, Step, each, iterate, last, never
from .options import choice, real, settle, whole
from .options import seed as checked_seed
from .process import SCHEDULES, Gaussian, Masked, Schedule, grid, karras, rectified, uniform
from .process import variance_preserving as preserving
from .rng import Rng
from .samplers.continuous import ddim, dpmpp_2m, heun
from .samplers.masked import ORDERS, remask, truncate, unmask, unmask_k

PATHS = {"variance_preserving": preserving, "rectified": rectified}
SPACINGS: dict[str, Callable[[int, Schedule], Tensor]] = {
    "uniform": lambda n, schedule: uniform(n),
    "karras": karras,
}


@dataclass(frozen=True)
class NoiseScheduler:
    """How much noise there is at which time, and at which times a sampler looks.

    >>> scheduler = NoiseScheduler("linear", num_inference_steps=4)
    >>> scheduler.timesteps(), scheduler.mask_rate(torch.tensor([0.25, 1.0]))
    (tensor([1.0000, 0.7500, 0.5000, 0.2500, 0.0000]), tensor([0.2500, 1.0000]))

    Args:
        schedule: cosine, linear, sqrt, linear-beta, or a `Schedule` such as `process.custom` makes.
        path: how signal and noise are mixed for reals: variance_preserving or rectified.
        spacing: uniform or karras.

    Raises:
        ValueError: an unknown name, or a number out of its range.
    """

    schedule: Schedule | str = "cosine"
    _: KW_ONLY
    path: str = "variance_preserving"
    spacing: str = "uniform"
    num_train_steps: int = 1000
    num_inference_steps: int = 50

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            settle(self, schedule=SCHEDULES[choice(self.schedule, "schedule", SCHEDULES)])
        choice(self.path, "path", PATHS)
        choice(self.spacing, "spacing", SPACINGS)
        for name in ("num_train_steps", "num_inference_steps"):
            settle(self, **{name: whole(getattr(self, name), name, 1)})

    @property
    def law(self) -> Schedule:
        """The schedule, whatever it was given as."""
        assert isinstance(self.schedule, Schedule)
        return self.schedule

    @property
    def gaussian(self) -> Gaussian:
        """The process of reals."""
        return Gaussian(self.law, PATHS[self.path])

    def masked(self, mask_id: int) -> Masked:
        """The process of tokens."""
        return Masked(whole(mask_id, "mask_id", 0), self.law)

    def timesteps(self, steps: int | Sequence[float] | None = None) -> Tensor:
        """The falling times of a run of so many steps, or these times themselves, `(n + 1,)`."""
        if isinstance(steps, Sequence | Tensor):
            return grid(steps)
        n = whole(self.num_inference_steps if steps is None else steps, "num_inference_steps", 1)
        return SPACINGS[self.spacing](n, self.law)

    def time(self, t: Tensor) -> Tensor:
        """Times in [0, 1] in double precision, whole numbers being steps of training.

        Raises:
            ValueError: outside of that.
        """
        at = t.double() if t.is_floating_point() else t.double() / self.num_train_steps
        if not bool(((at >= 0) & (at <= 1)).all()):
            raise ValueError(
                f"t is {t.tolist()}; expected times in [0, 1] or steps 0 to {self.num_train_steps}"
            )
        return at

    def alpha(self, t: Tensor) -> Tensor:
        """The share of the signal, elementwise."""
        return _as(t, self.gaussian.scales(self.law.keep(self.time(t)))[0])

    def sigma(self, t: Tensor) -> Tensor:
        """The standard deviation of the noise, elementwise."""
        return _as(t, self.gaussian.scales(self.law.keep(self.time(t)))[1])

    def mask_rate(self, t: Tensor) -> Tensor:
        """The probability that a token is masked, elementwise."""
        return _as(t, 1 - self.law.keep(self.time(t)))

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor, *, mask_id: int | None = None) -> Tensor:
        """x_t for one time per sample, `(b,)`.

        Args:
            noise: for reals standard normal, for tokens uniform in [0, 1), shaped as x_0.
            mask_id: what a hidden token becomes.

        Raises:
            ValueError: tokens without a mask_id, or shapes that do not fit.
        """
        if noise.shape != x_0.shape or t.shape != (len(x_0),):
            raise ValueError(
                f"x_0 is {tuple(x_0.shape)}, noise {tuple(noise.shape)}, t {tuple(t.shape)}; expected noise "
                "shaped as x_0, and one time per sample"
            )
        at = self.time(t)
        if x_0.is_floating_point():
            alpha, sigma = self.gaussian.at(at, x_0)
            return alpha * x_0 + sigma * noise
        if mask_id is None:
            raise ValueError("x_0 holds tokens; expected the mask_id that hides them")
        return torch.where(noise >= each(self.law.keep(at), x_0), mask_id, x_0)


def _as(t: Tensor, values: Tensor) -> Tensor:
    """In the precision of the times."""
    return values.to(t.dtype) if t.is_floating_point() else values.float()


@dataclass(frozen=True)
class ContinuousSampler:
    """Steps for reals: ddim (with `eta` of fresh noise, 1 is DDPM), ddpm, heun, dpmpp_2m."""

    method: str = "dpmpp_2m"
    _: KW_ONLY
    eta: float = 0.0

    def __post_init__(self) -> None:
        choice(self.method, "method", ["ddim", "ddpm", "heun", "dpmpp_2m"])
        settle(self, eta=real(self.eta, "eta", 0, 1))
        if self.eta and self.method != "ddim":
            raise ValueError(f"eta is {self.eta}; it belongs to ddim, not to {self.method}. Leave it out")

    def step(self, denoise: Denoise, scheduler: NoiseScheduler) -> Step:
        if self.method in ("ddim", "ddpm"):
            return ddim(denoise, scheduler.gaussian, eta=1.0 if self.method == "ddpm" else self.eta)
        return (heun if self.method == "heun" else dpmpp_2m)(denoise, scheduler.gaussian)

    def start(self, shape: Sequence[int], rng: Rng, scheduler: NoiseScheduler) -> Tensor:
        """Pure noise."""
        return scheduler.gaussian.prior(rng, *shape)


@dataclass(frozen=True)
class DiscreteSampler:
    """Steps for tokens: as many as the schedule says, those first that `order` prefers; or, with order
    "ancestral", each on its own, and taken back with a probability of up to `remask`.
    """

    mask_id: int
    order: str = "confidence"
    _: KW_ONLY
    temperature: float = 1.0
    top_p: float = 1.0
    remask: float = 0.0

    def __post_init__(self) -> None:
        choice(self.order, "order", [*ORDERS, "ancestral"])
        settle(self, mask_id=whole(self.mask_id, "mask_id", 0), remask=real(self.remask, "remask", 0, 1))
        truncate(torch.zeros(1), self.temperature, self.top_p)
        if self.remask and self.order != "ancestral":
            raise ValueError(f"remask is {self.remask}; it belongs to order 'ancestral', not {self.order!r}")

    def step(self, denoise: Denoise, scheduler: NoiseScheduler) -> Step:
        process = scheduler.masked(self.mask_id)
        drawn = lambda x, t: truncate(denoise(x, t), self.temperature, self.top_p)  # noqa: E731
        if self.order != "ancestral":
            return unmask_k(drawn, process, ORDERS[self.order])
        return remask(drawn, process, self.remask) if self.remask else unmask(drawn, process)

    def start(self, shape: Sequence[int], rng: Rng, scheduler: NoiseScheduler) -> Tensor:
        """Everything masked."""
        return scheduler.masked(self.mask_id).prior(rng, *shape)


@dataclass(frozen=True)
class DiffusionCore:
    """A denoiser, a schedule and a sampler: what generates.

    >>> mean = lambda x, t: torch.zeros_like(x)
    >>> core = DiffusionCore(mean, ContinuousSampler("ddim"), scheduler=NoiseScheduler(num_inference_steps=4))
    >>> core.generate((2,), num_samples=3).shape
    torch.Size([3, 2])
    """

    denoise: Denoise
    sampler: ContinuousSampler | DiscreteSampler = field(default_factory=ContinuousSampler)
    _: KW_ONLY
    scheduler: NoiseScheduler = field(default_factory=NoiseScheduler)

    def stream(
        self,
        shape: Sequence[int],
        *,
        num_samples: int = 1,
        num_inference_steps: int | Sequence[float] | None = None,
        guidance_scale: float = 1.0,
        uncond: Denoise | None = None,
        seed: int = 0,
        halt: Halt = never,
        project_final: Project | None = None,
    ) -> Iterator[State]:
        """The states of the loop, the noise left out.

        Args:
            shape: of one sample.
            guidance_scale: w in uncond + w (cond - uncond); 1 is off and costs nothing.

        Raises:
            ValueError: guidance without `uncond`, or a number out of its range.
        """
        if uncond is None and guidance_scale != 1:
            raise ValueError(
                f"guidance_scale is {guidance_scale}; expected 1, or a denoiser `uncond` beside it"
            )
        denoise = self.denoise if uncond is None else cfg(self.denoise, uncond, guidance_scale)
        rng = Rng.of(checked_seed(seed), whole(num_samples, "num_samples", 1))
        times = self.scheduler.timesteps(num_inference_steps)
        begin = State.begin(self.sampler.start(shape, rng, self.scheduler))
        begin = replace(begin, t=torch.full_like(begin.t, float(times[0])))
        return iterate(self.sampler.step(denoise, self.scheduler), begin, times, rng, halt, project_final)

    def generate(
        self,
        shape: Sequence[int],
        *,
        num_samples: int = 1,
        num_inference_steps: int | Sequence[float] | None = None,
        guidance_scale: float = 1.0,
        uncond: Denoise | None = None,
        seed: int = 0,
        project_final: Project | None = None,
    ) -> Tensor:
        """Samples `(num_samples, *shape)`; the arguments are those of `stream`."""
        states = self.stream(
            shape,
            num_samples=num_samples,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            uncond=uncond,
            seed=seed,
            project_final=project_final,
        )
        return last(states).x  # type: ignore[return-value]
