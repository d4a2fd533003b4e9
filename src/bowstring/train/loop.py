"""The loop that all trainings share, and the one that trains several tasks on one trunk, each step improving
one of them, text among them as replay.

A task is a `Source`: a loss that depends on (network, occurrence) alone, so that a training can stop and go
on. Random numbers are drawn on the CPU and moved, so that they are the same everywhere. Shapes: b rows, l
tokens.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

import torch
from torch import Tensor, nn

from ..nn.network import UnifiedScoreNetwork
from .checkpoint import Optimisers, restore, save
from .optim import mixed, optimisers
from .progress import TrainingLog
from .schedule import Moment, Run, TaskSchedule, logged_shares, moments

Source = Callable[[UnifiedScoreNetwork, int], Tensor]


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def logit_normal(count: int, rng: torch.Generator, centre: float = 0.0, width: float = 1.0) -> Tensor:
    """Times whose logit is normal, stratified, in random order (Esser et al. 2024, arXiv 2403.03206)."""
    place = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    t = torch.sigmoid(centre + width * torch.special.ndtri(place.clamp(1e-4, 1 - 1e-4)))
    return t[torch.randperm(count, generator=rng)]


def noise_like(x: Tensor, rng: torch.Generator) -> Tensor:
    """Standard normal numbers for x, where x lies."""
    return torch.randn(x.shape, generator=rng).to(x.device)


def add_noise(x_0: Tensor, t: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """x_t at times `(b,)` on the straight line to fresh noise, and that noise, `(b, l, c)` both."""
    eps = noise_like(x_0, rng)
    return (1 - t[:, None, None]) * x_0 + t[:, None, None] * eps, eps


def scale_gradients(trunk: nn.Module, norm: float) -> None:
    """Brings the gradients of what all sources share to this norm together. Those of heads stay out of it: a
    loud one, as that of durations, would leave the trunk next to nothing.
    """
    found = [p.grad for p in trunk.parameters() if p.grad is not None]
    scale = norm / (float(torch.nn.utils.get_total_norm(found)) + 1e-12)
    for gradient in found:
        gradient.mul_(scale)


@contextmanager
def whole_steps() -> Iterator[Callable[[], bool]]:
    """Lets a step end before Ctrl-C is heeded; the function says whether it was pressed. Pressed again it
    interrupts at once.
    """
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # other threads get no signals
        return

    def note(_: int, __: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def training_steps(
    steps: int,
    run: Run,
    network: nn.Module,
    optimiser: Optimisers,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Moment]:
    """The moments that are left of a training, the checkpoint in `run.out` being loaded first; whoever takes
    the next one has made the step before. Checkpoints are saved now and then, at the end, and on Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the step was made and saved.
    """
    start = done = restore(run.out, network, optimiser)
    logged = logged_shares(run.out) if run.seconds is not None else ()
    saved = clock()
    with whole_steps() as stopping:
        for moment in moments(steps, start, run.seconds, logged, clock):
            yield moment
            done = moment.step + 1
            if stopping() or clock() - saved > run.every_seconds:
                save(run.out, network, optimiser, done)
                start, saved = done, clock()
            if stopping():
                raise KeyboardInterrupt
    if done > start:
        save(run.out, network, optimiser, done)


def set_rate(optimiser: Optimisers, rate: float) -> None:
    """Gives every group its share of a rate, all of it where a group has no "share"."""
    for one in optimiser:
        for group in one.param_groups:
            group["lr"] = rate * group.get("share", 1.0)


def apply_gradients(optimiser: Optimisers) -> None:
    """One step of each optimiser; the gradients are gone afterwards."""
    for one in optimiser:
        one.step()
        one.zero_grad(set_to_none=True)


def earlier_tasks(schedule: TaskSchedule, run: Run, before: int) -> Counter[str]:
    """How often each task came before a step."""
    logged = (
        logged_shares(run.out) if run.seconds is not None else [i / schedule.steps for i in range(before)]
    )
    return Counter(schedule.task_at(Moment(step, share)) for step, share in enumerate(logged[:before]))


def fit_tasks(
    schedule: TaskSchedule, network: UnifiedScoreNetwork, sources: Mapping[str, Source], run: Run
) -> Iterator[tuple[Moment, str, float]]:
    """Trains `network` in place, yielding (moment, task, loss); resumes from `run.out`."""
    optimiser = optimisers(network, schedule.rate, schedule.modulation)
    seen: Counter[str] | None = None
    for moment in training_steps(schedule.steps, run, network, optimiser):
        seen = earlier_tasks(schedule, run, moment.step) if seen is None else seen
        name = schedule.task_at(moment)
        set_rate(optimiser, schedule.rate_at(moment))
        with mixed(network.device):
            loss = sources[name](network, seen[name])
        loss.backward()
        scale_gradients(network.trunk, dict(schedule.weights).get(name, 1.0))
        apply_gradients(optimiser)
        seen[name] += 1
        yield moment, name, loss.item()


def run_tasks(
    schedule: TaskSchedule, network: UnifiedScoreNetwork, sources: Mapping[str, Source], run: Run
) -> None:
    """`fit_tasks` with progress on screen and a log.

    Raises:
        ValueError: the training had ended before.
    """
    recent: dict[str, float] = {}
    with TrainingLog(run) as log:
        for moment, name, loss in fit_tasks(schedule, network, sources, run):
            recent[name] = loss if name not in recent else 0.98 * recent[name] + 0.02 * loss
            note = "  ".join(f"{key} {value:.3f}" for key, value in sorted(recent.items()))
            log.add(moment, {"source": name, "loss": loss}, note, phase=name)
