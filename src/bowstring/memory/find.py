"""Reading memories: by number, by words, by vector. Every function works inside one view of the database."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from . import changes
from .index import Index
from .masks import Mask
from .record import Memory, unpacked
from .where import condition
from .words import telling

RANK = 10  # of reciprocal rank fusion: 1 / (10 + rank); Cormack et al. 2009 have 60
WORDS_COUNT = 0.75  # beside vectors
MOST_WORDS = 64  # of a query
SPARE = 16  # hits beyond the wanted ones that are looked up first
ALL = (-1,)  # no limit
UNEXPIRED = "(expires IS NULL OR expires > ?)"
COLUMNS = f"{changes.SEALED}, seal, vector"
COLUMN_NAMES = COLUMNS.split(", ")
SAME = ("version", "text", "namespace", "key", "source", "time", "expires", "state", "by")  # as in `Memory`
MOST_AT_ONCE = 400  # versions that one statement reads


def by_words(
    db: sqlite3.Connection, query: str, wanted: int, where: Mapping[str, Any] | None
) -> dict[int, float]:
    """Versions in force that hold words of the query, with their BM25 (higher is better), the best first."""
    words = telling(query)[:MOST_WORDS]
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
    *,
    exact: bool,
) -> dict[int, float]:
    """Versions in force with their cosines, the nearest first.

    Raises:
        ValueError: a vector of another width.
    """
    if not index.width:
        return {}
    if vector.size != index.width:
        raise ValueError(f"query has {vector.size} numbers; expected {index.width} as in this store")
    return dict(index.nearest(vector, wanted, meant_by(db, index, where), exact=exact))


def meant_by(db: sqlite3.Connection, index: Index, where: Mapping[str, Any] | None) -> Mask:
    """The versions in force that a filter lets through."""
    term, values = condition(where)
    if term == "1":
        return index.in_force()

    def ask(op: int) -> list[tuple[int, int]]:
        now = time.time()
        if op < 0:
            query = f"SELECT seq, 1 FROM versions WHERE live AND {UNEXPIRED} AND {term}"
            return db.execute(query, (now, *values)).fetchall()
        query = f"SELECT seq, IFNULL(live AND {UNEXPIRED} AND {term}, 0) FROM versions WHERE touched > ?"
        return db.execute(query, (now, *values, op)).fetchall()

    return index.filtered((term, *values), ask)


def fused(near: Mapping[int, float], said: Mapping[int, float]) -> dict[int, float]:
    """Reciprocal rank fusion of what vectors and what words found, each in its order, the best first.

    Words count a little less: the best of them alone comes among the first five, but what shares one word
    with the query does not push aside what means the same in other words.

    >>> fused({7: 0.9, 8: 0.1}, {8: 5.0})[8] > fused({7: 0.9, 8: 0.1}, {8: 5.0})[7]
    True
    """
    scores = {seq: 1 / (RANK + rank) for rank, seq in enumerate(near, 1)}
    for rank, seq in enumerate(said, 1):
        scores[seq] = scores.get(seq, 0.0) + WORDS_COUNT / (RANK + rank)
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
    """A version as it was written; see `memories`."""
    return memories(db, [seq], with_parts=with_parts)[0]


def memories(db: sqlite3.Connection, seqs: Sequence[int], *, with_parts: bool = True) -> list[Memory]:
    """Versions as they were written, in this order.

    Raises:
        ValueError: one is damaged.
    """
    found: dict[int, Memory] = {}
    for start in range(0, len(seqs), MOST_AT_ONCE):
        some = seqs[start : start + MOST_AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows = db.execute(f"SELECT {COLUMNS}, seq FROM versions WHERE seq IN ({marks})", some).fetchall()
        column = "data" if with_parts else "NULL"
        parts: dict[int, changes.Parts] = {}
        for seq, name, form, data in db.execute(
            f"SELECT seq, name, form, {column} FROM parts WHERE seq IN ({marks})", some
        ):
            parts.setdefault(seq, {})[name] = (form, data)
        doubles = near(db, {row[0] for row in rows})
        for row in rows:
            found[row[-1]] = _memory(row[:-1], parts.get(row[-1], {}), doubles, with_parts=with_parts)
    return [found[seq] for seq in seqs]


def _memory(
    row: Sequence[Any],
    parts: changes.Parts,
    doubles: Mapping[str, Sequence[tuple[str, float]]],
    *,
    with_parts: bool,
) -> Memory:
    one = dict(zip(COLUMN_NAMES, row, strict=True))
    if with_parts and changes.seal_of(row[:-2], parts) != one["seal"]:
        raise ValueError(
            f"the memory {one['record']} is damaged in version {one['version']}; "
            "a copy or an export brings it back"
        )
    return Memory(
        id=one["record"],
        tags=() if one["tags"] == "[]" else tuple(json.loads(one["tags"])),
        undone=bool(one["undone"]),
        vector=None if one["vector"] is None else np.frombuffer(one["vector"], np.float32),
        holds=tuple(parts),
        parts={name: unpacked(*part) for name, part in parts.items()} if with_parts else {},
        near=tuple(doubles.get(one["record"], ())),
        **{name: one[name] for name in SAME},
    )


def near(db: sqlite3.Connection, records: Collection[str]) -> dict[str, list[tuple[str, float]]]:
    """Near doubles of records that are in force, with their cosines."""
    marks, given = ", ".join("?" * len(records)), [*records]
    alive = "WHERE EXISTS (SELECT 1 FROM versions WHERE live AND record = twin)"
    rows = db.execute(
        "SELECT * FROM (SELECT record AS mine, other AS twin, similarity FROM links "
        f"WHERE record IN ({marks}) UNION ALL "
        f"SELECT other, record, similarity FROM links WHERE other IN ({marks})) {alive}",
        (*given, *given),
    )
    found: dict[str, list[tuple[str, float]]] = {}
    for mine, twin, cosine in rows:
        found.setdefault(mine, []).append((twin, cosine))
    return found
