"""What a transaction does to records: a version is written, superseded, taken back or erased.

Every function works inside the writer's transaction; nothing is seen before it is committed.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .record import Entry, digest

SEALED = (
    "record, version, op, state, by, undone, namespace, key, source, tags, time, expires, text, content, "
    "vector_check"
)
Parts = dict[str, tuple[str, bytes]]


@dataclass
class Change:
    """One operation: its number, when it happens, and the records it touches."""

    db: sqlite3.Connection
    op: int
    time: float
    nonce: str
    records: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Draft:
    """An entry ready to be written."""

    entry: Entry
    parts: Parts
    vector: np.ndarray | None

    @cached_property
    def content(self) -> bytes:
        """What makes two entries the same: text and parts, or the vector where there is nothing else."""
        named = [value for name, (form, data) in sorted(self.parts.items()) for value in (name, form, data)]
        if self.entry.text is None and not named and self.vector is not None:
            named = [self.vector.tobytes()]
        return digest(self.entry.text, *named)


def begin(db: sqlite3.Connection, kind: str, now: float) -> Change:
    nonce = secrets.token_hex(4)
    cursor = db.execute(
        "INSERT INTO operations (kind, time, nonce, seal) VALUES (?, ?, ?, ?)",
        (kind, now, nonce, digest(kind, now, nonce)),
    )
    return Change(db, int(cursor.lastrowid or 0), now, nonce)


def add(change: Change, draft: Draft) -> tuple[str, int]:
    """Writes an entry as a new record, or as a new version of the one that it supersedes: (id, seq)."""
    record, key = superseded_by(change.db, draft)
    return write(change, record or secrets.token_hex(8), draft, key)


def superseded_by(db: sqlite3.Connection, draft: Draft) -> tuple[str | None, str | None]:
    """The record whose newer version an entry is, if any, and its key."""
    entry = draft.entry
    if entry.key is not None:
        row = db.execute(
            "SELECT record FROM versions WHERE live AND namespace = ? AND key = ?",
            (entry.namespace, entry.key),
        ).fetchone()
        if row:
            return row[0], entry.key
    row = db.execute(
        "SELECT record, key FROM versions WHERE live AND namespace = ? AND content = ? "
        "AND (? IS NULL OR key IS NULL) ORDER BY key IS NOT NULL LIMIT 1",
        (entry.namespace, draft.content, entry.key),
    ).fetchone()
    return (None, entry.key) if row is None else (row[0], entry.key or row[1])


def write(change: Change, record: str, draft: Draft, key: str | None) -> tuple[str, int]:
    """Writes a version that is in force, and supersedes what else says the same."""
    retire(change, record)
    entry = draft.entry
    others = change.db.execute(
        "SELECT record FROM versions WHERE live AND namespace = ?1 AND key = ?2 UNION "  # an index for each
        "SELECT record FROM versions WHERE live AND namespace = ?1 AND content = ?3 AND key IS NULL",
        (entry.namespace, key, draft.content),
    ).fetchall()
    for (other,) in others:
        end(change, other, "superseded", record)
    data = None if draft.vector is None else draft.vector.tobytes()
    row = (
        *(record, next_version(change.db, record), change.op, "kept", None, 0),
        *(
            entry.namespace,
            key,
            entry.source,
            json.dumps(entry.tags),
            change.time if entry.time is None else entry.time,
            entry.expires,
        ),
        *(entry.text, draft.content, None if data is None else zlib.crc32(data)),
    )
    seq = insert(change, row, draft.parts, data, live=True)
    return record, seq


def end(change: Change, record: str, state: str, by: str | None = None) -> None:
    """Writes a version that says that a record is forgotten or superseded."""
    row = change.db.execute(
        "SELECT namespace, key, source, tags FROM versions WHERE live AND record = ?", (record,)
    ).fetchone()
    retire(change, record)
    head = (record, next_version(change.db, record), change.op, state, by, 0)
    insert(change, (*head, *row, change.time, None, None, b"", None), {}, None, live=False)


def insert(change: Change, row: tuple[Any, ...], parts: Parts, vector: bytes | None, *, live: bool) -> int:
    """A row of versions, its parts and tags; `row` is what `SEALED` names."""
    db = change.db
    marks = ", ".join("?" * (len(row) + 4))
    cursor = db.execute(
        f"INSERT INTO versions ({SEALED}, seal, vector, live, touched) VALUES ({marks})",
        (*row, seal_of(row, parts), vector, int(live), change.op),
    )
    seq = int(cursor.lastrowid or 0)
    db.executemany(
        "INSERT INTO parts VALUES (?, ?, ?, ?)", [(seq, name, *part) for name, part in parts.items()]
    )
    db.executemany("INSERT INTO tags VALUES (?, ?)", [(tag, seq) for tag in json.loads(row[9])])
    change.records.append(row[0])
    return seq


def seal_of(row: Sequence[Any], parts: Parts) -> bytes:
    """The check of a version: of all its columns and parts."""
    return digest(*row, *[value for name, part in sorted(parts.items()) for value in (name, *part)])


def parts_of(db: sqlite3.Connection, seq: int) -> Parts:
    rows = db.execute("SELECT name, form, data FROM parts WHERE seq = ?", (seq,))
    return {name: (form, data) for name, form, data in rows}


def retire(change: Change, record: str) -> None:
    """The version in force is no longer."""
    change.db.execute(
        "UPDATE versions SET live = 0, touched = ? WHERE record = ? AND live", (change.op, record)
    )


def next_version(db: sqlite3.Connection, record: str) -> int:
    return db.execute(
        "SELECT 1 + IFNULL(MAX(version), 0) FROM versions WHERE record = ?", (record,)
    ).fetchone()[0]


def undo(change: Change, op: int, only: str | None = None) -> list[str]:
    """Takes back what an operation did, or what it did to one record and to those that this one superseded.

    Raises:
        ValueError: the key of a record that would return has been given to another since.
    """
    rows = change.db.execute(
        "SELECT seq, record FROM versions "
        "WHERE op = ? AND NOT undone AND (? IS NULL OR record = ? OR by = ?)",
        (op, only, only, only),
    ).fetchall()
    records = [*dict.fromkeys(record for _, record in rows)]
    for record in records:
        retire(change, record)
    for seq, _ in rows:
        change.db.execute("UPDATE versions SET undone = 1, touched = ? WHERE seq = ?", (change.op, seq))
        reseal(change.db, seq)
    for record in records:
        revive(change, record)
    change.records += records
    return records


def revive(change: Change, record: str) -> None:
    """Puts the newest version that was not taken back in force, if it is one that is kept."""
    seq = current(change.db, record)
    if seq is None:
        return
    try:
        change.db.execute("UPDATE versions SET live = 1, touched = ? WHERE seq = ?", (change.op, seq))
    except sqlite3.IntegrityError:
        key = change.db.execute("SELECT key FROM versions WHERE seq = ?", (seq,)).fetchone()[0]
        raise ValueError(
            f"{record} cannot return: the key {key!r} now belongs to another memory; forget that one first"
        ) from None


def current(db: sqlite3.Connection, record: str) -> int | None:
    """The version of a record that should be in force, by its history."""
    row = db.execute(
        "SELECT seq, state FROM versions WHERE record = ? AND NOT undone ORDER BY version DESC LIMIT 1",
        (record,),
    ).fetchone()
    return row[0] if row and row[1] == "kept" else None


def reseal(db: sqlite3.Connection, seq: int) -> None:
    row = db.execute(f"SELECT {SEALED} FROM versions WHERE seq = ?", (seq,)).fetchone()
    db.execute("UPDATE versions SET seal = ? WHERE seq = ?", (seal_of(row, parts_of(db, seq)), seq))


def erase(change: Change, records: Iterable[str]) -> list[str]:
    """Removes every version of records, and of those that they superseded, from all tables."""
    gone: list[str] = []
    waiting = [*records]
    while waiting:
        record = waiting.pop()
        if record in gone:
            continue
        gone.append(record)
        waiting += [
            one for (one,) in change.db.execute("SELECT record FROM versions WHERE by = ?", (record,))
        ]
    for record in gone:
        mine = "SELECT seq FROM versions WHERE record = ?"
        change.db.execute(f"DELETE FROM parts WHERE seq IN ({mine})", (record,))
        change.db.execute(f"DELETE FROM tags WHERE seq IN ({mine})", (record,))
        change.db.execute("DELETE FROM links WHERE record = ? OR other = ?", (record, record))
        change.db.execute("DELETE FROM versions WHERE record = ?", (record,))
    change.db.execute("INSERT INTO words (words) VALUES ('rebuild')")
    return gone


def link(db: sqlite3.Connection, record: str, other: str, similarity: float) -> None:
    """Notes that two records are near doubles."""
    first, second = sorted((record, other))
    db.execute(
        "INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?)",
        (first, second, similarity, digest(first, second, similarity)),
    )


def set_meta(db: sqlite3.Connection, name: str, value: Any) -> None:
    data = json.dumps(value)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (name, data, digest(name, data)))


def meta(db: sqlite3.Connection, name: str, default: Any = None) -> Any:
    """
    Raises:
        ValueError: the value is damaged.
    """
    row = db.execute("SELECT value, seal FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        return default
    if row[1] != digest(name, row[0]):
        raise ValueError(
            f"the store is damaged: its note {name!r} has another check than when it was written"
        )
    return json.loads(row[0])
