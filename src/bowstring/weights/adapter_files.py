"""Files of adapters: named matrices in safetensors or in our Parquet profile, with a card.

A folder holds `adapter_model.safetensors` or `adapter_model.parquet`, whose metadata carry the card, and for
a LoRA an `adapter_config.json` as PEFT writes it. This module knows neither torch nor what a tensor bends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.numpy import save_file

from ..core import files
from .format.parquet import Tensor, WeightsFile, write
from .quant.grouped import GROUP, GroupedMatrix

MODEL, CONFIG = "adapter_model", "adapter_config.json"
CHECKED = {"peft_type", "r", "lora_alpha", "bias", "target_modules"}
# settings of PEFT that change nothing of what the tensors say: where it came from, how it was trained, which
# modules the tensors name anyway; every other one must be off, so that what is new in PEFT is refused
HARMLESS = {"task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
HARMLESS |= {"inference_mode", "lora_dropout", "runtime_config", "ensure_weight_tying", "megatron_core"}
HARMLESS |= {"exclude_modules", "layers_to_transform", "layers_pattern", "qalora_group_size"}
HARMLESS |= {"loftq_config", "eva_config", "corda_config", "lora_ga_config"}  # of `init_lora_weights`
SAME_BASE = (True, False, None, "gaussian", "orthogonal", "eva")  # the others change the base's weights
LARGEST_CONFIG = 1 << 20
LARGEST_MODEL = 1 << 32
REALS = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
Numbers = Literal["F32", "F16", "INT4"]
PARTS = ("lines", "scales", "minima")


class AdapterCard(BaseModel):
    """What an adapter is and belongs to; anything else is refused.

    method: how it bends the trunk. kind: how its base model writes. base: hash of the weights that it was
    trained beside. domain: what it was trained on. gain: by which share the loss of held-out data fell. rank,
    alpha: of the matrices of a LoRA or ControlNet. control: numbers of a ControlNet's control.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    method: Literal["lora", "controlnet", "full", "mixed"]
    kind: Literal["ar", "diffusion"]
    base: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    domain: str = Field(min_length=1, max_length=200)
    gain: float | None = None
    rank: int | None = Field(default=None, ge=1, le=65536)
    alpha: float | None = None
    control: int | None = Field(default=None, ge=1)


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """What a folder holds: tensors in FP32 by their names, the card if there is one, PEFT's settings."""

    path: Path
    card: AdapterCard | None
    tensors: Mapping[str, np.ndarray]
    config: Mapping[str, Any] | None


def checked_card(said: Any, where: Path) -> AdapterCard:
    """
    Raises:
        ValueError: a key or value that no card has.
    """
    try:
        return AdapterCard.model_validate(said)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}" for e in error.errors())
        known = sorted(AdapterCard.model_fields)
        raise ValueError(f"{where}: the adapter's card is not sound: {faults}. Known keys: {known}") from None


def require(card: AdapterCard | None, path: Path, *, base: str, kind: str) -> AdapterCard:
    """The card, if it is of this base and kind.

    Raises:
        ValueError: there is none, or it belongs to another model.
    """
    if card is None:
        raise ValueError(
            f"{path} has no card that says which model it belongs to; write it with `save_adapter`"
        )
    if card.kind != kind:
        raise ValueError(f"{path} was trained for {card.kind!r}; this model writes by {kind!r}")
    if card.base != base:
        raise ValueError(
            f"{path} belongs to the base {card.base[:19]}...; this model's is {base[:19]}.... Load the model "
            "that it was trained beside"
        )
    return card


def write_adapter(
    folder: Path,
    card: AdapterCard,
    tensors: Mapping[str, np.ndarray],
    config: Mapping[str, Any] | None = None,
    ending: Literal["safetensors", "parquet"] = "safetensors",
    numbers: Numbers = "F32",
) -> None:
    """Writes an adapter's folder.

    Raises:
        ValueError: numbers that the file's format does not have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, note = folder / f"{MODEL}.{ending}", {"card": card.model_dump_json()}
    if ending == "parquet":
        stored = dict(stored_as(tensors, numbers))
        shapes = {name: list(one.shape) for name, one in tensors.items() if name not in stored}
        write(path, stored.items(), note | ({"int4": shapes} if shapes else {}))
    elif numbers == "INT4":
        raise ValueError("safetensors hold no INT4 here; write an adapter of INT4 as parquet")
    else:
        plain = {name: np.ascontiguousarray(one, REALS[numbers]) for name, one in tensors.items()}
        with files.replacing(path) as partial:
            save_file(plain, partial, note)
    if config is not None:
        files.write(folder / CONFIG, json.dumps(config, indent=1).encode() + b"\n")


def stored_as(tensors: Mapping[str, np.ndarray], numbers: Numbers) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a Parquet file; matrices of INT4 are groups of 32 along the longer of their sides, and what
    has none of whole groups stays FP16.
    """
    for name, one in tensors.items():
        if numbers != "INT4" or max(one.shape) % GROUP:
            yield name, Tensor.of(np.ascontiguousarray(one, REALS["F16" if numbers == "INT4" else numbers]))
            continue
        packed = GroupedMatrix.quantise(lying(one), 4)
        for part in PARTS:
            yield f"{name}.{part}", Tensor.of(getattr(packed, part))


def lying(matrix: np.ndarray) -> np.ndarray:
    """A matrix with its longer side as the inputs."""
    return matrix.T if len(matrix) > matrix.shape[1] else matrix


