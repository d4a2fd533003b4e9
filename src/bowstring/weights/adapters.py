"""Files of adapters: tensors under PEFT's names in safetensors or in our Parquet profile, with a card.

A folder holds `adapter_model.safetensors` or `adapter_model.parquet`, whose metadata carry the card, and for
a LoRA an `adapter_config.json` as PEFT writes it. The card says what the adapter belongs to; another
model, or another way of writing, is refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core import files
from ..nn.adapters import ControlNet, LoRA
from ..nn.trunk import Trunk
from .format.parquet import WeightsFile, write
from .names import places
from .tensors import as_torch, from_torch

MODEL, CONFIG = "adapter_model", "adapter_config.json"
PREFIX = "base_model.model.trunk."
HALVES = {"a": "lora_A", "b": "lora_B"}
BRANCHES = ("down", "up", "project")
LORA_NAME = re.compile(re.escape(PREFIX) + r"(layers\.\d+\.\w+\.\w+)\.(lora_A|lora_B)\.weight")
CONTROL_NAME = re.compile(re.escape(PREFIX) + r"layers\.(\d+)\.control_(down|up|project)\.weight")
# settings of PEFT with which a file means something else than its tensors say here
MEANINGFUL = ("use_dora", "use_rslora", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern")
LARGEST_CONFIG = 1 << 20


class AdapterCard(BaseModel):
    """What an adapter is and belongs to; anything else is refused.

    method: how it bends the trunk. kind: how the model writes with it, as `Sampling.mode` says.
    base: `base_hash` of the network that it was trained beside. domain: what it was trained on.
    gain: by which share the loss of held-out data fell. rank, alpha: of the matrices. control: numbers of a
    ControlNet's control.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    method: Literal["lora", "controlnet"]
    kind: Literal["ar", "diffusion"]
    base: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    domain: str = Field(min_length=1, max_length=200)
    gain: float | None = None
    rank: int = Field(ge=1, le=65536)
    alpha: float | None = None
    control: int | None = Field(default=None, ge=1)


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
    adapter: LoRA | ControlNet,
    *,
    kind: Literal["ar", "diffusion"],
    base: str,
    domain: str,
    gain: float | None = None,
    ending: Literal["safetensors", "parquet"] = "safetensors",
) -> AdapterCard:
    """Writes an adapter and returns its card.

    Raises:
        ValueError: a value that no card can have.
    """
    own: dict[str, Any] = (
        {"method": "lora", "alpha": float(adapter.alpha)}
        if isinstance(adapter, LoRA)
        else {"method": "controlnet", "control": adapter.control}
    )
    described = {"kind": kind, "base": base, "domain": domain, "gain": gain, "rank": adapter.rank}
    card = _card(own | described, folder)
    tensors = {name: one.detach().cpu().contiguous() for name, one in named(adapter)}
    folder.mkdir(parents=True, exist_ok=True)
    path, note = folder / f"{MODEL}.{ending}", {"card": card.model_dump_json()}
    if ending == "parquet":
        write(path, ((name, from_torch(one)) for name, one in tensors.items()), note)
    else:
        with files.replacing(path) as partial:
            save_file(tensors, partial, note)
    if isinstance(adapter, LoRA):
        files.write(folder / CONFIG, json.dumps(peft_config(adapter, card), indent=1).encode() + b"\n")
    return card


def named(adapter: LoRA | ControlNet) -> Iterator[tuple[str, Tensor]]:
    """Tensors by the names that a file has."""
    if isinstance(adapter, LoRA):
        for half, name in HALVES.items():
            for which, one in getattr(adapter, half).items():
                yield f"{PREFIX}{which}.{name}.weight", one
    else:
        for part in BRANCHES:
            for layer, one in getattr(adapter, part).items():
                yield f"{PREFIX}layers.{layer}.control_{part}.weight", one


