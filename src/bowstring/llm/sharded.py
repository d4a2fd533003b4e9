"""safetensors folders, read without trust and without torch: tensors where they lie, BF16 included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .blocks import bf16

TYPES: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "BF16": None}
LARGEST_HEADER = 100 << 20
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Place(NamedTuple):
    """Where a tensor lies in a file's bytes."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Shard:
    """One file.

    Raises:
        ValueError: it is no safetensors file, or says what cannot be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file() or path.stat().st_size < 8:
            raise ValueError(f"{path} is no safetensors file: it is missing, or shorter than eight bytes")
        self.bytes = np.memmap(path, np.uint8, "r")
        length = int(self.bytes[:8].view(np.uint64)[0])
        if length > min(LARGEST_HEADER, len(self.bytes) - 8):
            raise ValueError(f"{path} is no safetensors file: its header would have {length} bytes")
        try:
            said = json.loads(bytes(self.bytes[8 : 8 + length]))
            self.places = {
                name: self._place(one, 8 + length) for name, one in said.items() if name != "__metadata__"
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: the header cannot be read: {error}") from None

    def _place(self, said: dict[str, Any], start: int) -> Place:
        dtype, shape, (first, last) = said["dtype"], tuple(said["shape"]), said["data_offsets"]
        if dtype not in TYPES:
            raise ValueError(f"type {dtype!r} is not read; known are {', '.join(TYPES)}")
        size = {"F64": 8, "F32": 4}.get(dtype, 2)
        for length in shape:
            if not isinstance(length, int) or length < 0:
                raise ValueError(f"a tensor has shape {shape}")
            size *= length
        if not 0 <= first <= last <= len(self.bytes) - start or last - first != size:
            raise ValueError(f"a tensor of {size} bytes lies at {first} to {last}")
        return Place(dtype, shape, start + first, start + last)

    def __getitem__(self, name: str) -> np.ndarray:
        """A tensor as FP32."""
        place = self.places[name]
        raw = np.array(self.bytes[place.start : place.stop])
        values = bf16(raw) if place.dtype == "BF16" else raw.view(TYPES[place.dtype])
        return values.astype(np.float32, copy=False).reshape(place.shape)


class SafetensorsFolder:
    """All tensors of a folder, whatever the number of its files.

    Raises:
        ValueError: there are none, or two files hold the same tensor.
    """

    def __init__(self, folder: Path) -> None:
        index = folder / INDEX
        if index.exists():
            owners = read_json(index).get("weight_map")
            if not isinstance(owners, dict) or not owners:
                raise ValueError(f"{index} has no weight_map; expected one from tensors to files")
            names = sorted(set(map(str, owners.values())))
            if unsafe := [name for name in names if Path(name).name != name]:
                raise ValueError(f"{index} names files outside of its folder: {unsafe[0]!r}")
        else:
            names = [SINGLE]
        if not (folder / names[0]).exists():
            raise ValueError(f"{folder} holds no {INDEX} and no {SINGLE}")
        self.folder, self.owner = folder, dict[str, Shard]()
        for shard in (Shard(folder / name) for name in names):
            if twice := set(self.owner) & set(shard.places):
                raise ValueError(f"tensor {sorted(twice)[0]!r} lies in two files of {folder}")
            self.owner |= dict.fromkeys(shard.places, shard)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.owner[name].places[name].shape

    def __getitem__(self, name: str) -> np.ndarray:
        return self.owner[name][name]


def read_json(path: Path, most: int = 64 << 20) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ValueError: it is too large, no JSON, or no object.
    """
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    if path.stat().st_size > most:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; expected at most {most}")
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds a {type(said).__name__}; expected an object")
    return said
