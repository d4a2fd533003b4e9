"""What is damaged in a store: every file is read, every check compared, every record at fault named."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import journal
from .changes import SEALED, current, meta, parts_of, seal_of
from .record import digest
from .schema import FILE, described, empty
from .segments import Segment, segment_files


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written. record: the id of the memory concerned, if it is one."""

    file: str
    what: str
    record: str | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.what}" + (f" (memory {self.record})" if self.record else "")


def faults(db: sqlite3.Connection, folder: Path) -> Iterator[Fault]:
    """All faults of the database, the segments and the journal."""
    for check in (_tables, _structure, _notes, _versions, _words, _links, _operations):
        try:
            yield from check(db)
        except (sqlite3.DatabaseError, ValueError) as error:
            yield Fault(FILE, str(error))
    try:
        lost = [*_lost(db, folder)]
        generation = meta(db, "generation", 0)
        width = (meta(db, "embedder") or {}).get("width", 0)
    except (sqlite3.DatabaseError, ValueError) as error:
        yield Fault(FILE, str(error))
        return
    yield from lost
    yield from _segments(db, folder, generation, width)


def _structure(db: sqlite3.Connection) -> Iterator[Fault]:
    for (line,) in db.execute("PRAGMA integrity_check(1000)"):
        if line != "ok":
            yield Fault(FILE, line)


def _tables(db: sqlite3.Connection) -> Iterator[Fault]:
    """Tables and indexes, by the words that SQLite keeps of them."""
    there, fresh = described(db), described(empty())
    for name in sorted(there.keys() | fresh.keys()):
        if there.get(name) != fresh.get(name):
            yield Fault(FILE, f"the description of {name!r} is not as it was written")


def _notes(db: sqlite3.Connection) -> Iterator[Fault]:
    for name, value, seal in db.execute("SELECT name, value, seal FROM meta"):
        if seal != digest(name, value):
            yield Fault(FILE, f"the note {name!r} has another check")


def _versions(db: sqlite3.Connection) -> Iterator[Fault]:
    """One by one, since a damaged page ends a statement that reads many."""
    for seq, record in db.execute("SELECT seq, record FROM versions ORDER BY seq").fetchall():
        try:
            yield from _version(db, seq)
        except (sqlite3.DatabaseError, ValueError) as error:
            yield Fault(FILE, str(error), str(record))
    orphans = db.execute(
        "SELECT DISTINCT seq FROM parts WHERE seq NOT IN (SELECT seq FROM versions)"
    ).fetchall()
    for (seq,) in orphans:
        yield Fault(FILE, f"parts belong to version {seq}, which is not there")


def _version(db: sqlite3.Connection, seq: int) -> Iterator[Fault]:
    columns = f"{SEALED}, seal, vector, live"
    row = db.execute(f"SELECT {columns} FROM versions WHERE seq = ?", (seq,)).fetchone()
    if row is None:
        yield Fault(FILE, f"version {seq} is listed and not there")
        return
    *sealed, seal, vector, live = row
    record = str(sealed[0])
    if seal_of(sealed, parts_of(db, seq)) != seal:
        yield Fault(FILE, f"version {sealed[1]} has another check than when it was written", record)
    if sealed[-1] != (None if vector is None else zlib.crc32(vector)):
        yield Fault(FILE, f"the vector of version {sealed[1]} has another check", record)
    if live != (current(db, sealed[0]) == seq):
        yield Fault(
            FILE, f"version {sealed[1]} is {'' if live else 'not '}in force against its history", record
        )
    tags = [tag for (tag,) in db.execute("SELECT tag FROM tags WHERE seq = ? ORDER BY tag", (seq,))]
    if json.dumps(tags) != sealed[9]:
        yield Fault(FILE, f"the list of tags lacks or adds one of version {sealed[1]}", record)


def _words(db: sqlite3.Connection) -> Iterator[Fault]:
    try:
        db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    except sqlite3.DatabaseError as error:
        yield Fault(FILE, f"the index of words is damaged: {error}; `compact` builds it anew")


def _links(db: sqlite3.Connection) -> Iterator[Fault]:
    for record, other, similarity, seal in db.execute("SELECT * FROM links"):
        if seal != digest(record, other, similarity):
            yield Fault(FILE, f"its link to {other} has another check", record)


def _operations(db: sqlite3.Connection) -> Iterator[Fault]:
    for op, kind, time, nonce, seal in db.execute("SELECT op, kind, time, nonce, seal FROM operations"):
        if seal != digest(kind, time, nonce):
            yield Fault(FILE, f"operation {op} has another check")
    for (op,) in db.execute("SELECT DISTINCT op FROM versions WHERE op NOT IN (SELECT op FROM operations)"):
        yield Fault(FILE, f"operation {op} is not there, and versions are of it")


def _lost(db: sqlite3.Connection, folder: Path) -> Iterator[Fault]:
    """Operations that were acknowledged and are not in the database."""
    there = dict(db.execute("SELECT op, nonce FROM operations"))
    for op, nonce, records in journal.acknowledged(folder):
        if not op:
            yield Fault(journal.FILE, "a line is damaged; `compact` begins a new file")
        elif there.get(op) != nonce:
            for record in records or [""]:
                what = f"operation {op} was acknowledged and is lost: the log is damaged"
                yield Fault(FILE, what, record or None)


def _segments(db: sqlite3.Connection, folder: Path, generation: int, width: int) -> Iterator[Fault]:
    for path in segment_files(folder):
        place = [int(part) for part in path.stem.split("-")[1:]]
        if place[0] != generation:
            continue
        try:
            segment = Segment.open(path, *place, width)  # type: ignore[call-arg]
        except (OSError, ValueError) as error:
            yield Fault(path.name, f"{error}; `compact` writes it anew")
            continue
        yield from _segment(db, segment)


def _segment(db: sqlite3.Connection, segment: Segment) -> Iterator[Fault]:
    end = segment.used()
    if segment.arrays["seqs"][end:].any():
        yield Fault(segment.path.name, f"row {end} is free and later ones are not; `compact` writes it anew")
    if not end:
        return
    rows = segment.rows(0, end)
    damaged = rows.checks() != segment.arrays["checks"][:end]
    for row in damaged.nonzero()[0].tolist():
        found = db.execute("SELECT record FROM versions WHERE seq = ?", (int(rows.seqs[row]),)).fetchone()
        name = found[0] if found else None
        yield Fault(segment.path.name, f"row {row} has another check; `compact` writes it anew", name)
