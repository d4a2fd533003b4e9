"""The file of a model's memory projectors: matrices in INT8 with a scale for each row, the rest in FP32.

It says which trunk and which embedder it belongs to; others are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..nn.memory import MemoryProjector, ProjectorConfig
from .format.parquet import Tensor, WeightsFile, write

SCALES = "scales"


class ProjectorShape(BaseModel):
    """`ProjectorConfig` as a file holds it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    width: int
    vector: int
    layers: list[int] = Field(max_length=1024)
    entries: int
    inside: int
    rank: int
    tokens: bool

    @property
    def config(self) -> ProjectorConfig:
        return ProjectorConfig(**self.model_dump() | {"layers": tuple(self.layers)})


class ProjectorCard(BaseModel):
    """What the projectors belong to: the trunk by `base_hash`, the embedder by its identity."""

    model_config = ConfigDict(extra="forbid", strict=True)

    base: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    embedder: dict[str, str | int]
    projectors: dict[str, ProjectorShape]


def save_projectors(
    path: Path, projectors: Mapping[str, MemoryProjector], base: str, embedder: Mapping[str, Any]
) -> None:
    """Writes projectors by the modality that they guide."""
    card = ProjectorCard(
        base=base,
        embedder=dict(embedder),
        projectors={name: ProjectorShape(**one.config.to_json()) for name, one in projectors.items()},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = (pair for name, one in projectors.items() for pair in _stored(name, one))
    write(path, stored, {"memory": card.model_dump()})


def _stored(modality: str, projector: MemoryProjector) -> Iterator[tuple[str, Tensor]]:
    for name, value in projector.state_dict().items():
        array, full = value.detach().cpu().float().numpy(), f"{modality}.{name}"
        if array.ndim < 2:
            yield full, Tensor.of(array)
            continue
        scales = np.maximum(np.abs(array).max(1), np.finfo(np.float32).tiny) / np.float32(127)
        yield full, Tensor.of(np.rint(array / scales[:, None]).astype(np.int8))
        yield f"{full}.{SCALES}", Tensor.of(scales)


def load_projectors(path: Path) -> tuple[dict[str, MemoryProjector], ProjectorCard]:
    """Projectors by modality, in evaluation, and their card.

    Raises:
        ValueError: no sound file of projectors.
    """
    file = WeightsFile(path)
    file.verify()
    try:
        card = ProjectorCard.model_validate(file.metadata.get("memory"))
        made = {name: _loaded(file, name, shape.config) for name, shape in card.projectors.items()}
    except (ValidationError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} holds no projectors of memories: {error}") from None
    return made, card


def _loaded(file: WeightsFile, modality: str, config: ProjectorConfig) -> MemoryProjector:
    with torch.device("meta"):
        projector = MemoryProjector(config)
    values = {}
    for name, wanted in projector.state_dict().items():
        array = file[f"{modality}.{name}"].astype(np.float32)
        if array.shape != wanted.shape:
            raise ValueError(
                f"{file.path} has {name!r} of shape {array.shape}; expected {tuple(wanted.shape)}"
            )
        scales = file[f"{modality}.{name}.{SCALES}"][:, None] if array.ndim > 1 else np.float32(1)
        value = torch.from_numpy(np.ascontiguousarray(array * scales, np.float32))
        # kernels take a delta's second matrix by columns, and would else turn it for every forward
        values[name] = value.T.contiguous().T if name.startswith("b.") else value
    projector.load_state_dict(values, assign=True)
    return projector.eval().requires_grad_(requires_grad=False)
