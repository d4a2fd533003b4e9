"""Things as arrays and back. Arrays of one thing share a prefix: "corpus/bodies/flat", "network/trunk.norm".

Every recipe that travels has three parts (`Travelling`), of which the middle one needs numpy and torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...nn.config import NetworkConfig
from ...nn.network import UnifiedScoreNetwork
from ...weights.quant.arrowquant import PARTS, ArrowQuant
from ...weights.quant.packed import matrices, packed, plain
from ..schedule import Run

Arrays = dict[str, np.ndarray]
Packed = tuple[Arrays, dict[str, Any]]  # arrays and settings


@dataclass(frozen=True)
class Travelling:
    """How a recipe travels.

    pack: (recipe, data, runs, options) -> what is sent. train: (arrays, settings, run) -> what comes back.
    join: (arrays, settings, out) writes the model. options: names of those that it takes.
    """

    pack: Callable[[str, Path, Path, Mapping[str, Any]], Packed]
    train: Callable[[Arrays, Mapping[str, Any], Run], Packed]
    join: Callable[[Arrays, Mapping[str, Any], Path], None]
    options: tuple[str, ...] = ()


def prefixed(name: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {f"{name}/{key}": array for key, array in arrays.items()}


def under(name: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of one thing."""
    return {k.removeprefix(f"{name}/"): array for k, array in arrays.items() if k.startswith(f"{name}/")}


def pack_lists(lists: Sequence[Sequence[int]]) -> Arrays:
    """Lists of numbers end to end, and their lengths."""
    flat = [number for one in lists for number in one]
    return {"flat": np.array(flat, np.int32), "counts": np.array([len(one) for one in lists], np.int32)}


def unpack_lists(arrays: Mapping[str, np.ndarray]) -> list[list[int]]:
    ends = arrays["counts"].cumsum()
    flat = arrays["flat"].tolist()
    return [
        flat[end - count : end] for end, count in zip(ends.tolist(), arrays["counts"].tolist(), strict=True)
    ]


def pack_rows(rows: Sequence[np.ndarray]) -> Arrays:
    """Arrays `(n_i, ...)` end to end, and their lengths."""
    return {"flat": np.concatenate([*rows]), "counts": np.array([len(one) for one in rows], np.int64)}


def unpack_rows(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return np.split(arrays["flat"], arrays["counts"].cumsum()[:-1])


def pack_text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def unpack_text(array: np.ndarray) -> str:
    return array.tobytes().decode()


def pack_files(files: Mapping[str, Path]) -> Arrays:
    """Files that lie beside a network, by their place in a model folder."""
    return prefixed(
        "file", {name: np.frombuffer(path.read_bytes(), np.uint8) for name, path in files.items()}
    )


def write_files(arrays: Mapping[str, np.ndarray], out: Path) -> None:
    """The files of `pack_files`, in a folder."""
    for name, data in under("file", arrays).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data.tobytes())


def pack_weights(network: nn.Module) -> Arrays:
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def load_packed(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def pack_network(network: UnifiedScoreNetwork) -> tuple[Arrays, dict[str, Any]]:
    """Its weights, packed ones as what their bits say, and its shape."""
    wide = plain(network)
    return pack_weights(wide), {"network": wide.config.to_json(), "heads": [*wide.heads]}


def pack_result(network: UnifiedScoreNetwork) -> Packed:
    """Weights and shape of a network that was trained; packed matrices keep their bits."""
    shape: dict[str, Any] = {"network": network.config.to_json(), "heads": [*network.heads]}
    few = matrices(network)
    parts = {f"{name}.{part}": getattr(one, part) for name, one in few.items() for part in PARTS}
    if few:
        shape["bits"] = next(iter(few.values())).bits
    return prefixed("network", pack_weights(network) | parts), {"shape": shape}


def unpack_result(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> UnifiedScoreNetwork:
    """The way back, in evaluation mode."""
    weights, shape = under("network", arrays), settings["shape"]
    if "bits" not in shape:
        return unpack_network(weights, shape).eval()

    def matrix(name: str, size: tuple[int, int]) -> ArrowQuant:
        return ArrowQuant(shape["bits"], size, *(weights.pop(f"{name}.{part}") for part in PARTS))

    plain = UnifiedScoreNetwork(NetworkConfig.from_json(shape["network"]), shape["heads"])
    network = packed(plain.eval(), matrix)
    load_packed(network, weights)
    return network


def join_network(arrays: Arrays, settings: Mapping[str, Any], out: Path) -> None:
    """Writes a model folder of a network's weights, its tokenizer, and the files beside it."""
    from ...text.tokenizer import TextTokenizer
    from ...text.weights import save_model

    tokenizer = TextTokenizer.from_json(unpack_text(arrays["tokenizer"]))
    save_model(out, unpack_result(arrays, settings), tokenizer, **settings["metadata"])
    write_files(arrays, out)


def unpack_network(arrays: Mapping[str, np.ndarray], shape: Mapping[str, Any]) -> UnifiedScoreNetwork:
    network = UnifiedScoreNetwork(NetworkConfig.from_json(shape["network"]), shape["heads"])
    load_packed(network, arrays)
    return network
