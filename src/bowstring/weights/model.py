"""A model folder: metadata.json says what it is, network.parquet holds its weights, tokenizer.json its
vocabulary.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..codec.text import TextCodec
from ..net.config import NetworkConfig
from ..net.network import UnifiedScoreNetwork
from .parquet import Tensor, WeightsFile, write


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
    quantization: Literal["none", "fp16"] = "fp16"


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


def save_model(
    folder: Path, network: UnifiedScoreNetwork, codec: TextCodec, dtype: str = "float16", **said: Any
) -> None:
    """Writes a model folder; vectors stay FP32, matrices take `dtype`."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = ((name, p.detach().float().numpy()) for name, p in network.state_dict().items())
    stored = ((name, Tensor.of(a.astype(dtype) if a.ndim > 1 else a)) for name, a in arrays)
    write(folder / "network.parquet", stored, {})
    codec.save(folder / "tokenizer.json")
    metadata = Metadata(
        network=network.config.to_json(),
        modalities=[*network.heads],
        quantization="fp16" if dtype == "float16" else "none",
        **said,
    )
    (folder / "metadata.json").write_text(metadata.model_dump_json(indent=1) + "\n", "utf-8")


def fill(network: torch.nn.Module, arrays: WeightsFile) -> None:
    """Gives every parameter its array, as FP32.

    Raises:
        ValueError: a name or a shape that the network does not have.
    """
    wanted = network.state_dict()
    for name in arrays:
        if name not in wanted:
            closest = difflib.get_close_matches(name, wanted, 1)
            raise ValueError(
                f"{arrays.path} has tensor {name!r}, which no parameter of the network takes. Closest: "
                f"{closest[0] if closest else 'none'!r}"
            )
    for name, parameter in wanted.items():
        if name not in arrays.entries:
            raise ValueError(f"{arrays.path} lacks tensor {name!r}; was it written by another version?")
        if arrays.entries[name].shape != tuple(parameter.shape):
            raise ValueError(
                f"{arrays.path} has {name!r} of shape {arrays.entries[name].shape}, the network expects "
                f"{tuple(parameter.shape)}"
            )
    network.load_state_dict(
        {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays}, assign=True
    )


def load_model(folder: Path) -> tuple[UnifiedScoreNetwork, TextCodec, Metadata]:
    """Network (FP32, in evaluation mode), codec and metadata of a model folder; see `read_metadata` and
    `fill`.
    """
    metadata = read_metadata(folder)
    config = NetworkConfig.from_json(metadata.network)
    with torch.device("meta"):
        network = UnifiedScoreNetwork(config)
    fill(network, WeightsFile(folder / "network.parquet"))
    codec = TextCodec.load(folder / "tokenizer.json")
    if codec.vocab != config.vocab:
        raise ValueError(
            f"{folder}: tokenizer.json has {codec.vocab} tokens, the network {config.vocab}; they are "
            "not of one model"
        )
    return network.eval().requires_grad_(requires_grad=False), codec, metadata
