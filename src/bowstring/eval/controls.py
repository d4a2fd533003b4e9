"""Do controls make a text model obey, and what do they cost? `bench evolve` asks this of those that ship.

Structure: held-out questions, no grammar; a text is a plan, numbered steps and an answer, or it is not; what
it ends with is the number that was asked for, or not. Calls: held-out requests under the grammar of the
tools, with and without the control; a call is right where its name and every value are. `evaluation_ratio` is
the time of an evaluation of a block and the token before it with one LoRA of 1 % and one ControlNet of 9 % of
the base, as their files hold them, over the time without, packed, taken in turns; `evaluation_ratio_by_rows`
of other counts of tokens.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..adapt.learners import adapter_of
from ..decode.decoder import Decoder
from ..decode.deltas import Deltas
from ..engine import ArrowEngine
from ..grammar.checking import fits
from ..text.decoder import decoder_of, deltas_of
from ..train.adapt.body import Bends, Body
from ..train.adapt.fit import control_net, lora
from ..train.data.control import CALL_SCHEMA, answered, question, request, structured
from ..weights.adapters import load_adapter, save_adapter
from ..weights.layout import weights_files
from ..weights.shipped import CONTROLNETS, model_folder
from .results import Measured, Measurement, Setting, announce

ASKED, QUICK = 200, 24
SEED = 77
LONGEST = 120
SHARES = (3, 240)  # ranks of a LoRA of 1 % and a ControlNet of 9 % of a text model of 13 M parameters
ROWS = (1, 5, 64)  # tokens of an evaluation: one, a block with its token before, a prompt
TURNS = 32


def measure_controls(setting: Setting) -> Measurement:
    """The keys of controls, for `bench evolve`."""
    engine = ArrowEngine.load(setting.model)
    count = QUICK if setting.quick else ASKED
    ratios = evaluation_ratios(engine)
    numbers: dict[str, Any] = {"evaluation_ratio": ratios["5"], "evaluation_ratio_by_rows": ratios}
    missing: dict[str, str] = {}
    for name, part in (("structure", structure_numbers), ("tools", call_numbers)):
        if not (CONTROLNETS / name).is_dir():
            missing |= dict.fromkeys(KEYS[name], f"no control {name!r} ships")
            continue
        announce(f"control {name}")
        engine.load_adapter(name, weight=0)
        numbers |= part(engine, count)
    folder = model_folder(setting.model)
    files = [*weights_files(folder), *CONTROLNETS.rglob("*.parquet")]
    return Measurement(numbers | dict.fromkeys(missing), files, missing)


KEYS = {
    "structure": ("structure_with", "structure_without", "answers_with", "answers_without"),
    "tools": ("calls_valid", "calls_right_with", "calls_right_without"),
}


def structure_numbers(engine: ArrowEngine, count: int) -> dict[str, Any]:
    """Shares of structured texts and of right answers, with the control and without."""
    rng, found = random.Random(SEED), dict[str, list[bool]]()
    for number in range(count):
        asked = question(rng, test=True)
        for way, adapters in (("with", {"structure": 1.0}), ("without", dict[str, float]())):
            text = engine.generate(asked.prompt, max_tokens=LONGEST, seed=number, adapters=adapters)
            found.setdefault(f"structure_{way}", []).append(structured(str(text)))
            found.setdefault(f"answers_{way}", []).append(answered(str(text)) == asked.number)
    return {key: Measured.mean(values) for key, values in found.items()}


def call_numbers(engine: ArrowEngine, count: int) -> dict[str, Any]:
    """Shares of valid calls and of right ones, with the control and without, the grammar always on."""
    rng, found = random.Random(SEED), dict[str, list[bool]]()
    for number in range(count):
        asked = request(rng, test=True)
        for way, adapters in (("with", {"tools": 1.0}), ("without", dict[str, float]())):
            text = str(
                engine.generate(
                    asked.prompt,
                    "ar",
                    max_tokens=LONGEST,
                    temperature=0,
                    schema=CALL_SCHEMA,
                    seed=number,
                    adapters=adapters,
                )
            )
            found.setdefault(f"calls_right_{way}", []).append(same_call(text, asked.call))
            if way == "with":
                found.setdefault("calls_valid", []).append(fits(text, "schema", CALL_SCHEMA))
    return {key: Measured.mean(values) for key, values in found.items()}


def same_call(text: str, call: Mapping[str, Any]) -> bool:
    """Whether a text is this call, name and every value.

    >>> same_call('{"name": "a", "arguments": {"x": 1}}', {"name": "a", "arguments": {"x": 1}})
    True
    """
    try:
        return bool(json.loads(text) == call)
    except json.JSONDecodeError:
        return False


def evaluation_ratios(engine: ArrowEngine) -> dict[str, Measured]:
    """By the rows of an evaluation, time with a LoRA and a ControlNet over time without."""
    base = decoder_of(engine.network, engine.metadata.context)
    bent = base.with_deltas((drawn(lora(Body(base), SHARES[0], 0)).deltas()) | drawn_net(engine, base))
    return {str(rows): in_turns(base, bent, rows) for rows in ROWS}


def drawn_net(engine: ArrowEngine, decoder: Decoder) -> Deltas:
    """A ControlNet as those that ship come from their files, in INT4."""
    made = adapter_of(drawn(control_net(Body(decoder), SHARES[1], 0)).deltas())
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "control"
        said: dict[str, Any] = {"kind": "diffusion", "base": engine.base, "domain": "drawn"}
        save_adapter(folder, made, **said, ending="parquet", numbers="INT4")
        stored, _ = load_adapter(folder, engine.network.trunk, base=engine.base, kind="diffusion")
    return deltas_of(stored.conditioning())


@torch.no_grad()
def drawn(bends: Bends) -> Bends:
    """The same with numbers in every matrix, for zeros might be fast."""
    rng = torch.Generator().manual_seed(0)
    for one in bends.parameters():
        one.add_(0.01 * torch.randn(one.shape, generator=rng))
    return bends


def in_turns(base: Decoder, bent: Decoder, rows: int) -> Measured:
    """Medians of a few evaluations each, turn by turn; the median of their ratios, as a turn may be
    disturbed.
    """
    ratios = []
    for _ in range(TURNS):
        without, with_ = (statistics.median(seconds(one, rows)) for one in (base, bent))
        ratios.append(with_ / without)
    return Measured.median(ratios)


def seconds(decoder: Decoder, rows: int, times: int = 9) -> list[float]:
    cache, tokens = decoder.cache(), np.arange(20, 20 + rows)
    decoder.forward(np.arange(20, 60), cache)
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        decoder.forward(tokens, cache)
        taken.append(time.perf_counter() - began)
        cache.truncate(40)
    return taken
