"""The training loop of text: a generator over steps that can stop anywhere and go on as if it had not.

Three phases: next token only; next token and blocks of every size together; the same with a heavier
next-token loss while the learning rate falls to zero. What a step does depends on (recipe, step) alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...nn.config import NetworkConfig
from ...nn.network import UnifiedScoreNetwork
from ..checkpoint import restore, save
from ..optim import mixed, optimisers
from .losses import ar_loss, joint_loss
from .packing import Corpus, Rows

WHOLE_BODY = 1 << 20  # a block size that takes a whole body


@dataclass(frozen=True)
class Recipe:
    """A text training. Shares are of `tokens`; the rest after `ar` and `joint` is the cool-down."""

    name: str = "text"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    tokens: int = 13_000_000
    ar: float = 0.62
    joint: float = 0.28
    rows: int = 16
    length: int = 256
    blocks: tuple[int, ...] = (4, 8, 16)
    canvas: float = 0.1  # share of joint steps whose block is the whole body
    ar_weight: tuple[float, float] = (
        1.0,
        1.5,
    )  # of the next-token loss in the joint phase and in the cool-down
    rate: float = 2e-3
    warm_up: int = 150
    seed: int = 0
    repeats: tuple[tuple[str, float], ...] = (
        ("tale", 1.0),
        ("story", 0.6),
        ("function", 2.0),
        ("snippet", 3.0),
    )
    in_order: float = 0.12
    in_place: float = 0.12
    baseline: bool = False  # next token only, to the end
    start: str = ""  # the recipe whose finished model this one goes on from; "" begins at random

    @property
    def steps(self) -> int:
        return self.tokens // (self.rows * self.length)

    def phase(self, step: int) -> str:
        if self.baseline or step < self.ar * self.steps:
            return "ar"
        return "joint" if step < (self.ar + self.joint) * self.steps else "cool"

    def rate_at(self, step: int) -> float:
        """Linear warm-up, constant while only the next token is learned, then linear to zero."""
        fall = self.ar * self.steps
        return self.rate * min(
            1.0, (step + 1) / self.warm_up, max(0.0, (self.steps - step) / (self.steps - fall))
        )


@dataclass(frozen=True)
class StepReport:
    """One step: losses in nats per token, speed in tokens per second."""

    step: int
    phase: str
    ar: float
    diffusion: float
    rate: float
    tokens_per_second: float
    seconds_left: float


def batches(corpus: Corpus, recipe: Recipe, start: int) -> Iterator[Rows]:
    """The rows of step `start`, `start + 1`, ...; an epoch's last rows that fill no batch are left out."""
    epoch = at = 0
    while True:
        rows = corpus.epoch(
            recipe.seed, epoch, recipe.length, dict(recipe.repeats), recipe.in_order, recipe.in_place
        )
        rows = Rows(
            *(
                getattr(rows, n)[np.random.default_rng([recipe.seed, epoch, 1]).permutation(len(rows))]
                for n in asdict(rows[:0])
            )
        )
        for i in range(0, len(rows) - recipe.rows + 1, recipe.rows):
            if at >= start:
                yield rows[i : i + recipe.rows]
            at += 1
        epoch += 1


def step_losses(
    network: UnifiedScoreNetwork, recipe: Recipe, rows: Rows, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, next token, diffusion) of one step, nats per token."""
    if recipe.phase(step) == "ar":
        loss = ar_loss(network, rows)
        return loss, loss, loss.new_tensor(float("nan"))
    rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    whole = torch.rand(1, generator=rng).item() < recipe.canvas
    size = WHOLE_BODY if whole else recipe.blocks[int(torch.randint(len(recipe.blocks), (1,), generator=rng))]
    ar, diffusion = joint_loss(network, rows, size, rng)
    return recipe.ar_weight[recipe.phase(step) == "cool"] * ar + diffusion, ar, diffusion


def fit(
    recipe: Recipe,
    corpus: Corpus,
    folder: Path,
    every_seconds: float = 240.0,
    keep: tuple[int, ...] = (),
    start_from: UnifiedScoreNetwork | None = None,
) -> Iterator[tuple[StepReport, UnifiedScoreNetwork]]:
    """Trains and yields after each step; resumes from `folder` when a checkpoint lies there.

    Args:
        keep: steps whose checkpoint is also kept under `folder/step-N`.
        start_from: the network whose weights the first step starts with; None draws them from the seed.
    """
    torch.manual_seed(recipe.seed)
    network = UnifiedScoreNetwork(recipe.network)
    if start_from is not None:
        network.load_state_dict(start_from.state_dict())
    optimiser = optimisers(network, recipe.rate)
    start = restore(folder, network, optimiser)
    saved = time.monotonic()
    stream = batches(corpus, recipe, start)
    for step in range(start, recipe.steps):
        began = time.monotonic()
        rows = next(stream)
        for one in optimiser:
            for group in one.param_groups:
                group["lr"] = recipe.rate_at(step)
        with mixed():
            total, ar, diffusion = step_losses(network, recipe, rows, step)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for one in optimiser:
            one.step()
            one.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began
        speed = recipe.rows * recipe.length / seconds
        yield (
            StepReport(
                step,
                recipe.phase(step),
                ar.item(),
                diffusion.item(),
                recipe.rate_at(step),
                speed,
                (recipe.steps - step - 1) * seconds,
            ),
            network,
        )
        last = step + 1 == recipe.steps
        if last or time.monotonic() - saved > every_seconds:
            save(folder, network, optimiser, step + 1)
            saved = time.monotonic()
        if step + 1 in keep:
            save(folder / f"step-{step + 1}", network, optimiser, step + 1)
