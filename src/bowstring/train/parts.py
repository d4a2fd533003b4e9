"""Arrays in parts of a size that can be sent: weights files and a manifest of sizes and hashes, written last.

This module knows nothing of torch, networks or trainings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files
from ..weights.format.parquet import Tensor, WeightsFile, write

MANIFEST = "manifest.json"
FORMAT = 1
ROOM = 1_000_000  # bytes of a part beside its arrays


def pieces(arrays: Mapping[str, np.ndarray], limit: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    """The bytes of arrays, cut so that no part holds more than `limit` of them."""
    part: list[tuple[str, np.ndarray]] = []
    room = limit
    for name, array in arrays.items():
        data, number = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8), 0
        while len(data):
            if not room:
                yield part
                part, room = [], limit
            part.append((f"{name}#{number}", data[:room]))
            data, number, room = data[room:], number + 1, room - len(part[-1][1])
    if part:
        yield part


def write_parts(
    folder: Path, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], limit: int
) -> list[Path]:
    """Writes arrays and settings into files of at most `limit` bytes each.

    Raises:
        FileExistsError: the folder holds a manifest already.
    """
    if (folder / MANIFEST).exists():
        raise FileExistsError(f"{folder} holds parts already; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    parts, paths = [], []
    for number, part in enumerate(pieces(arrays, limit - ROOM)):
        path = folder / f"part-{number:03}.parquet"
        write(path, ((name, Tensor.of(data)) for name, data in part), {})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        parts.append({"name": path.name, "bytes": path.stat().st_size, "sha256": digest})
        paths.append(path)
    shapes = {name: {"shape": [*array.shape], "dtype": array.dtype.str} for name, array in arrays.items()}
    manifest = {"format": FORMAT, "settings": settings, "arrays": shapes, "parts": parts}
    files.write(folder / MANIFEST, json.dumps(manifest).encode())
    return paths


def read_parts(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and settings, every part being checked against its hash.

    Raises:
        FileNotFoundError: there is no manifest, or a part is missing.
        ValueError: a part is damaged, or parts of another version.
    """
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"{folder} holds no parts: {MANIFEST} is missing; it is written last")
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{folder} has format {manifest.get('format')!r}; this version reads {FORMAT}")
    found: dict[str, list[np.ndarray]] = {}
    for part in manifest["parts"]:
        path = folder / part["name"]
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; {MANIFEST} names {len(manifest['parts'])} parts")
        if hashlib.sha256(path.read_bytes()).hexdigest() != part["sha256"]:
            raise ValueError(f"{path} does not match its hash in {MANIFEST}; copy it again")
        file = WeightsFile(path)
        for name in file:
            found.setdefault(name.rpartition("#")[0], []).append(np.array(file[name]))
    return {
        name: np.concatenate(found.get(name, [np.empty(0, np.uint8)]))
        .view(np.dtype(about["dtype"]))
        .reshape(about["shape"])
        for name, about in manifest["arrays"].items()
    }, manifest["settings"]
