"""The training loop of text: a generator over steps that can stop anywhere and go on as if it had not.

Three phases: next token only; next token and blocks of every size together; the same with a heavier
next-token loss while the learning rate falls to zero. What a step does depends on (recipe, step) alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..net.config import NetworkConfig
from ..net.network import UnifiedScoreNetwork
from .muon import Muon, mixed
from .objective import ar_loss, joint_loss
from .pack import Corpus, Rows

CANVAS = 1 << 20  # a block size that takes a whole body


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
class Progress:
    """One step: losses in nats per token, speed in tokens per second."""

    step: int
    phase: str
    ar: float
    diffusion: float
    rate: float
    tokens_per_second: float
    seconds_left: float


def optimisers(
    network: nn.Module, rate: float, modulation: float = 1.0
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the trunk's matrices, AdamW for everything else; where the time modulation shall learn at
    another rate, it is a group whose "share" says how much of the rate it is.
    """
    matrices = [
        p
        for n, p in network.trunk.layers.named_parameters()  # type: ignore[union-attr]
        if p.ndim == 2 and not n.endswith("offset")
    ]
    taken = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in taken]
    muon = Muon(matrices, lr=rate, weight_decay=0.05)
    groups: list[dict[str, Any]] = [{"params": rest}]
    if modulation != 1:
        own = [*network.trunk.modulation.parameters()]  # type: ignore[union-attr]
        others = [p for p in rest if all(p is not one for one in own)]
        groups = [{"params": others}, {"params": own, "share": modulation}]
    return muon, torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)


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


def losses(
    network: UnifiedScoreNetwork, recipe: Recipe, rows: Rows, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(total, next token, diffusion) of one step, nats per token."""
    if recipe.phase(step) == "ar":
        loss = ar_loss(network, rows)
        return loss, loss, loss.new_tensor(float("nan"))
    rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    whole = torch.rand(1, generator=rng).item() < recipe.canvas
    size = CANVAS if whole else recipe.blocks[int(torch.randint(len(recipe.blocks), (1,), generator=rng))]
    ar, diffusion = joint_loss(network, rows, size, rng)
    return recipe.ar_weight[recipe.phase(step) == "cool"] * ar + diffusion, ar, diffusion


def save(folder: Path, network: nn.Module, optimiser: tuple[torch.optim.Optimizer, ...], step: int) -> None:
    """Writes a checkpoint beside the old one, then takes its place."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    scalars: dict[str, float] = {}
    for o, one in enumerate(optimiser):
        for p, state in one.state_dict()["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.ndim:
                    tensors[f"optimiser.{o}.{p}.{key}"] = value
                else:
                    scalars[f"{o}.{p}.{key}"] = float(value)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoint.safetensors", "checkpoint.json"):
        target = folder / f"{name}.new"
        if name.endswith("json"):
            target.write_text(json.dumps({"step": step, "scalars": scalars}))
        else:
            save_file({k: v.contiguous() for k, v in tensors.items()}, target, {"step": str(step)})
    for name in ("checkpoint.safetensors", "checkpoint.json"):
        (folder / f"{name}.new").replace(folder / name)


def restore(folder: Path, network: nn.Module, optimiser: tuple[torch.optim.Optimizer, ...]) -> int:
    """Loads the checkpoint in `folder` into network and optimisers and returns its step."""
    tensors = load_file(folder / "checkpoint.safetensors")
    meta: dict[str, Any] = json.loads((folder / "checkpoint.json").read_text())
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    for o, one in enumerate(optimiser):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimiser.{o}."):
                _, _, p, name = key.split(".", 3)
                state.setdefault(int(p), {})[name] = value
        for key, number in meta["scalars"].items():
            if key.startswith(f"{o}."):
                _, p, name = key.split(".", 2)
                state.setdefault(int(p), {})[name] = torch.tensor(number)
        one.load_state_dict({"state": state, "param_groups": one.state_dict()["param_groups"]})
    return int(meta["step"])


def fit(
    recipe: Recipe,
    corpus: Corpus,
    folder: Path,
    every_seconds: float = 240.0,
    keep: tuple[int, ...] = (),
    start_from: UnifiedScoreNetwork | None = None,
) -> Iterator[tuple[Progress, UnifiedScoreNetwork]]:
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
    start = restore(folder, network, optimiser) if (folder / "checkpoint.json").exists() else 0
    saved = time.monotonic()
    stream = batches(corpus, recipe, start)
    for step in range(start, recipe.steps):
        began = time.monotonic()
        rows = next(stream)
        for one in optimiser:
            for group in one.param_groups:
                group["lr"] = recipe.rate_at(step)
        with mixed():
            total, ar, diffusion = losses(network, recipe, rows, step)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for one in optimiser:
            one.step()
            one.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began
        speed = recipe.rows * recipe.length / seconds
        yield (
            Progress(
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
