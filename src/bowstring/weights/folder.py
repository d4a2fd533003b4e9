"""A model folder: metadata.json says what it is, network.parquet holds its weights."""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from ..nn.config import NetworkConfig
from ..nn.network import UnifiedScoreNetwork
from .format.parquet import Tensor, WeightsFile, write
from .names import Place, places
from .quant.arrowquant import ArrowQuant
from .quant.packed import matrices, packed

BITS = {"int4": 4, "int2": 2}
PARTS = ("lines", "group_scales", "scales")


class Metadata(BaseModel):
    """What metadata.json may say; anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model_type: Literal["unified_diffusion"] = "unified_diffusion"
    version: Literal[1] = 1
    network: dict[str, int]
    modalities: list[Literal["text", "image", "audio", "avatar"]] = Field(min_length=1)
    noise_schedule: Literal["linear"] = "linear"
    blocks: list[int] = [4, 8, 16]
    context: int = Field(default=256, ge=2)
    distilled: bool = False
    split_rule: int = 1  # of train/data/splits.py: which texts and pictures were held out of its training
    quantization: Literal["none", "fp16", "int4", "int2"] = "fp16"


def read_metadata(folder: Path) -> Metadata:
    """
    Raises:
        FileNotFoundError: no model lies in this folder.
        ValueError: metadata.json says something that the schema does not have.
    """
    path = folder / "metadata.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no model: metadata.json is missing. Give a folder that `bowstring train` wrote"
        )
    try:
        return Metadata.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()
        )
        raise ValueError(f"{path}: {faults}. Known keys: {sorted(Metadata.model_fields)}") from None


def named_tensors(network: nn.Module, dtype: str) -> Iterator[tuple[str, Tensor]]:
    """Everything a network is made of: vectors in FP32, matrices in `dtype`, packed ones as they are."""
    for name, parameter in network.state_dict().items():
        array = parameter.detach().float().numpy()
        yield name, Tensor.of(array.astype(dtype) if array.ndim > 1 else array)
    for name, matrix in matrices(network).items():
        for part in PARTS:
            yield f"{name}.{part}", Tensor.of(getattr(matrix, part))


def save_network(folder: Path, network: UnifiedScoreNetwork, dtype: str = "float16", **said: Any) -> None:
    """Writes metadata and weights; a packed network keeps its bits."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "network.parquet", named_tensors(network, dtype), {})
    bits = {matrix.bits for matrix in matrices(network).values()}
    plain = "fp16" if dtype == "float16" else "none"
    metadata = Metadata(
        network=network.config.to_json(),
        modalities=[*network.heads],
        quantization=f"int{bits.pop()}" if bits else plain,  # type: ignore[arg-type]  # checked by the schema
        **said,
    )
    (folder / "metadata.json").write_text(metadata.model_dump_json(indent=1) + "\n", "utf-8")


def matrix_of(arrays: WeightsFile, name: str, shape: tuple[int, int], bits: int) -> ArrowQuant:
    """A packed matrix over the file's own bytes.

    Raises:
        ValueError: its parts are missing or do not fit the shape.
    """
    parts = (f"{name}.{part}" for part in PARTS)
    if missing := [part for part in parts if part not in arrays.entries]:
        raise ValueError(f"{arrays.path} lacks tensor {missing[0]!r}; was it written by another version?")
    try:
        return ArrowQuant(bits, shape, *(arrays[f"{name}.{part}"] for part in PARTS))
    except ValueError as error:
        raise ValueError(f"{arrays.path}, {name}: {error}") from None


def load_weights(network: nn.Module, arrays: WeightsFile) -> None:
    """Gives every parameter its array, as FP32.

    Raises:
        ValueError: a name or a shape that the network does not have.
    """
    wanted = network.state_dict()
    taken = {f"{name}.{part}" for name in matrices(network) for part in PARTS}
    try:
        found = places({name: arrays.entries[name].shape for name in arrays})
    except ValueError as error:
        raise ValueError(f"{arrays.path}: {error}") from None
    for name, place in found.items():
        # rows of an older table may belong to heads that this network does not have
        if place.row is None and name not in wanted and name not in taken:
            closest = difflib.get_close_matches(name, wanted, 1)
            raise ValueError(
                f"{arrays.path} has tensor {name!r}, which no parameter of the network takes. Closest: "
                f"{closest[0] if closest else 'none'!r}"
            )
    for name, parameter in wanted.items():
        if name not in found:
            raise ValueError(f"{arrays.path} lacks tensor {name!r}; was it written by another version?")
        shape = arrays.entries[found[name].name].shape
        shape = shape if found[name].row is None else shape[1:]
        if shape != tuple(parameter.shape):
            raise ValueError(
                f"{arrays.path} has {name!r} of shape {shape}, the network expects {tuple(parameter.shape)}"
            )
    network.load_state_dict(
        {name: torch.from_numpy(_values(arrays, found[name])) for name in wanted}, assign=True
    )


def _values(arrays: WeightsFile, place: Place) -> np.ndarray:
    whole = arrays[place.name]
    return np.array(whole if place.row is None else whole[place.row], np.float32)


def load_network(folder: Path) -> tuple[UnifiedScoreNetwork, Metadata]:
    """Network in evaluation mode and metadata of a model folder; see `read_metadata` and `fill`.

    Packed matrices are views of the mapped file, the rest becomes FP32.
    """
    metadata = read_metadata(folder)
    config = NetworkConfig.from_json(metadata.network)
    with torch.device("meta"):
        network = UnifiedScoreNetwork(config, metadata.modalities)
    arrays = WeightsFile(folder / "network.parquet")
    if bits := BITS.get(metadata.quantization):
        packed(network, lambda name, shape: matrix_of(arrays, name, shape, bits))
    load_weights(network, arrays)
    return network.eval().requires_grad_(requires_grad=False), metadata


# what may lie beside the network
BESIDE = ("image.parquet", "speech.parquet", "postfilter.parquet", "face.parquet")


def carry_over(before: Path, after: Path) -> None:
    """Copies what lies beside the network of one model into the folder of another."""
    for path in (before / name for name in BESIDE):
        if path.exists():
            shutil.copy(path, after / path.name)
