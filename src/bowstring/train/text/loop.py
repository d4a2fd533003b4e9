"""The training loop of text: a generator over steps that can stop anywhere and go on as if it had not.

Three phases: next token only; next token and blocks of every size together; the same with a heavier
next-token loss while the learning rate falls to zero. What a step does depends on (recipe, step) alone.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...core.files import replacing
from ...nn.config import NetworkConfig
from ...nn.network import UnifiedScoreNetwork
from ..checkpoint import NAME, save
from ..loop import apply_gradients, set_rate, training_steps
from ..optim import mixed, optimisers
from ..progress import TrainingLog
from ..schedule import Moment, Run, warm_up_share
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
        ("story", 0.4),
        ("function", 2.5),
        ("snippet", 3.0),
    )
    in_order: float = 0.12
    in_place: float = 0.12
    baseline: bool = False  # next token only, to the end
    start: str = ""  # the recipe whose finished model this one goes on from; "" begins at random

    @property
    def steps(self) -> int:
        return self.tokens // (self.rows * self.length)

    @property
    def causal_steps(self) -> int:
        """How many steps learn the next token alone; a baseline makes the same ones, then goes on so."""
        return sum(step / self.steps < self.ar for step in range(self.steps))

    def phase(self, share: float) -> str:
        """What is learned when this share of the training is over."""
        if self.baseline or share < self.ar:
            return "ar"
        return "joint" if share < self.ar + self.joint else "cool"

    def rate_at(self, moment: Moment) -> float:
        """Linear warm-up, constant while only the next token is learned, then linear to zero."""
        fall = (1 - moment.share) / (1 - self.ar)
        return self.rate * min(warm_up_share(moment, self.steps, self.warm_up), fall)


@dataclass(frozen=True)
class StepReport:
    """One step: losses in nats per token, speed in tokens per second."""

    moment: Moment
    phase: str
    ar: float
    diffusion: float
    rate: float
    tokens_per_second: float


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
    network: UnifiedScoreNetwork, recipe: Recipe, rows: Rows, moment: Moment
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, next token, diffusion) of one step, nats per token."""
    phase = recipe.phase(moment.share)
    if phase == "ar":
        loss = ar_loss(network, rows)
        return loss, loss, torch.full_like(loss, torch.nan)
    rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + moment.step)
    whole = torch.rand(1, generator=rng).item() < recipe.canvas
    size = WHOLE_BODY if whole else recipe.blocks[int(torch.randint(len(recipe.blocks), (1,), generator=rng))]
    ar, diffusion = joint_loss(network, rows, size, rng)
    return recipe.ar_weight[phase == "cool"] * ar + diffusion, ar, diffusion


def fit(
    recipe: Recipe,
    corpus: Corpus,
    run: Run,
    keep: tuple[int, ...] = (),
    start_from: UnifiedScoreNetwork | None = None,
) -> Iterator[tuple[StepReport, UnifiedScoreNetwork]]:
    """Trains and yields after each step; resumes from `run.out` when a checkpoint lies there.

    Args:
        keep: steps whose checkpoint is also kept, see `kept_at`.
        start_from: the network whose weights the first step starts with; None draws them from the seed.
    """
    torch.manual_seed(recipe.seed)
    network = UnifiedScoreNetwork(recipe.network)
    if start_from is not None:
        network.load_state_dict(start_from.state_dict())
    network = network.to(run.device)
    optimiser = optimisers(network, recipe.rate)
    stream: Iterator[Rows] | None = None
    for moment in training_steps(recipe.steps, run, network, optimiser):
        began = time.monotonic()
        stream = batches(corpus, recipe, moment.step) if stream is None else stream
        rate = recipe.rate_at(moment)
        set_rate(optimiser, rate)
        with mixed(run.device):
            total, ar, diffusion = step_losses(network, recipe, next(stream), moment)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        apply_gradients(optimiser)
        both = ar.item(), diffusion.item()
        speed = recipe.rows * recipe.length / (time.monotonic() - began)
        yield StepReport(moment, recipe.phase(moment.share), *both, rate, speed), network
        if moment.step + 1 in keep:
            save(kept_at(run.out, moment.step + 1), network, optimiser, moment.step + 1)


def kept_at(out: Path, step: int) -> Path:
    """Where the checkpoint of a step is kept."""
    return out / f"step-{step}"


def is_shared(recipe: Recipe, run: Run) -> bool:
    """Whether a recipe and its baseline begin alike: from the seed, and by steps that no clock moves."""
    return not recipe.start and run.seconds is None


def share_past(recipe: Recipe, run: Run) -> bool:
    """Gives a baseline that has not begun the steps that its rival, which trained beside it on the same data,
    made the same way: those that learned the next token alone.
    """
    rival = kept_at(run.out.with_name(recipe.name.removesuffix("-baseline")), recipe.causal_steps) / NAME
    shares = recipe.baseline and is_shared(recipe, run) and not (run.out / NAME).exists() and rival.exists()
    if shares:
        run.out.mkdir(parents=True, exist_ok=True)
        with replacing(run.out / NAME) as partial:
            shutil.copyfile(rival, partial)
    return shares


def run_text(
    recipe: Recipe, corpus: Corpus, run: Run, start: UnifiedScoreNetwork | None = None
) -> UnifiedScoreNetwork:
    """`fit` with progress on screen and a log; keeps what the recipe shares with its baseline.

    Raises:
        ValueError: the training had ended before.
    """
    network = None
    with TrainingLog(run) as log:
        keep = (recipe.causal_steps,) if is_shared(recipe, run) and not recipe.baseline else ()
        for report, network in fit(recipe, corpus, run, keep, start):  # noqa: B007
            losses = f"next token {report.ar:.3f}  diffusion {report.diffusion:.3f}"
            row = {name: value for name, value in asdict(report).items() if name != "moment"}
            log.add(report.moment, row, f"{losses}  {report.tokens_per_second:,.0f} tokens/s", report.phase)
    assert network is not None
    return network.cpu()