def peft_config(adapter: LoRA, card: AdapterCard) -> dict[str, Any]:
    """What PEFT wants to know of a LoRA."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": card.base,
        "inference_mode": True,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted(f"trunk.{name}" for name in adapter.a),
    }


def load_adapter(
    folder: Path, trunk: Trunk, *, base: str, kind: Literal["ar", "diffusion"]
) -> tuple[LoRA | ControlNet, AdapterCard]:
    """The adapter in a folder, checked against the trunk that it shall bend.

    Args:
        base: `base_hash` of the trunk's file.
        kind: how the model is going to write.

    Raises:
        FileNotFoundError: there is none.
        ValueError: an adapter of another base or kind, or tensors and settings that do not fit.
    """
    path = _model_file(folder)
    metadata, tensors = (_from_parquet if path.suffix == ".parquet" else _from_safetensors)(path)
    try:
        card = _card(json.loads(metadata["card"]), path)
    except (KeyError, TypeError, json.JSONDecodeError):
        raise ValueError(
            f"{path} has no card that says which model it belongs to; write it with `save_adapter`"
        ) from None
    if card.kind != kind:
        raise ValueError(f"{path} was trained for {card.kind!r}; this model writes by {kind!r}")
    if card.base != base:
        raise ValueError(
            f"{path} belongs to the base {card.base[:19]}...; this model's trunk is {base[:19]}.... Load the "
            "model that it was trained beside"
        )
    try:
        adapter = _lora(tensors, card) if card.method == "lora" else _control_net(tensors, card)
        trunk.check(adapter.conditioning())
        if isinstance(adapter, ControlNet) and len(adapter.up[next(iter(adapter.up))]) != len(trunk.norm):
            raise ValueError(f"its branches are not {len(trunk.norm)} wide, as the trunk is")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if isinstance(adapter, LoRA) and (folder / CONFIG).exists():
        _check_config(folder / CONFIG, adapter)
    return adapter, card


def _model_file(folder: Path) -> Path:
    found = [path for ending in ("safetensors", "parquet") if (path := folder / f"{MODEL}.{ending}").exists()]
    if not found:
        raise FileNotFoundError(f"{folder} holds no adapter: {MODEL}.safetensors or .parquet is missing")
    if len(found) > 1:
        raise ValueError(f"{folder} holds {found[0].name} and {found[1].name}; keep the one that is meant")
    return found[0]


def _card(said: Any, where: Path) -> AdapterCard:
    try:
        return AdapterCard.model_validate(said)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors())
        known = sorted(AdapterCard.model_fields)
        raise ValueError(f"{where}: the adapter's card is not sound: {faults}. Known keys: {known}") from None


def _from_parquet(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    file = WeightsFile(path)
    return file.metadata, {name: as_torch(file, name) for name in file}


def _from_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no sound safetensors file: {error}") from None


def _floats(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or tensor.ndim != 2:
        raise ValueError(f"{name!r} is {tensor.dtype} {tuple(tensor.shape)}; expected a matrix of reals")
    if not tensor.isfinite().all():
        raise ValueError(f"{name!r} has numbers that are not finite")
    return tensor.float()


def _matched(name: str, pattern: re.Pattern[str]) -> tuple[str, str]:
    found = pattern.fullmatch(name)
    if found is None:
        raise ValueError(f"unknown tensor {name!r}; expected names like {pattern.pattern!r}")
    return found[1], found[2]


def _lora(tensors: Mapping[str, Tensor], card: AdapterCard) -> LoRA:
    halves: dict[str, dict[str, Tensor]] = {"lora_A": {}, "lora_B": {}}
    for name, tensor in tensors.items():
        which, half = _matched(name, LORA_NAME)
        halves[half][which] = _floats(name, tensor)
    if card.alpha is None:
        raise ValueError("the card of a LoRA lacks alpha")
    adapter = LoRA(halves["lora_A"], halves["lora_B"], card.alpha)
    _same_rank(adapter, card)
    return adapter


def _control_net(tensors: Mapping[str, Tensor], card: AdapterCard) -> ControlNet:
    parts: dict[str, dict[int, Tensor]] = {part: {} for part in BRANCHES}
    for name, tensor in tensors.items():
        layer, part = _matched(name, CONTROL_NAME)
        parts[part][int(layer)] = _floats(name, tensor)
    adapter = ControlNet(**parts)
    _same_rank(adapter, card)
    if adapter.control != card.control:
        raise ValueError(f"its controls have {adapter.control} numbers, its card says {card.control}")
    return adapter


def _same_rank(adapter: LoRA | ControlNet, card: AdapterCard) -> None:
    if adapter.rank != card.rank:
        raise ValueError(f"its matrices have rank {adapter.rank}, its card says {card.rank}")


def _check_config(path: Path, adapter: LoRA) -> None:
    """The settings that PEFT would read must mean what the tensors and the card say."""
    if path.stat().st_size > LARGEST_CONFIG:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; expected at most {LARGEST_CONFIG:,}")
    try:
        said = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds a {type(said).__name__}; expected the settings of a LoRA")
    wanted = {"peft_type": "LORA", "r": adapter.rank, "lora_alpha": adapter.alpha, "bias": "none"}
    for key, value in wanted.items():
        if said.get(key) != value:
            raise ValueError(f"{path} says {key} = {said.get(key)!r}; the adapter has {value!r}")
    if used := [key for key in MEANINGFUL if said.get(key)]:
        raise ValueError(f"{path} uses {used[0]}, which is not read here; merge or convert the adapter first")
    targets, own = said.get("target_modules"), {f"trunk.{name}" for name in adapter.a}
    if not isinstance(targets, list) or not all(any(_ends(name, one) for one in targets) for name in own):
        raise ValueError(f"{path} names target_modules {targets!r}; the adapter has {sorted(own)}")


def _ends(name: str, target: Any) -> bool:
    """PEFT takes a module whose name is a target or ends in one."""
    return isinstance(target, str) and (name == target or name.endswith(f".{target}"))
