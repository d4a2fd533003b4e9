"""What an imported model is, as its folder tells it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..decode.config import DecoderConfig
from ..weights.format.parquet import WeightsFile
from .families import layer_parts, shape_of
from .folder import described


def parameters(config: DecoderConfig) -> int:
    """How many numbers the model has."""
    names = ["embedding", "norm"] + ([] if config.tied else ["head"])
    names += ["norm_shift", "head_bias"] if config.canvas is not None else []
    sizes = {name: cells(shape_of(config, name)) for name in {*names, *layer_parts(config)}}
    return sum(sizes[name] for name in names) + config.layers * sum(
        sizes[name] for name in layer_parts(config)
    )


def cells(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


def bits_of(folder: Path, files: list[str]) -> dict[int, int]:
    """Weights by the bits that they have in the files; scales are not counted."""
    found: dict[int, int] = {}
    for file in (WeightsFile(folder / name) for name in files):
        for name in file:
            if name.endswith(".lines"):
                bits = 8 * file[name].shape[-1] // (32 * 16)
                found[bits] = found.get(bits, 0) + file[name].size * 8 // bits
    return found


def about(folder: Path) -> dict[str, Any]:
    """Rows that `bowstring show NAME` prints.

    Raises:
        ValueError: the folder says what does not fit.
    """
    said, c = described(folder)
    told = said.get("about") or {}
    weights, size = bits_of(folder, said["files"]), sum(f.stat().st_size for f in folder.iterdir())
    rows: dict[str, Any] = {
        "name": told.get("name") or folder.name,
        "family": c.family,
        "writes": writes(c),
        "parameters": f"{parameters(c) / 1e6:,.1f} M",
        "layers": c.layers,
        "width": c.width,
        "heads": f"{c.heads}, {c.kv_heads} of keys, {c.head} wide",
        "vocabulary": c.vocab,
        "context": c.context,
        "size": f"{size / 1e6:.1f} MB",
        "bits": ", ".join(f"{n / 1e6:,.1f} M of {bits}" for bits, n in sorted(weights.items())),
        "chat template": "yes" if said["template"] else "no",
        "licence": told.get("licence") or "not said",
    }
    if "relative_error" in told:
        rows["rounded"] = (
            f"{told['rounded']} of {told['rounded'] + told['exact']} matrices, relative error "
            f"{told['relative_error']:.4f}"
            if told["rounded"]
            else "nothing: every number is as it was"
        )
    return rows | ({"source": told["source"]} if told.get("source") else {})


def writes(c: DecoderConfig) -> str:
    if c.canvas is not None:
        return f"a canvas of up to {c.context} tokens, mask {c.canvas}"
    if c.blocks is None:
        return "one token at a time"
    return f"blocks of {c.blocks.size}, mask {c.blocks.mask}" + (", shifted" if c.blocks.shifted else "")
