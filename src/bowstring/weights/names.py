"""Names that tensors had in older files, and where what they held is now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..nn.config import MODALITIES

RENAMED = (
    (re.compile(r"^(heads\.\w+)\.spread$"), r"\1.std"),
    (re.compile(r"^(heads\.image)\.meaning\."), r"\1.pooled."),
)
TABLE = "trunk.modality.weight"  # one row a modality, before each head had its own


@dataclass(frozen=True)
class StoredAt:
    """A stored tensor, or a row of one."""

    name: str
    row: int | None = None


def current(name: str) -> str:
    """What a stored tensor is called by now.

    >>> current("heads.image.spread"), current("heads.text.table")
    ('heads.image.std', 'heads.text.table')
    """
    for old, new in RENAMED:
        name = old.sub(new, name)
    return name


def places(stored: Mapping[str, tuple[int, ...]]) -> dict[str, StoredAt]:
    """Where each tensor lies, by its current name; `stored` are the shapes of what a file has.

    Raises:
        ValueError: a table of modalities that has not one row for each.
    """
    found = {current(name): StoredAt(name) for name in stored if not name.endswith(TABLE)}
    for name in (name for name in stored if name.endswith(TABLE)):
        shape, before = stored[name], name.removesuffix(TABLE)
        if len(shape) != 2 or shape[0] != len(MODALITIES):
            raise ValueError(f"{name!r} has shape {shape}; expected a row for each of {[*MODALITIES]}")
        found |= {f"{before}heads.{one}.modality": StoredAt(name, i) for i, one in enumerate(MODALITIES)}
    return found
