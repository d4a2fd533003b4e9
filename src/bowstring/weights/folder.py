"""A model folder: metadata.json says what it is, `layout` which file holds which weights."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import nn

from ..core.files import replacing
from ..core.process import SCHEDULES, Schedule, custom
from ..nn.network import UnifiedScoreNetwork
from .format.parquet import Tensor, WeightsFile, WeightsFiles, write
from .layout import METADATA, TRUNK, head, network_files
from .metadata import Metadata, Settings, read_metadata
from .names import TABLE, StoredAt, places
from .quant.arrowquant import PARTS, ArrowQuant
from .quant.packed import matrices, packed
from .quant.rounded import GROUPED_PARTS, Stored, few_bit_parts, in_few_bits, kept_in_8_bits, read_array


def named_tensors(network: nn.Module, dtype: str) -> Iterator[tuple[str, Tensor]]:
    """Everything a network is made of: vectors in FP32, matrices in `dtype` or, where they were rounded to 8
    bits, in these; packed ones as they are.
    """
    for name, parameter in network.state_dict().items():
        array = parameter.detach().float().numpy()
        if array.ndim > 1 and (few := kept_in_8_bits(array)) is not None:
            yield from few_bit_parts(name, few)
        else:
            yield name, Tensor.of(array.astype(dtype) if array.ndim > 1 else array)
    for name, matrix in matrices(network).items():
        for part in PARTS:
            yield f"{name}.{part}", Tensor.of(getattr(matrix, part))


def narrowest(network: nn.Module) -> str:
    """The narrowest type that keeps every matrix of a network to the bit that 8 bits do not keep: "float16"
    or "float32".
    """
    wide = (parameter.detach() for parameter in network.state_dict().values() if parameter.ndim > 1)
    kept = (torch.equal(one, one.half().float()) or kept_in_8_bits(one.numpy()) is not None for one in wide)
    return "float16" if all(kept) else "float32"


def save_network(
    folder: Path, network: UnifiedScoreNetwork, dtype: str = "float16", **settings: Unpack[Settings]
) -> None:
    """Writes trunk, heads and, last, metadata; a packed network keeps its bits."""
    files = [*(head(one) for one in network.heads), TRUNK]
    parts: dict[str, list[tuple[str, Tensor]]] = {file: [] for file in files}
    for name, tensor in named_tensors(network, dtype):
        owner, modality, *_ = name.split(".")
        parts[head(modality) if owner == "heads" else TRUNK].append((name, tensor))
    for file, tensors in parts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write(folder / file, tensors, {})
    few = {matrix.bits for matrix in matrices(network).values()}
    bits = few.pop() if few else 16 if dtype == "float16" else 32
    metadata = Metadata.of(network.config, [*network.heads], bits, **settings)
    with replacing(folder / METADATA) as partial:
        partial.write_text(metadata.model_dump_json(indent=1) + "\n", "utf-8")


def matrix_of(arrays: Stored, name: str, shape: tuple[int, int], bits: int) -> ArrowQuant:
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


def load_weights(network: nn.Module, arrays: Stored) -> None:
    """Gives every parameter its array, as FP32.

    Raises:
        ValueError: a name or a shape that the network does not have.
    """
    wanted = network.state_dict()
    taken = {f"{name}.{part}" for name in matrices(network) for part in PARTS}
    few = in_few_bits(arrays, taken)
    parts = {f"{name}.{part}" for name in few for part in GROUPED_PARTS}
    whole: dict[str, tuple[int, ...]] = {
        name: arrays.entries[name].shape for name in arrays if name not in parts
    }
    try:
        # no head has its row in an older table of few bits: only fields, which have no such heads, carry one
        found = places(whole | {name: () for name in few if not name.endswith(TABLE)})
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
        shape = whole.get(found[name].name, tuple(parameter.shape))  # few bits say theirs when they are read
        shape = shape if found[name].row is None else shape[1:]
        if shape != tuple(parameter.shape):
            raise ValueError(
                f"{arrays.path} has {name!r} of shape {shape}, the network expects {tuple(parameter.shape)}"
            )
    network.load_state_dict(
        {
            name: torch.from_numpy(_values(arrays, found[name], tuple(one.shape)))
            for name, one in wanted.items()
        },
        assign=True,
    )


def _values(arrays: Stored, place: StoredAt, shape: tuple[int, ...]) -> np.ndarray:
    if place.row is None:
        return read_array(arrays, place.name, shape)
    return np.array(arrays[place.name][place.row], np.float32)


def load_network(folder: Path) -> tuple[UnifiedScoreNetwork, Metadata]:
    """Network in evaluation mode and metadata of a model folder; see `read_metadata` and `load_weights`.

    Packed matrices are views of the mapped files, the rest becomes FP32.
    """
    metadata = read_metadata(folder)
    with torch.device("meta"):
        network = UnifiedScoreNetwork(metadata.config, metadata.modalities)
    arrays = WeightsFiles([WeightsFile(path) for path in network_files(folder, metadata.modalities)])
    arrays.verify()
    if metadata.bits in (2, 4):
        packed(network, lambda name, shape: matrix_of(arrays, name, shape, metadata.bits))
    load_weights(network, arrays)
    return network.eval().requires_grad_(requires_grad=False), metadata


def schedules(metadata: Metadata) -> dict[str, Schedule]:
    """The noise schedule of each modality, as metadata say."""
    own = metadata.bowstring.schedules
    return {
        name: custom(own[name].times, own[name].keep)
        if name in own
        else SCHEDULES[metadata.scheduler(name).type]
        for name in metadata.modalities
    }
