"""A folder of fields: metadata.json with a closed schema, network.parquet with the weights and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from ..core.files import replacing
from ..nn.config import NetworkConfig
from ..weights.folder import load_weights
from ..weights.format.parquet import WeightsFile, write
from ..weights.quant.rounded import few_bit_tensors
from ..weights.tensors import arrays_of
from .model import FAMILIES, HEADS, KINDS_OF_FIELDS, KNOTS, WAVES, FieldModel
from .network import FieldNetwork

SHIPPED_FIELDS = Path(__file__).parent.parent / "data" / "fields"


class FieldMetadata(BaseModel):
    """What metadata.json may say; anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model_type: Literal["physical_fields"] = "physical_fields"
    version: Literal[1] = 1
    network: dict[str, int]
    families: list[str] = [*FAMILIES]
    knots: Literal[9] = KNOTS  # type: ignore[assignment]
    waves: Literal[33] = WAVES  # type: ignore[assignment]
    noise_schedule: Literal["cosine"] = "cosine"
    quantization: Literal["none", "fp16", "int8"] = "int8"


def bits_of(name: str) -> int:
    """Bits of a stored matrix: 4 for the ends of wide patches and of details, a third of all numbers, where
    fields differ by a thousandth of their spread; else 8.
    """
    wide = name.startswith(("network.heads.16.", "network.heads.details."))
    return 4 if wide and name.endswith(("up.weight", "down.weight")) else 8


def save_fields(folder: Path, model: FieldModel) -> None:
    """Writes a folder; matrices are stored in few bits, see `bits_of`."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "network.parquet", few_bit_tensors(arrays_of(model), bits_of), {})
    metadata = FieldMetadata(network=model.network.config.to_json())  # type: ignore[union-attr,operator]
    with replacing(folder / "metadata.json") as partial:
        partial.write_text(metadata.model_dump_json(indent=1) + "\n", "utf-8")


def load_fields(folder: Path | None = None) -> FieldModel:
    """The model in a folder, the shipped one by default, in evaluation mode.

    Raises:
        FileNotFoundError: there is none.
        ValueError: metadata.json says something that the schema does not have, or the weights do not fit it.
    """
    folder = folder or SHIPPED_FIELDS
    path = folder / "metadata.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no fields: metadata.json is missing; train with `bowstring train fields`"
        )
    try:
        metadata = FieldMetadata.model_validate(json.loads(path.read_text("utf-8")))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{path}: {faults}. Known keys: {sorted(FieldMetadata.model_fields)}") from None
    if metadata.families != [*FAMILIES]:
        raise ValueError(f"{path} names the families {metadata.families}; this version knows {[*FAMILIES]}")
    with torch.device("meta"):
        network = FieldNetwork(NetworkConfig.from_json(metadata.network), HEADS, len(KINDS_OF_FIELDS) + 2)
        model = FieldModel(network)
    load_weights(model, WeightsFile(folder / "network.parquet"))
    return model.eval().requires_grad_(requires_grad=False)
