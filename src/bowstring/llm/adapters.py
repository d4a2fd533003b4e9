"""Adapters of imported models: PEFT's files to and from deltas of a decoder.

What training makes elsewhere has no card and is taken at its word where its names and shapes fit; a card that
names another base or another way of writing is refused.

Hugging Face turns the halves of a head, GGUF's Llamas neighbouring pairs: rows of queries and keys stand in
another order there. Shapes: r rank, k inputs and o outputs of a map.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..decode.config import DecoderConfig
from ..decode.decoder import Decoder
from ..decode.deltas import Branch, Deltas, LowRank
from ..weights.adapter_files import (
    AdapterCard,
    AdapterFile,
    Numbers,
    check_config,
    checked_card,
    peft_config,
    read_adapter,
    require,
    write_adapter,
)
from .families import LAYER

PREFIX = "base_model.model.model."
MODULES = {name: theirs[0].removesuffix(".weight") for name, theirs in LAYER.items()}
MAPS = ("q", "k", "v", "out", "gate", "up", "down")
OURS = {MODULES[name]: name for name in MAPS}
LORA = re.compile(rf"{re.escape(PREFIX)}layers\.(\d+)\.([\w.]+)\.(lora_A|lora_B|delta)\.weight")
CONTROL = re.compile(rf"{re.escape(PREFIX)}layers\.(\d+)\.control_(down|up)\.weight")
Matrices = Mapping[str, np.ndarray]


def module(i: int, name: str) -> str:
    """What transformers call a linear map.

    >>> module(3, "q")
    'model.layers.3.self_attn.q_proj'
    """
    return f"model.layers.{i}.{MODULES[name]}"


def load_adapter(folder: Path, decoder: Decoder, *, base: str, kind: str) -> tuple[Deltas, AdapterCard]:
    """The adapter in a folder, checked against the decoder that it shall bend.

    Raises:
        FileNotFoundError: there is none.
        ValueError: an adapter of another base or kind, or tensors and settings that do not fit.
    """
    file = read_adapter(folder)
    card = (
        _assumed(file, base, kind)
        if file.card is None
        else require(file.card, file.path, base=base, kind=kind)
    )
    try:
        deltas = _deltas(file, card, decoder.config)
        decoder.with_deltas(deltas)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None
    return deltas, card


def _assumed(file: AdapterFile, base: str, kind: str) -> AdapterCard:
    """The card of an adapter that PEFT wrote: of whatever model it is loaded into.

    Raises:
        ValueError: no settings, or of another task.
    """
    said = file.config
    if said is None:
        raise ValueError(f"{file.path} has neither a card nor an adapter_config.json that says what it is")
    if (task := said.get("task_type")) not in (None, "CAUSAL_LM"):
        raise ValueError(f"{file.path} is for the task {task!r}; this model writes texts (CAUSAL_LM)")
    alpha, rank = said.get("lora_alpha"), said.get("r")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not isinstance(rank, int):
        raise ValueError(f"{file.path}: r is {rank!r} and lora_alpha {alpha!r}; expected numbers")
    if abs(alpha) > sys.float_info.max:
        raise ValueError(f"{file.path}: lora_alpha is larger than any float; expected a number like 16")
    about = said.get("base_model_name_or_path")
    known = {"method": "lora", "kind": kind, "base": base, "rank": rank, "alpha": float(alpha)}
    return checked_card(known | {"domain": str(about or file.path.parent.name or "unknown")[:200]}, file.path)


def _deltas(file: AdapterFile, card: AdapterCard, config: DecoderConfig) -> Deltas:
    maps: dict[tuple[int, str], dict[str, np.ndarray]] = {}
    branches: dict[int, dict[str, np.ndarray]] = {}
    for name, matrix in file.tensors.items():
        if found := LORA.fullmatch(name):
            maps.setdefault((int(found[1]), _ours(found[2], name)), {})[found[3]] = matrix
        elif found := CONTROL.fullmatch(name):
            branches.setdefault(int(found[1]), {})[found[2]] = matrix
        else:
            raise ValueError(f"unknown tensor {name!r}; expected names like {PREFIX + 'layers.0.'!r}...")
    if not maps and not branches:
        raise ValueError("the adapter has no tensors; expected at least one")
    if ranks := {len(one["lora_A"]) for one in maps.values() if "lora_A" in one} - {card.rank}:
        raise ValueError(f"its matrices have rank {min(ranks)}, its card says {card.rank}")
    if file.config is not None and card.method == "lora":
        wanted = {module(*place) for place in maps}
        check_config(file.config, file.path.parent, card.rank or 0, card.alpha or 0.0, wanted)
    return Deltas(
        {(i, name): (_low_rank(name, parts, card, config),) for (i, name), parts in maps.items()},
        {i: (_branch(i, parts),) for i, parts in branches.items()},
    )


def _ours(theirs: str, name: str) -> str:
    if theirs not in OURS:
        raise ValueError(f"{name!r} bends {theirs!r}; expected one of {', '.join(OURS)}")
    return OURS[theirs]


def _low_rank(name: str, parts: Matrices, card: AdapterCard, config: DecoderConfig) -> LowRank:
    if parts.keys() == {"delta"}:
        return LowRank(rows_as(parts["delta"], name, config), None)
    if parts.keys() != {"lora_A", "lora_B"} or card.rank is None or card.alpha is None:
        raise ValueError(
            f"map {name!r} has {sorted(parts)}; expected lora_A and lora_B, and a card with alpha"
        )
    a, b = parts["lora_A"], parts["lora_B"]
    if len(a) != b.shape[1]:
        raise ValueError(f"map {name!r} has matrices {a.shape} and {b.shape}; expected one rank")
    return LowRank(a, rows_as(b, name, config), card.alpha / card.rank)


def _branch(i: int, parts: Matrices) -> Branch:
    if parts.keys() != {"down", "up"} or parts["down"].shape != parts["up"].shape[::-1]:
        raise ValueError(f"the branch of layer {i} has {sorted(parts)}; expected down (r, d) and up (d, r)")
    return Branch(parts["down"], parts["up"])


def rows_as(matrix: np.ndarray, name: str, config: DecoderConfig, *, back: bool = False) -> np.ndarray:
    """Rows `(o, r)` of queries or keys in this decoder's order from Hugging Face's, or back."""
    if name not in ("q", "k") or not config.rope.interleaved or len(matrix) % config.head:
        return matrix
    sides = (-1, config.head // 2, 2, matrix.shape[1]) if back else (-1, 2, config.head // 2, matrix.shape[1])
    return np.ascontiguousarray(matrix.reshape(sides).swapaxes(1, 2).reshape(matrix.shape))


def save_adapter(
    folder: Path,
    deltas: Deltas,
    config: DecoderConfig,
    *,
    kind: Literal["ar", "diffusion"],
    base: str,
    domain: str,
    gain: float | None = None,
    ending: Literal["safetensors", "parquet"] = "safetensors",
    numbers: Numbers = "F32",
) -> AdapterCard:
    """Writes deltas, at most one of a map and one branch of a layer, and returns their card. PEFT loads files
    of low-rank ones alone.

    Raises:
        ValueError: several deltas of one place, or of different ranks or scales.
    """
    tensors, low_rank = _named(deltas, config), [one for some in deltas.low_rank.values() for one in some]
    sizes = {(len(one.a), one.scale) for one in low_rank if one.b is not None}
    if len(sizes) > 1:
        raise ValueError(f"the deltas have ranks and scales {sorted(sizes)}; expected one of each")
    method = {
        (True, False): "lora" if sizes else "full",
        (False, True): "controlnet",
        (True, True): "mixed",
    }[bool(low_rank), bool(deltas.branches)]
    said: dict[str, Any] = {"method": method, "kind": kind, "base": base, "domain": domain, "gain": gain}
    for rank, scale in sizes:
        said |= {"rank": rank, "alpha": float(rank * scale)}
    card = checked_card(said, folder)
    settings = None
    if method == "lora" and card.rank is not None and card.alpha is not None:
        targets = sorted({module(*place) for place in deltas.low_rank})
        settings = peft_config(card.rank, card.alpha, targets, base, "CAUSAL_LM")
    write_adapter(folder, card, tensors, settings, ending, numbers)
    return card


def _named(deltas: Deltas, config: DecoderConfig) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for (i, name), some in deltas.low_rank.items():
        where = f"{PREFIX}layers.{i}.{MODULES[name]}"
        for one in _only(some, where):
            if one.b is None:
                tensors[f"{where}.delta.weight"] = one.scale * rows_as(one.a, name, config, back=True)
            else:
                tensors[f"{where}.lora_A.weight"] = one.a
                tensors[f"{where}.lora_B.weight"] = rows_as(one.b, name, config, back=True)
    for i, branches in deltas.branches.items():
        for branch in _only(branches, f"layer {i}"):
            tensors[f"{PREFIX}layers.{i}.control_down.weight"] = branch.down
            tensors[f"{PREFIX}layers.{i}.control_up.weight"] = branch.scale * branch.up
    return tensors


def _only(some: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if len(some) != 1:
        raise ValueError(f"{where} has {len(some)} deltas; expected one, a file holds no sums")
    return some
