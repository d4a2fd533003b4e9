"""Weights to safetensors and back: no byte, name, shape or metadata change."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..core.files import replacing
from .format.index import WIDTH
from .format.parquet import Tensor, WeightsFile, write
from .format.sniff import looks_like

WHOLE = "bowstring"  # under it lie metadata that are not all strings, as JSON


def to_safetensors(source: Path, target: Path) -> int:
    """Writes the tensors of a weights file to a safetensors file and returns how many there are.

    Raises:
        WeightsError: the source is damaged.
    """
    file = WeightsFile(source)
    file.verify()
    names = sorted(file, key=lambda name: (-WIDTH[file.entries[name].dtype], name))  # all lie aligned
    header: dict[str, Any] = {"__metadata__": said} if (said := strings(file.metadata)) else {}
    end = 0
    for name in names:
        dtype, shape, _, size, _ = file.entries[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (end, end := end + size)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(target) as partial, partial.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.writelines(file.raw(name) for name in names)
    return len(file)


def from_safetensors(source: Path, target: Path) -> int:
    """Writes the tensors of a safetensors file to a weights file and returns how many there are.

    Raises:
        ValueError: types that the profile does not have, or no safetensors file.
    """
    header, metadata = read_header(source)
    if unknown := {name: said["dtype"] for name, said in header.items() if said["dtype"] not in WIDTH}:
        shown = ", ".join(f"{name!r} ({dtype})" for name, dtype in unknown.items())
        raise ValueError(
            f"{source} cannot be converted: {len(unknown)} of {len(header)} tensors have types that are not "
            f"stored: {shown}. Types that are: {', '.join(WIDTH)}"
        )
    write(target, _tensors(source, header), from_strings(metadata))
    return len(header)


def read_header(source: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Type, shape and place of every tensor, and the metadata, once safetensors has found the file sound.

    Raises:
        ValueError: it is no safetensors file.
    """
    try:
        with safe_open(source, "numpy"):
            pass
    except SafetensorError as error:
        with source.open("rb") as file:
            guess = looks_like(file.read(512))
        reason = f"it looks like {guess}" if guess and not guess.startswith("a safetensors") else error
        raise ValueError(f"{source} is not a weights file and cannot be converted: {reason}") from None
    with source.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return header, header.pop("__metadata__", None) or {}


def _tensors(source: Path, header: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Tensor]]:
    if not header:
        return
    with source.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    start = 8 + int.from_bytes(view[:8], "little")
    for name, said in sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0])):
        begin, end = said["data_offsets"]
        yield name, Tensor(said["dtype"], tuple(said["shape"]), view[start + begin : start + end])


def strings(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata as safetensors takes them: strings stay, anything else goes under one key as JSON."""
    if all(isinstance(value, str) for value in metadata.values()) and WHOLE not in metadata:
        return dict(metadata)
    return {WHOLE: json.dumps(metadata)}


def from_strings(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The inverse of `strings`."""
    return json.loads(metadata[WHOLE]) if [*metadata] == [WHOLE] else dict(metadata)
