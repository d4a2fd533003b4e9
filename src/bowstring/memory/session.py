"""One process at the folder of a store: consistent views, transactions of the one writer, and cleaning up.

A transaction is on the disk when its block has ended. All that follows (a line in the journal, vectors in
segments) only copies it and is made up for whenever it was left out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..core.files import sync
from . import changes, journal, lock, schema
from .index import Index
from .segments import segment_files

REWRITING = ("erase", "compact", "reembed")  # operations after which files are cleaned


class Session:
    """
    Raises:
        ValueError: a newer version, or a damaged database. OSError: no access.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = prepared(folder)
        self.path = self.folder / schema.FILE
        self.db = schema.connect(self.folder)
        self.index = Index(self.folder)
        self.mutex = threading.RLock()
        self.wrote = False

    def close(self) -> None:
        """Leaves SQLite's log empty if nobody else uses it."""
        with self.mutex:
            if self.wrote:
                with suppress(TimeoutError, OSError), self._alone(0):
                    self._empty_log(0)
            self.wrote = False
            self.db.close()

    def recover(self) -> None:
        """Ends a cleaning that was interrupted."""
        with self.reading():
            unclean = changes.meta(self.db, "unclean")
        if unclean:
            with suppress(TimeoutError), self._alone():  # whoever writes just now cleans up, too
                self._clean()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One view for all that is read inside the block; blocks may lie in each other."""
        with self.mutex, schema.explained(self.path):
            if self.db.in_transaction:
                yield
                return
            self.db.execute("BEGIN")
            try:
                self._refresh()
                yield
            finally:
                schema.rollback(self.db)

    @contextmanager
    def writing(self, kind: str) -> Iterator[changes.Change]:
        """A transaction of the one writer; when it ends well it is on the disk, else nothing has happened.

        Raises:
            TimeoutError: another writes for too long. OSError: the disk is full or fails.
        """
        with self.mutex:
            if self.db.in_transaction:
                raise ValueError("a block of reading() is open; write after it")
            with self._alone():
                self.db.execute("BEGIN IMMEDIATE")
                try:
                    self._refresh()
                    change = changes.begin(self.db, kind, time.time())
                    yield change
                    self.db.execute("COMMIT")
                finally:
                    schema.rollback(self.db)
                self.wrote = True
                with suppress(OSError):
                    journal.acknowledge(self.folder, change.op, change.nonce, change.records)
                    self._settle()
                if kind in REWRITING:
                    self._clean()

    @contextmanager
    def verifying(self) -> Iterator[None]:
        """Keeps writers out, and lets what SQLite says about damage through."""
        with self.mutex, lock.one_writer(self.folder / "lock"):
            yield

    def rewrite(self, change: changes.Change, records: list[str]) -> list[str]:
        """Erases records and begins a new generation of segments, in a transaction that rewrites."""
        gone = changes.erase(change, records)
        changes.set_meta(self.db, "generation", changes.meta(self.db, "generation", 0) + 1)
        changes.set_meta(self.db, "unclean", True)
        return gone

    def embedder(self) -> dict[str, Any] | None:
        """Name, hash and width of what made the vectors."""
        return changes.meta(self.db, "embedder")

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    @contextmanager
    def _alone(self, patience: float | None = None) -> Iterator[None]:
        with lock.one_writer(self.folder / "lock", patience), schema.explained(self.path):
            yield

    def _refresh(self) -> None:
        op = self.db.execute("SELECT IFNULL(MAX(op), 0) FROM operations").fetchone()[0]
        width = (self.embedder() or {}).get("width", 0)
        self.index.refresh(self.db, changes.meta(self.db, "generation", 0), op, width)

    def _settle(self) -> None:
        """Brings the segments up to the database."""
        self.db.execute("BEGIN")
        try:
            self._refresh()
            self.index.settle(self.db)
        finally:
            schema.rollback(self.db)

    def _clean(self) -> None:
        """Removes what no longer belongs to the store from all files.

        Raises:
            TimeoutError: a reader holds the older state. Whoever opens the store next tries again.
        """
        generation = changes.meta(self.db, "generation", 0)
        for path in segment_files(self.folder):
            if int(path.stem.split("-")[1]) != generation:
                path.unlink(missing_ok=True)
        self._empty_log()
        self.db.execute("VACUUM")
        self._empty_log()
        self.db.execute("DELETE FROM meta WHERE name = 'unclean'")
        self._empty_log()

    def _empty_log(self, patience: float | None = None) -> None:
        """Moves all from SQLite's log into the database."""
        until = time.monotonic() + (lock.PATIENCE if patience is None else patience)
        while not self._log_emptied():
            if time.monotonic() > until:
                raise TimeoutError(
                    f"another process reads an older state of {self.folder}; erased bytes leave its log when "
                    "that ends and the store is opened or compacted again"
                )
            time.sleep(lock.PAUSE)
        journal.clear(self.folder)

    def _log_emptied(self) -> bool:
        """Whether no reader was in the way; SQLite's own patience would be one more."""
        self.db.execute("PRAGMA busy_timeout = 0")
        try:
            return not self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            self.db.execute(f"PRAGMA busy_timeout = {int(1000 * schema.BUSY)}")


def prepared(folder: Path) -> Path:
    """The folder of a store, made for its owner only.

    Raises:
        OSError: a file is there, or a folder of other things.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; expected a folder, or the name of a new one")
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)
        sync(folder.parent)  # its name must outlive a power loss as what is added to it does
    elif not any(folder.iterdir()):
        folder.chmod(0o700)
    elif not (folder / schema.FILE).exists():
        raise FileExistsError(f"{folder} holds other things; expected a store of memories or an empty folder")
    return folder
