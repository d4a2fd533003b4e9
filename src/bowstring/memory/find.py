"""Reading memories: by number, by words, by vector. Every function works inside one view of the database."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import changes
from .index import Index
from .record import Memory, unpacked
from .where import condition

RANK = 60  # of reciprocal rank fusion: 1 / (60 + rank); Cormack et al. 2009
MOST_WORDS = 64  # of a query
SPARE = 16  # hits beyond the wanted ones that are looked up first
ALL = (-1,)  # no limit
UNEXPIRED = "(expires IS NULL OR expires > ?)"
COLUMNS = f"{changes.SEALED}, seal, vector"


def by_words(
    db: sqlite3.Connection, query: str, wanted: int, where: Mapping[str, Any] | None
) -> dict[int, float]:
    """Versions in force that hold words of the query, with their BM25 (higher is better), the best first."""
    words = [*dict.fromkeys(re.findall(r"\w+", query.lower()))][:MOST_WORDS]
    if not words:
        return {}
    term, values = condition(where)
    match = " OR ".join(f'"{word}"' for word in words)
    found: dict[int, float] = {}
    for many in ALL if term != "1" else (wanted + SPARE, *ALL):  # the first may have expired
        rows = db.execute(
            "SELECT seq, -score FROM (SELECT rowid AS hit, bm25(words) AS score FROM words "
            "WHERE words MATCH ? ORDER BY bm25(words), rowid DESC LIMIT ?) "
            f"JOIN versions ON seq = hit WHERE live AND {UNEXPIRED} AND {term} "
            "ORDER BY score, seq DESC LIMIT ?",
            (match, many, time.time(), *values, wanted),
        )
        found = dict(rows.fetchall())
        if len(found) == wanted:
            break
    return found


def by_vector(
    db: sqlite3.Connection,
    index: Index,
    vector: np.ndarray,
    wanted: int,
    where: Mapping[str, Any] | None,
    candidates: int,
) -> dict[int, float]:
    """Versions in force with their cosines, the nearest first.

    Raises:
        ValueError: a vector of another width.
    """
    if not index.width:
        return {}
    if vector.size != index.width:
        raise ValueError(f"query has {vector.size} numbers; expected {index.width} as in this store")
    return dict(index.nearest(vector, wanted, chosen(db, index, where), candidates))


def chosen(db: sqlite3.Connection, index: Index, where: Mapping[str, Any] | None) -> np.ndarray:
    """A mask of the versions that a filter lets through; kept until something changes."""
    in_force = index.in_force(time.time())
    term, values = condition(where)
    if term == "1":
        return in_force
    name = (term, *values)
    if name not in index.chosen:
        rows = db.execute(f"SELECT seq FROM versions WHERE live AND {term}", values)
        index.chosen[name] = index.mask([seq for (seq,) in rows])
    return index.chosen[name] & in_force


def fused(*lists: Mapping[int, float]) -> dict[int, float]:
    """Reciprocal rank fusion of lists that stand in their order, the best first.

    >>> fused({7: 0.9, 8: 0.1}, {8: 5.0})[8] > fused({7: 0.9, 8: 0.1}, {8: 5.0})[7]
    True
    """
    scores: dict[int, float] = {}
    for one in lists:
        for rank, seq in enumerate(one, 1):
            scores[seq] = scores.get(seq, 0.0) + 1 / (RANK + rank)
    return scores


def listed(
    db: sqlite3.Connection, where: Mapping[str, Any] | None, limit: int, offset: int
) -> list[tuple[int, str]]:
    """(seq, id) of what is in force, the newest first; -1 is no limit."""
    term, values = condition(where)
    return db.execute(
        f"SELECT seq, record FROM versions WHERE live AND {UNEXPIRED} AND {term} "
        "ORDER BY time DESC, seq DESC LIMIT ? OFFSET ?",
        (time.time(), *values, limit, offset),
    ).fetchall()


def in_force(db: sqlite3.Connection, id: str) -> int:
    """The version of a record that is in force.

    Raises:
        ValueError: there is none.
    """
    row = db.execute(
        f"SELECT seq FROM versions WHERE live AND record = ? AND {UNEXPIRED}", (id, time.time())
    ).fetchone()
    if row is None:
        raise ValueError(f"no memory has the id {id!r}; it may be forgotten or expired, `list` shows all")
    return int(row[0])


def meant(
    db: sqlite3.Connection, ids: Sequence[str] | None, where: Mapping[str, Any], state: str
) -> list[str]:
    """Records by id and filter, both where both are given, among versions of a state (a condition).

    Raises:
        ValueError: an id that does not exist.
    """
    for id in ids or ():
        if db.execute(f"SELECT 1 FROM versions WHERE record = ? AND {state}", (id,)).fetchone() is None:
            raise ValueError(f"no memory has the id {id!r}; `list` shows all")
    if ids is not None:
        where = {**where, "id": ids}
    term, values = condition(where)
    rows = db.execute(f"SELECT DISTINCT record FROM versions WHERE {state} AND {term}", values)
    return [record for (record,) in rows.fetchall()]


def memory(db: sqlite3.Connection, seq: int, *, with_parts: bool = True) -> Memory:
    """A version as it was written.

    Raises:
        ValueError: it is damaged.
    """
    row = db.execute(f"SELECT {COLUMNS} FROM versions WHERE seq = ?", (seq,)).fetchone()
    one = dict(zip(COLUMNS.split(", "), row, strict=True))
    values = {}
    if with_parts:
        parts = changes.parts_of(db, seq)
        if changes.seal_of(row[:-2], parts) != one["seal"]:
            raise ValueError(
                f"the memory {one['record']} is damaged in version {one['version']}; "
                "a copy or an export brings it back"
            )
        values = {name: unpacked(*part) for name, part in parts.items()}
    return Memory(
        id=one["record"],
        tags=tuple(json.loads(one["tags"])),
        undone=bool(one["undone"]),
        vector=None if one["vector"] is None else np.frombuffer(one["vector"], np.float32),
        holds=tuple(name for (name,) in db.execute("SELECT name FROM parts WHERE seq = ?", (seq,))),
        parts=values,
        near=near(db, one["record"]),
        **{name: one[name] for name in ("version", "text", "namespace", "key", "source")},
        **{name: one[name] for name in ("time", "expires", "state", "by")},
    )


def near(db: sqlite3.Connection, record: str) -> tuple[tuple[str, float], ...]:
    """Near doubles of a record that are in force, with their cosines."""
    rows = db.execute(
        "SELECT other, similarity FROM links WHERE record = ? UNION ALL "
        "SELECT record, similarity FROM links WHERE other = ?",
        (record, record),
    ).fetchall()
    alive = "SELECT 1 FROM versions WHERE live AND record = ?"
    return tuple((one, cosine) for one, cosine in rows if db.execute(alive, (one,)).fetchone())
