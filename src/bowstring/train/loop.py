"""Trains several modalities on one trunk each step improving one of them, text among them as replay.

A modality is a `Source`: a loss that depends on (network, step) alone, so that a training can stop and go on.
Shapes: b rows, l tokens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from ..nn.network import UnifiedScoreNetwork
from .checkpoint import restore, save
from .optim import mixed, optimisers
from .progress import PROGRESS_COLUMNS

Source = Callable[[UnifiedScoreNetwork, int], Tensor]


@dataclass(frozen=True)
class TaskSchedule:
    """Which source each step improves: the cycle over and over; how fast; and how much a source's gradient
    counts: before momentum mixes them, each is brought to this norm in the trunk (1 by default).
    """

    cycle: tuple[str, ...]
    steps: int
    rate: float = 1.5e-3
    warm_up: int = 60
    constant: float = 0.4  # share of the steps before the rate falls
    weights: tuple[tuple[str, float], ...] = ()
    modulation: float = 1.0  # share of the rate at which the time modulation learns
    seed: int = 0

    def rate_at(self, step: int) -> float:
        fall = min(1.0, (self.steps - step) / (self.steps * (1 - self.constant)))
        return self.rate * min(1.0, (step + 1) / self.warm_up, fall)


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def logit_normal(count: int, rng: torch.Generator, centre: float = 0.0, width: float = 1.0) -> Tensor:
    """Times whose logit is normal, stratified, in random order (Esser et al. 2024, arXiv 2403.03206)."""
    place = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    t = torch.sigmoid(centre + width * torch.special.ndtri(place.clamp(1e-4, 1 - 1e-4)))
    return t[torch.randperm(count, generator=rng)]


def add_noise(x_0: Tensor, t: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """x_t at times `(b,)` on the straight line to fresh noise, and that noise, `(b, l, c)` both."""
    eps = torch.randn(x_0.shape, generator=rng)
    return (1 - t[:, None, None]) * x_0 + t[:, None, None] * eps, eps


def scale_gradients(trunk: nn.Module, norm: float) -> None:
    """Brings the gradients of what all sources share to this norm together. Those of heads stay out of it: a
    loud one, as that of durations, would leave the trunk next to nothing.
    """
    found = [p.grad for p in trunk.parameters() if p.grad is not None]
    scale = norm / (float(torch.nn.utils.get_total_norm(found)) + 1e-12)
    for gradient in found:
        gradient.mul_(scale)


def fit_tasks(
    schedule: TaskSchedule,
    network: UnifiedScoreNetwork,
    sources: Mapping[str, Source],
    folder: Path,
    every_seconds: float = 240.0,
) -> Iterator[tuple[int, str, float]]:
    """Trains `network` in place, yielding (step, source, loss); resumes from `folder`."""
    optimiser = optimisers(network, schedule.rate, schedule.modulation)
    start = restore(folder, network, optimiser)
    saved = time.monotonic()
    for step in range(start, schedule.steps):
        name = schedule.cycle[step % len(schedule.cycle)]
        occurrence = step // len(schedule.cycle) * schedule.cycle.count(name) + schedule.cycle[
            : step % len(schedule.cycle)
        ].count(name)
        for one in optimiser:
            for group in one.param_groups:
                group["lr"] = schedule.rate_at(step) * group.get("share", 1.0)
        with mixed():
            loss = sources[name](network, occurrence)
        loss.backward()
        scale_gradients(network.trunk, dict(schedule.weights).get(name, 1.0))
        for one in optimiser:
            one.step()
            one.zero_grad(set_to_none=True)
        yield step, name, loss.item()
        if step + 1 == schedule.steps or time.monotonic() - saved > every_seconds:
            save(folder, network, optimiser, step + 1)
            saved = time.monotonic()


def run_tasks(
    schedule: TaskSchedule,
    network: UnifiedScoreNetwork,
    sources: Mapping[str, Source],
    out: Path,
    console: Console,
) -> bool:
    """`fit_tasks` with progress on screen and a log; False when the training had ended before."""
    out.mkdir(parents=True, exist_ok=True)
    recent: dict[str, float] = {}
    with Progress(*PROGRESS_COLUMNS, console=console) as bar, (out / "log.jsonl").open("a") as log:
        task = bar.add_task("train", total=schedule.steps, phase="", note="")
        for step, name, loss in fit_tasks(schedule, network, sources, out):
            recent[name] = loss if name not in recent else 0.98 * recent[name] + 0.02 * loss
            log.write(json.dumps({"step": step, "source": name, "loss": loss}) + "\n")
            log.flush()
            note = "  ".join(f"{key} {value:.3f}" for key, value in sorted(recent.items()))
            bar.update(task, completed=step + 1, phase=name, note=note)
    return bool(recent)
