"""Filters: which memories are meant, as a condition of the database.

namespace, source, key, id, part   a value, or a list of which one is enough
tags                               all of them
after, before                      times, in seconds since 1970 or as datetimes
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ..core.options import listed, shown, texts
from .record import PARTS, moment

COLUMNS = {"namespace": "namespace", "source": "source", "key": "key", "id": "record"}
NAMES = (*COLUMNS, "part", "tags", "after", "before")


def condition(where: Mapping[str, Any] | None) -> tuple[str, list[Any]]:
    """A condition on `versions` and its values; "1" for no filter.

    >>> condition({"namespace": "work", "after": 5})
    ('namespace IN (?) AND time >= ?', ['work', 5.0])

    Raises:
        TypeError, ValueError: a filter that does not exist, or a value that cannot be meant.
    """
    if where is not None and not isinstance(where, Mapping):
        raise TypeError(
            f"where is {shown(where)}; expected names and values, for example {{'source': 'a.txt'}}"
        )
    terms: list[str] = []
    values: list[Any] = []
    for name, value in (where or {}).items():
        term, given = _term(name, value)
        terms.append(term)
        values += given
    return " AND ".join(terms) or "1", values


def _term(name: str, value: Any) -> tuple[str, list[Any]]:
    if name in COLUMNS:
        several = texts(value, name)
        return f"{COLUMNS[name]} IN ({_marks(several)})", [*several]
    if name == "part":
        several = texts(value, name)
        if unknown := [one for one in several if one not in PARTS]:
            raise ValueError(f"part is {shown(unknown[0])}; expected {listed(PARTS)}")
        return f"seq IN (SELECT seq FROM parts WHERE name IN ({_marks(several)}))", [*several]
    if name == "tags":
        several = texts(value, name)
        term = " AND ".join(["seq IN (SELECT seq FROM tags WHERE tag = ?)"] * len(several))
        return term or "1", [*several]
    if name in ("after", "before"):
        return f"time {'>=' if name == 'after' else '<'} ?", [moment(value, name)]
    near = difflib.get_close_matches(str(name), NAMES, 1)
    raise ValueError(
        f"where has {shown(name)}; expected {listed(NAMES)}" + (f". Closest: {near[0]!r}" if near else "")
    )


def _marks(several: tuple[str, ...]) -> str:
    return ", ".join("?" * len(several))
