"""The folder of an imported model: read, checked, mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.config import DecoderConfig
from ..decode.decoder import Decoder, DenseMatrix, LayerWeights, Matrix
from ..weights.format.parquet import WeightsFile
from ..weights.quant.grouped import GroupedMatrix
from .families import MATRICES, layer_parts, shape_of
from .importing import DESCRIPTION, PARTS, TOKENIZER, Source
from .sharded import read_json
from .tokenizer import ModelTokenizer

FACTORS = "frequency_factors"
Get = Callable[[str], "Matrix | np.ndarray | None"]
KEYS = {"version", "decoder", "template", "bits", "files"}


@dataclass(frozen=True)
class Model:
    """A decoder with its tokenizer and, where it has one, its chat template. base: hash of its weights, by
    which adapters know it.
    """

    decoder: Decoder
    tokenizer: ModelTokenizer
    template: str | None
    base: str = ""


def is_imported(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file()


def described(folder: Path) -> tuple[dict[str, Any], DecoderConfig]:
    """What a model folder says of itself, and the decoder's configuration in it.

    Raises:
        ValueError: keys or values that do not fit.
    """
    said = read_json(folder / DESCRIPTION, 1 << 20)
    if not KEYS <= set(said) <= KEYS | {"about"} or said["version"] != 1:
        raise ValueError(
            f"{folder / DESCRIPTION}: expected version 1 with the keys {sorted(KEYS)}; import again"
        )
    return said, DecoderConfig.from_json(said["decoder"])


def load(folder: Path) -> Model:
    """An imported model, its matrices being views of the mapped files.

    Raises:
        ValueError: the folder says or holds what does not fit.
    """
    said, config = described(folder)
    tensors: dict[str, WeightsFile] = {}
    for name in said["files"]:
        if Path(name).name != name:
            raise ValueError(f"{folder / DESCRIPTION} names a file outside of its folder: {name!r}")
        file = WeightsFile(folder / name)
        tensors |= dict.fromkeys(file, file)

    def get(name: str) -> Matrix | np.ndarray | None:
        if name.rpartition(".")[2] in MATRICES:
            return packed(config, tensors, name)
        return vector(config, tensors, name) if name in tensors else None

    factors = np.array(find(tensors, FACTORS)) if FACTORS in tensors else None
    tokenizer = ModelTokenizer.load(folder / TOKENIZER)
    return Model(assembled(config, get, factors), tokenizer, said["template"], base_hash(tensors))


def base_hash(tensors: Mapping[str, WeightsFile]) -> str:
    """What tells these weights from others: of every tensor its name, type, shape, and the hash of its bytes
    that its file keeps.
    """
    sha = hashlib.sha256()
    for name, file in sorted(tensors.items()):
        entry = file.entries[name]
        sha.update(f"{name} {entry.dtype} {[*entry.shape]} {entry.hash}\n".encode())
    return f"sha256:{sha.hexdigest()}"


def assembled(config: DecoderConfig, get: Get, factors: np.ndarray | None = None) -> Decoder:
    """A decoder of the tensors that `get` gives by name, None being a vector that the model does not have."""
    names = layer_parts(config)
    parts = [{"up": None} | {name: get(f"layers.{i}.{name}") for name in names} for i in range(config.layers)]
    layers = [LayerWeights(**one) for one in parts]  # type: ignore[arg-type]  # by name
    head = None if config.tied else get("head")
    ends = ("norm_shift", "head_bias") if config.canvas is not None else ()
    rest = {name: get(name) for name in ends}
    return Decoder(config, get("embedding"), layers, get("norm"), head, factors, **rest)  # type: ignore[arg-type]


def in_full(source: Source) -> Decoder:
    """A decoder of plain FP32 matrices, for comparisons."""

    def get(name: str) -> Matrix | np.ndarray:
        values = np.array(source.tensor(name), np.float32)
        return DenseMatrix(values) if name.rpartition(".")[2] in MATRICES else values

    return assembled(source.config, get)


def find(tensors: Mapping[str, WeightsFile], name: str) -> np.ndarray:
    """
    Raises:
        ValueError: no file holds the tensor.
    """
    if name not in tensors:
        raise ValueError(f"tensor {name!r} is missing; import the model again")
    return tensors[name][name]


def vector(config: DecoderConfig, tensors: Mapping[str, WeightsFile], name: str) -> np.ndarray:
    """A vector of the shape that it must have, FP32."""
    found = np.ascontiguousarray(find(tensors, name), np.float32)
    if found.shape != shape_of(config, name):
        raise ValueError(f"{name} has shape {found.shape}; expected {shape_of(config, name)}")
    return found


def packed(config: DecoderConfig, tensors: Mapping[str, WeightsFile], name: str) -> GroupedMatrix:
    """A packed matrix over the mapped bytes."""
    lines, scales = (find(tensors, f"{name}.{part}") for part in PARTS[:2])
    minima = find(tensors, f"{name}.minima") if f"{name}.minima" in tensors else None
    shape = shape_of(config, name)
    bits = 8 * lines.shape[-1] // (32 * 16)
    return GroupedMatrix(bits, (shape[0], shape[1]), lines, scales, minima)