def read_adapter(folder: Path) -> AdapterFile:
    """An adapter's folder, checked as far as it can be without a model.

    Raises:
        FileNotFoundError: there is none. ValueError: files that are not sound.
    """
    path = _model_file(folder)
    metadata, tensors = (_from_parquet if path.suffix == ".parquet" else _from_safetensors)(path)
    card = None
    if "card" in metadata:
        try:
            card = checked_card(json.loads(metadata["card"]), path)
        except (TypeError, json.JSONDecodeError, RecursionError):
            raise ValueError(f"{path}: the adapter's card is no JSON") from None
    for name, one in tensors.items():
        if one.ndim != 2:
            raise ValueError(f"{path}: {name!r} is {one.shape}; expected a matrix of reals")
        if not np.isfinite(one).all():
            raise ValueError(f"{path}: {name!r} has numbers that are not finite")
    return AdapterFile(path, card, tensors, _config(folder / CONFIG))


def _model_file(folder: Path) -> Path:
    found = [path for ending in ("safetensors", "parquet") if (path := folder / f"{MODEL}.{ending}").exists()]
    if not found:
        raise FileNotFoundError(f"{folder} holds no adapter: {MODEL}.safetensors or .parquet is missing")
    if len(found) > 1:
        raise ValueError(f"{folder} holds {found[0].name} and {found[1].name}; keep the one that is meant")
    if found[0].stat().st_size > LARGEST_MODEL:
        raise ValueError(f"{found[0]} has more than {LARGEST_MODEL:,} bytes, which no adapter has")
    return found[0]


def _reals(path: Path, name: str, dtype: str, raw: Any, shape: tuple[int, ...]) -> np.ndarray:
    """FP32 numbers of raw bytes."""
    if dtype == "BF16":
        halves = np.frombuffer(raw, "<u2").astype(np.uint32) << 16
        return halves.view(np.float32).reshape(shape)
    if dtype not in REALS:
        raise ValueError(f"{path}: {name!r} is {dtype} {shape}; expected a matrix of reals")
    return np.frombuffer(raw, REALS[dtype]).astype(np.float32).reshape(shape)


def _from_parquet(path: Path) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    file = WeightsFile(path)
    packed = packed_shapes(file.metadata.get("int4", {}), path)
    taken = {f"{name}.{part}" for name in packed for part in PARTS}
    tensors = {
        name: _reals(path, name, file.entries[name].dtype, file.raw(name), file.entries[name].shape)
        for name in file
        if name not in taken
    }
    for name, shape in packed.items():
        rows, columns = sorted(shape)
        try:
            matrix = GroupedMatrix(4, (rows, columns), *(np.array(file[f"{name}.{part}"]) for part in PARTS))
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}: {name!r} is no INT4 matrix {shape}: {error}") from None
        values = matrix.dequantise()
        tensors[name] = np.ascontiguousarray(values if shape == [rows, columns] else values.T)
    return file.metadata, tensors


def packed_shapes(said: Any, path: Path) -> dict[str, list[int]]:
    """Shapes of the matrices that are packed as INT4.

    Raises:
        ValueError: anything but two whole numbers for each name.
    """
    whole = lambda size: type(size) is int and 0 < size <= LARGEST_MODEL  # noqa: E731
    two = lambda shape: isinstance(shape, list) and len(shape) == 2 and all(map(whole, shape))  # noqa: E731
    if not isinstance(said, dict) or not all(map(two, said.values())):
        raise ValueError(f"{path}: 'int4' is {str(said)[:80]}; expected [lines, columns] for each name")
    return said


def _from_safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    try:
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata() or {}
        found = safetensors.deserialize(path.read_bytes())
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no sound safetensors file: {error}") from None
    return metadata, {
        name: _reals(path, name, one["dtype"], one["data"], tuple(one["shape"])) for name, one in found
    }


def _config(path: Path) -> Mapping[str, Any] | None:
    if not path.exists():
        return None
    if path.stat().st_size > LARGEST_CONFIG:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; expected at most {LARGEST_CONFIG:,}")
    try:
        said = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds a {type(said).__name__}; expected the settings of a LoRA")
    return said


def peft_config(rank: int, alpha: float, targets: list[str], base: str, task: str | None) -> dict[str, Any]:
    """What PEFT wants to know of a LoRA."""
    return {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": targets,
    }


def check_config(said: Mapping[str, Any], where: Path, rank: int, alpha: float, modules: set[str]) -> None:
    """The settings that PEFT would read must mean what the tensors say.

    Raises:
        ValueError: they do not.
    """
    for key, value in {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none"}.items():
        if said.get(key) != value:
            raise ValueError(f"{where} says {key} = {said.get(key)!r}; the adapter has {value!r}")
    if used := [key for key, value in said.items() if changes_meaning(key, value)]:
        raise ValueError(
            f"{where} uses {used[0]} = {str(said[used[0]])[:80]}, which is not read here; "
            "merge or convert the adapter first"
        )
    targets = said.get("target_modules")
    if not isinstance(targets, list) or not all(any(_ends(name, one) for one in targets) for name in modules):
        raise ValueError(f"{where} names target_modules {targets!r}; the adapter has {sorted(modules)}")


def changes_meaning(key: str, value: Any) -> bool:
    """Whether with a setting of PEFT a file may mean something else than its tensors say here."""
    if key == "init_lora_weights":
        return not any(value is one or (isinstance(one, str) and value == one) for one in SAME_BASE)
    off = value is None or value is False or value in ({}, [])
    return key not in CHECKED | HARMLESS and not off


def _ends(name: str, target: Any) -> bool:
    """PEFT takes a module whose name is a target or ends in one."""
    return isinstance(target, str) and (name == target or name.endswith(f".{target}"))
