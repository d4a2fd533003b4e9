"""Names that tensors had in older files, and what they are called now."""

from __future__ import annotations

import re
from collections.abc import Iterable

RENAMED = (
    (re.compile(r"^(heads\.\w+)\.spread$"), r"\1.std"),
    (re.compile(r"^(heads\.image)\.meaning\."), r"\1.pooled."),
)


def current(name: str) -> str:
    """What a stored tensor is called by now.

    >>> current("heads.image.spread"), current("heads.text.table")
    ('heads.image.std', 'heads.text.table')
    """
    for old, new in RENAMED:
        name = old.sub(new, name)
    return name


def by_current_name(stored: Iterable[str]) -> dict[str, str]:
    """The stored name of each tensor by its current one."""
    return {current(name): name for name in stored}
