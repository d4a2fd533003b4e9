"""The database of a store: its tables, its versions, and its errors in words.

A record is a chain of versions. A version is never changed but for three flags: `undone`, `live` (the one
that is in force) and `touched` (the operation that last changed a flag, by which readers learn of changes).
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "memory.sqlite"
APPLICATION = 0x426F7753  # what `file` and we know the database by
BUSY = 5.0  # seconds that SQLite waits for another process

FIRST = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE operations (
    op INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, time REAL NOT NULL, nonce TEXT NOT NULL,
    seal BLOB NOT NULL
);
CREATE TABLE versions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    record TEXT NOT NULL, version INTEGER NOT NULL, op INTEGER NOT NULL, state TEXT NOT NULL, by TEXT,
    undone INTEGER NOT NULL, namespace TEXT NOT NULL, key TEXT, source TEXT, tags TEXT NOT NULL,
    time REAL NOT NULL, expires REAL, text TEXT, content BLOB NOT NULL,
    seal BLOB NOT NULL, vector BLOB, vector_check INTEGER,
    live INTEGER NOT NULL, touched INTEGER NOT NULL,
    UNIQUE (record, version)
);
CREATE UNIQUE INDEX live_record ON versions (record) WHERE live;
CREATE UNIQUE INDEX live_key ON versions (namespace, key) WHERE live AND key IS NOT NULL;
CREATE INDEX live_content ON versions (namespace, content) WHERE live;
CREATE INDEX live_source ON versions (source) WHERE live;
CREATE INDEX live_time ON versions (time) WHERE live;
CREATE INDEX by_op ON versions (op);
CREATE INDEX by_other ON versions (by) WHERE by IS NOT NULL;
CREATE INDEX by_touch ON versions (touched);
CREATE TABLE parts (
    seq INTEGER NOT NULL, name TEXT NOT NULL, form TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (seq, name)
);
CREATE TABLE tags (tag TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (tag, seq)) WITHOUT ROWID;
CREATE INDEX tags_back ON tags (seq);
CREATE TABLE links (
    record TEXT NOT NULL, other TEXT NOT NULL, similarity REAL NOT NULL, seal BLOB NOT NULL,
    PRIMARY KEY (record, other)
) WITHOUT ROWID;
CREATE INDEX links_back ON links (other);
CREATE VIEW live_texts AS SELECT seq, text FROM versions WHERE live AND text IS NOT NULL;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='live_texts', content_rowid='seq', tokenize='unicode61 remove_diacritics 2'
);
CREATE TRIGGER words_in AFTER INSERT ON versions WHEN new.live AND new.text IS NOT NULL BEGIN
    INSERT INTO words (rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER words_back AFTER UPDATE OF live ON versions
WHEN new.live AND NOT old.live AND new.text IS NOT NULL BEGIN
    INSERT INTO words (rowid, text) VALUES (new.seq, new.text);
END;
CREATE TRIGGER words_out AFTER UPDATE OF live ON versions
WHEN old.live AND NOT new.live AND old.text IS NOT NULL BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.seq, old.text);
END;
"""
MIGRATIONS = [FIRST]  # number i makes version i + 1 of version i; only ever append


def connect(folder: Path) -> sqlite3.Connection:
    """A connection to the store's database, which is made or brought to the newest version if need be.

    Raises:
        ValueError: a file of a newer version, or none of ours.
    """
    path = folder / FILE
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # the log takes over these permissions
    with explained(path):
        db = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        with explained(path):
            if application(db) not in (0, APPLICATION):
                raise ValueError(f"{path} belongs to another program; expected a store of memories")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA cell_size_check = ON")
            migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


def application(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA application_id").fetchone()[0])


def version_of(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Brings an older database to the newest version, all at once or not at all."""
    newest = len(MIGRATIONS)
    if (found := version_of(db)) > newest:
        raise ValueError(
            f"{path} has version {found}; this program knows versions up to {newest}. Use a newer Bowstring"
        )
    if found == newest:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[version_of(db) :]:  # once more: another process may have been first
            for statement in statements(script):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {newest}")
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise


def empty() -> sqlite3.Connection:
    """A database without records, in memory."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    for script in MIGRATIONS:
        for statement in statements(script):
            db.execute(statement)
    return db


def described(db: sqlite3.Connection) -> dict[str, tuple[str, str, str | None]]:
    """Kind, table and words of each table, index, view and trigger, by name."""
    rows = db.execute("SELECT name, type, tbl_name, sql FROM sqlite_master")
    return {str(name): (kind, table, sql) for name, kind, table, sql in rows}


def statements(script: str) -> Iterator[str]:
    """The statements of a script; `executescript` would commit between them."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def rollback(db: sqlite3.Connection) -> None:
    if db.in_transaction:
        db.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what SQLite says into the errors of the system and of values.

    Raises:
        TimeoutError: another process writes. OSError: the disk is full or fails. ValueError: the file is
        damaged.
    """
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.DatabaseError as error:
        raise _explanation(error, path) from error
    except UnicodeDecodeError as error:  # of what SQLite says, where it names damaged words
        raise ValueError(
            f"{path} is damaged: {error.object!r}; a copy or an export brings it back"
        ) from error


def _explanation(error: sqlite3.DatabaseError, path: Path) -> Exception:
    name = getattr(error, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TimeoutError(
            f"another process has been using {path} for {BUSY:g} s; try again when it is done"
        )
    if name.startswith("SQLITE_FULL"):
        return OSError(errno.ENOSPC, f"{path} cannot be written: the disk is full; nothing was changed")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return OSError(errno.EIO, f"{path} cannot be read or written: {error}; nothing was changed")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "malformed" in str(error):
        return ValueError(
            f"{path} is damaged: {error}; `verify` names the records, a copy or an export brings them back"
        )
    return error
