"""Adapters of our own network to and from files: tensors under PEFT's names, with a card.

The card says what an adapter belongs to; another model, or another way of writing, is refused. What a folder
holds is in `adapter_files`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..nn.adapters import Adapter, ControlNet, FullRank, LoRA, Several
from ..nn.trunk import Trunk
from .adapter_files import (
    AdapterCard,
    Numbers,
    check_config,
    checked_card,
    peft_config,
    read_adapter,
    require,
    write_adapter,
)
from .format.parquet import WeightsFile
from .names import places

PREFIX = "base_model.model.trunk."
HALVES = {"a": "lora_A", "b": "lora_B"}
BRANCHES = ("down", "up", "project")
MAP = r"layers\.\d+\.\w+\.\w+"
NAMES = {
    "lora": re.compile(rf"{re.escape(PREFIX)}({MAP})\.(lora_A|lora_B)\.weight"),
    "controlnet": re.compile(rf"{re.escape(PREFIX)}layers\.(\d+)\.control_(down|up|project)\.weight"),
    "full": re.compile(rf"{re.escape(PREFIX)}({MAP})\.(delta)\.weight"),
}
METHODS: dict[type, str] = {LoRA: "lora", ControlNet: "controlnet", FullRank: "full", Several: "mixed"}


def base_hash(network: Path) -> str:
    """What tells one trunk from another: a hash of its tensors in a weights file, whatever the file's format,
    its heads and the names that older files have.
    """
    file, sha = WeightsFile(network), hashlib.sha256()
    found = places({name: file.entries[name].shape for name in file})
    for name, place in sorted(found.items()):
        if name.startswith("trunk."):
            entry = file.entries[place.name]
            sha.update(f"{name} {entry.dtype} {[*entry.shape]}\n".encode())
            sha.update(file.raw(place.name))
    return f"sha256:{sha.hexdigest()}"


def save_adapter(
    folder: Path,
    adapter: Adapter,
    *,
    kind: Literal["ar", "diffusion"],
    base: str,
    domain: str,
    gain: float | None = None,
    ending: Literal["safetensors", "parquet"] = "safetensors",
    numbers: Numbers = "F32",
) -> AdapterCard:
    """Writes an adapter and returns its card.

    Args:
        numbers: INT4 goes with parquet alone.

    Raises:
        ValueError: a value that no card can have.
    """
    said = {"method": METHODS[type(adapter)], "kind": kind, "base": base, "domain": domain, "gain": gain}
    card = checked_card(said | sizes_of(adapter), folder)
    tensors = {name: one.detach().cpu().numpy() for name, one in named(adapter)}
    config = None
    if isinstance(adapter, LoRA):
        targets = sorted(f"trunk.{name}" for name in adapter.a)
        config = peft_config(adapter.rank, adapter.alpha, targets, base, None)
    write_adapter(folder, card, tensors, config, ending, numbers)
    return card


def sizes_of(adapter: Adapter) -> dict[str, Any]:
    """What a card says of the matrices."""
    match adapter:
        case LoRA():
            return {"rank": adapter.rank, "alpha": float(adapter.alpha)}
        case ControlNet():
            return {"rank": adapter.rank, "control": adapter.control}
        case Several():
            found: dict[str, Any] = {}
            for part in adapter.parts:
                found |= sizes_of(part)
            return found
    return {}


def named(adapter: Adapter) -> Iterator[tuple[str, Tensor]]:
    """Tensors by the names that a file has."""
    match adapter:
        case LoRA():
            for half, name in HALVES.items():
                for which, one in getattr(adapter, half).items():
                    yield f"{PREFIX}{which}.{name}.weight", one
        case ControlNet():
            for part in BRANCHES:
                for layer, one in getattr(adapter, part).items():
                    yield f"{PREFIX}layers.{layer}.control_{part}.weight", one
        case FullRank():
            for which, one in adapter.weights.items():
                yield f"{PREFIX}{which}.delta.weight", one
        case Several():
            for one_part in adapter.parts:
                yield from named(one_part)


def load_adapter(
    folder: Path, trunk: Trunk, *, base: str, kind: Literal["ar", "diffusion"]
) -> tuple[Adapter, AdapterCard]:
    """The adapter in a folder, checked against the trunk that it shall bend.

    Args:
        base: `base_hash` of the trunk's file.
        kind: how the model writes.

    Raises:
        FileNotFoundError: there is none.
        ValueError: an adapter of another base or kind, or tensors and settings that do not fit.
    """
    file = read_adapter(folder)
    card = require(file.card, file.path, base=base, kind=kind)
    try:
        adapter = built(file.tensors, card)
        trunk.check(adapter.conditioning())
        if file.config is not None and isinstance(adapter, LoRA):
            check_config(
                file.config, folder, adapter.rank, adapter.alpha, {f"trunk.{name}" for name in adapter.a}
            )
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None
    return adapter, card


def built(tensors: Mapping[str, np.ndarray], card: AdapterCard) -> Adapter:
    """An adapter of a file's tensors.

    Raises:
        ValueError: names or shapes that do not fit the card.
    """
    methods = ("lora", "controlnet", "full") if card.method == "mixed" else (card.method,)
    sorted_by: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, array in tensors.items():
        method, which, part = _place(name, methods)
        sorted_by.setdefault(method, {}).setdefault(part, {})[which] = torch.from_numpy(array)
    parts = [_BUILD[method](sorted_by.get(method, {}), card) for method in methods if method in sorted_by]
    if not parts:
        raise ValueError("the adapter has no tensors; expected at least one")
    return parts[0] if card.method != "mixed" else Several(tuple(parts))


def _place(name: str, methods: tuple[str, ...]) -> tuple[str, str, str]:
    """Method, map or layer, and part that a tensor's name tells."""
    for method in methods:
        if found := NAMES[method].fullmatch(name):
            return method, found[1], found[2]
    expected = ", ".join(repr(NAMES[method].pattern) for method in methods)
    raise ValueError(f"unknown tensor {name!r}; expected names like {expected}")


def _lora(parts: Mapping[str, Mapping[str, Tensor]], card: AdapterCard) -> LoRA:
    if card.alpha is None:
        raise ValueError("the card of a LoRA lacks alpha")
    adapter = LoRA(parts.get("lora_A", {}), parts.get("lora_B", {}), card.alpha)
    return adapter if card.method == "mixed" else _same_rank(adapter, card)


def _control_net(parts: Mapping[str, Mapping[str, Tensor]], card: AdapterCard) -> ControlNet:
    layers = ({int(i): one for i, one in parts.get(part, {}).items()} for part in BRANCHES)
    adapter = ControlNet(*layers)
    if adapter.control != card.control:
        raise ValueError(f"its controls have {adapter.control} numbers, its card says {card.control}")
    return adapter if card.method == "mixed" else _same_rank(adapter, card)


def _full(parts: Mapping[str, Mapping[str, Tensor]], card: AdapterCard) -> FullRank:
    return FullRank(parts["delta"])


_BUILD: Mapping[str, Any] = {"lora": _lora, "controlnet": _control_net, "full": _full}


def _same_rank(adapter: Any, card: AdapterCard) -> Any:
    if adapter.rank != card.rank:
        raise ValueError(f"its matrices have rank {adapter.rank}, its card says {card.rank}")
    return adapter
