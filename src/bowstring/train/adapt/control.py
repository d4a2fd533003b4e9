"""The controls that ship: residual branches behind every layer, trained beside a frozen text model.

"structure" makes it plan, number its steps and answer; "tools" makes it call tools with the values that a
request names. The branches alone learn forms and hardly learn to copy, which is attention's work; so each
control carries a LoRA of all maps beside them, and both together stay below a tenth of the base.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ...nn.adapters import Adapter, ControlNet, LoRA, Several
from ...text.decoder import MAPS, decoder_of
from ...text.tokenizer import EOS, MASK, TextTokenizer
from ...text.weights import load_model
from ...weights.adapters import base_hash, load_adapter, save_adapter
from ...weights.layout import TRUNK, find
from ...weights.shipped import model_folder
from ..data.control import question, request
from ..schedule import Run
from ..text.packing import prompt_tokens
from .body import Bends, Body
from .fit import FitOptions, Row, answer_losses, control_net, fit, lora, share

EXAMPLES = 4000
ROWS = 8  # of a step
CONTROL_RANK, LORA_RANK = 112, 16
MOST_SHARE = 0.1  # of the base's parameters
RATE = 3e-3
STEPS = 450
MASKS = 0.1  # share of steps that teach masked blocks, by which drafts are made


class Asked(Protocol):
    """What is asked, and the text that shall be written."""

    @property
    def prompt(self) -> str: ...

    @property
    def answer(self) -> str: ...


LESSONS: Mapping[str, Callable[[random.Random], Asked]] = {"structure": question, "tools": request}


def rows_of(lesson: str, tokenizer: TextTokenizer, count: int, seed: int) -> list[Row]:
    """Examples of a lesson as tokens."""
    rng = random.Random(seed)
    asked = [LESSONS[lesson](rng) for _ in range(count)]
    return [
        Row(
            tuple(prompt_tokens(tokenizer, "text", one.prompt)),
            (*tokenizer.encode(one.answer), EOS),
        )
        for one in asked
    ]


def fresh(body: Body, seed: int, control: int = CONTROL_RANK, low: int = LORA_RANK) -> Bends:
    """Branches and low-rank deltas, of these ranks, that change nothing yet.

    Raises:
        ValueError: they would be more than a tenth of the base.
    """
    deltas = lora(body, low, seed + 1)
    bends = Bends(deltas.low_rank, {}, control_net(body, control, seed).branches, deltas.scale)
    if (part := share(body, bends)) >= MOST_SHARE:
        raise ValueError(f"a control of {part:.1%} of the base; expected less than {MOST_SHARE:.0%}")
    return bends


def adapter_of(bends: Bends) -> Adapter:
    """What was learned as an adapter of our network."""
    names = {short: full for full, short in MAPS.items()}
    a = {f"layers.{i}.{names[name]}": one for (i, name), (one, _) in bends.low_rank.items()}
    b = {f"layers.{i}.{names[name]}": one for (i, name), (_, one) in bends.low_rank.items()}
    down = {i: one for i, (one, _) in bends.branches.items()}
    up = {i: one for i, (_, one) in bends.branches.items()}
    project = {
        i: torch.zeros(len(one), 1) for i, one in down.items()
    }  # no control differs from token to token
    return Several((LoRA(a, b, bends.scale * len(next(iter(a.values())))), ControlNet(down, up, project)))


def train_control(
    lesson: str,
    run: Run,
    model: Path | str | None = None,
    steps: int = STEPS,
    seed: int = 0,
    tell: Callable[[Mapping[str, Any]], None] = lambda said: None,
) -> Path:
    """Trains a control, or goes on where it stopped, and returns its folder: INT4 in Parquet, beside the
    share by which the loss of examples fell that no step saw.

    Raises:
        ValueError: an unknown lesson.
    """
    if lesson not in LESSONS:
        raise ValueError(f"there is no lesson {lesson!r}; expected one of {', '.join(LESSONS)}")
    place = model_folder(model)
    network, tokenizer, metadata = load_model(place)
    body = Body(decoder_of(network, metadata.context))
    options = FitOptions(
        rate=RATE,
        steps=None if run.seconds else steps,
        seconds=run.seconds or 0.0,
        rows=ROWS,
        masks=MASKS,
        seed=seed,
    )
    rows = rows_of(lesson, tokenizer, EXAMPLES, seed)
    bends, *_ = fit(body, fresh(body, seed), rows, options, (), MASK, tell, run.out)
    adapter, base, out = adapter_of(bends), base_hash(find(place, TRUNK)), run.out / "control"
    said: dict[str, Any] = {"kind": "diffusion", "base": base, "domain": lesson}
    save_adapter(out, adapter, **said, ending="parquet", numbers="INT4")
    stored, _ = load_adapter(out, network.trunk, base=base, kind="diffusion")
    aside = rows_of(lesson, tokenizer, 256, seed + 1)
    gain = 1 - losses(body, aside, bends_of(stored)) / losses(body, aside, Bends())
    save_adapter(out, adapter, **said, gain=round(gain, 4), ending="parquet", numbers="INT4")
    return out


def bends_of(adapter: Adapter) -> Bends:
    """An adapter that was read, for the body that learns."""
    assert isinstance(adapter, Several)
    low, net = adapter.parts
    assert isinstance(low, LoRA) and isinstance(net, ControlNet)
    places = {name: (int(name.split(".")[1]), MAPS[name.split(".", 2)[2]]) for name in low.a}
    return Bends(
        {place: (low.a[name], low.b[name]) for name, place in places.items()},
        {},
        {i: (net.down[i], net.up[i]) for i in net.down},
        low.alpha / low.rank,
    )


@torch.no_grad()
def losses(body: Body, rows: Sequence[Row], bends: Bends) -> float:
    """Mean nats of an answer."""
    parts = [answer_losses(body, rows[i : i + 32], bends).numpy() for i in range(0, len(rows), 32)]
    return float(np.concatenate(parts).mean())
