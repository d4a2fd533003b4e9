"""ArrowStorage: a folder that remembers texts, vectors, pictures, voices, adapters and whatever it is given.

SQLite is the truth and is synced before a call returns; vectors lie beside it in segments that are mapped
into memory and only copy it. One writer at a time, any number of readers, each with a view that does not
change while it looks. Moving a store is moving its folder.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..core.options import flag, texts
from . import changes, exchange, find
from .doubles import link_doubles
from .reader import StoreReader, described
from .record import Embedder, Entry
from .where import condition

BATCH = 512  # texts that are embedded at once
Ids = list[str]


class ArrowStorage(StoreReader):
    """A durable memory with search by words and vectors.

    What `add` has returned is on the disk: it survives a killed process and a power loss. What was
    interrupted never becomes visible.

    >>> from tempfile import mkdtemp
    >>> with ArrowStorage(mkdtemp()) as storage:
    ...     id = storage.add("The fox lives behind the mill.", source="walk")
    ...     storage.search("where is the fox?")[0].memory.text
    'The fox lives behind the mill.'

    Args:
        folder: is made if it does not exist, for its owner only.
        embedder: makes vectors of texts; a store keeps to its first one.

    Raises:
        ValueError: another embedder's store, a newer version, or a damaged database. OSError: no access.
    """

    # -- writing

    def add(
        self,
        text: str | None = None,
        *,
        vector: Any = None,
        picture: Any = None,
        voice: Any = None,
        adapter: Any = None,
        payload: Any = None,
        namespace: str = "default",
        key: str | None = None,
        source: str | None = None,
        tags: Sequence[str] = (),
        time: Any = None,
        expires: Any = None,
    ) -> str:
        """Remembers one entry, and returns the id of its record. `Entry` says what the values may be.

        The same content, or the same namespace and key, makes a newer version of the record that is there.
        """
        entry = Entry(
            text, vector, picture, voice, adapter, payload, namespace, key, source, tags, time, expires
        )
        return self.add_many([entry])[0]

    def add_many(self, entries: Iterable[Entry | Mapping[str, Any] | str]) -> Ids:
        """Remembers entries in one transaction, all or none, and returns the id of each."""
        drafts = self._drafts([Entry.of(one) for one in entries])
        if not drafts:
            return []
        with self._session.writing("add") as change:
            self._settle_embedder([one.vector for one in drafts])
            written = [changes.add(change, draft) for draft in drafts]
            self._link_doubles(written, drafts)
            return [record for record, _ in written]

    def edit(self, id: str, **fields: Any) -> str:
        """Writes a newer version of a record with some fields of `Entry` changed; the old one is kept.

        A new text has a new vector: given, or made by the embedder; otherwise it has none.
        """
        if not fields:
            raise ValueError("nothing is changed; expected fields of an entry, for example text='...'")
        old = self.get(id)
        kept = {
            name: getattr(old, name)
            for name in ("text", "vector", "namespace", "key", "source", "tags", "expires")
        }
        if "text" in fields:
            kept["vector"] = None
        draft = self._drafts([Entry.of(kept | dict(old.parts) | fields)])[0]
        with self._session.writing("edit") as change:
            find.in_force(self._db, id)
            self._settle_embedder([draft.vector])
            written = changes.write(change, id, draft, draft.entry.key)
            self._link_doubles([written], [draft])
        return id

    def forget(
        self,
        id: str | Sequence[str] | None = None,
        *,
        source: str | None = None,
        where: Mapping[str, Any] | None = None,
        erase: bool = False,
    ) -> Ids:
        """Forgets records by id, source or filter, and returns their ids. `undo` brings them back, unless
        `erase` was given.

        Args:
            erase: removes every version of these records, and of those that they superseded, from every
                file; that cannot be undone. A filter then means versions that are no longer in force, too.
                Blocks of the disk that files lay in are beyond reach, as are copies and exports.

        Raises:
            ValueError: no such id, or nothing says what is meant.
        """
        wanted = None if id is None else texts(id, "id")
        where = dict(where or {}) | ({} if source is None else {"source": source})
        if wanted is None and not where:
            raise ValueError("nothing says what to forget; expected an id, a source or a filter")
        erase = flag(erase, "erase")
        condition(where)
        with self._session.writing("erase" if erase else "forget") as change:
            records = find.meant(self._db, wanted, where, "1" if erase else "live")
            if erase:
                return self._session.rewrite(change, records)
            for record in records:
                changes.end(change, record, "forgotten")
        return records

    def undo(self, id: str | None = None) -> Ids:
        """Takes back the last operation, or the last one on a record, and returns the ids it concerned.

        Each call goes one step further back. What was taken back stays in `history`.

        Raises:
            ValueError: there is nothing to take back.
        """
        with self._session.writing("undo") as change:
            row = self._db.execute(
                "SELECT MAX(op) FROM versions WHERE NOT undone AND (? IS NULL OR record = ?)", (id, id)
            ).fetchone()
            if row[0] is None:
                raise ValueError("there is nothing to undo" + (f" for {id}" if id else ""))
            return changes.undo(change, row[0], id)

    def compact(self) -> dict[str, int]:
        """Erases what has expired, writes segments and the index of words anew, and gives space back."""
        before = self._session.bytes()
        with self._session.writing("compact") as change:
            rows = self._db.execute("SELECT record FROM versions WHERE live AND expires <= ?", (time.time(),))
            gone = self._session.rewrite(change, [record for (record,) in rows.fetchall()])
        return {"expired": len(gone), "bytes_before": before, "bytes": self._session.bytes()}

    @classmethod
    def reembedded(cls, folder: Path | str, embedder: Embedder) -> Self:
        """The store in a folder with vectors of another embedder; if this is interrupted, call it again.

        Meanwhile memories whose vector is not made yet are found by their words.

        Raises:
            ValueError: memories that have a vector and no text, of which none can be made.
        """
        with cls(folder) as store:
            if store._session.embedder() not in (None, embedder.identity):
                store._drop_vectors(embedder)
        store = cls(folder, embedder)
        store.embed()
        return store

    def _drop_vectors(self, embedder: Embedder) -> None:
        with self._session.writing("reembed") as change:
            only = "FROM versions WHERE vector IS NOT NULL AND text IS NULL AND live"
            if bare := self._db.execute(f"SELECT COUNT(*) {only}").fetchone()[0]:
                raise ValueError(
                    f"{bare} memories have a vector and no text, of which {embedder.name} can make none; "
                    "export and forget them first"
                )
            rows = self._db.execute("SELECT seq FROM versions WHERE vector IS NOT NULL").fetchall()
            for (seq,) in rows:
                self._db.execute(
                    "UPDATE versions SET vector = NULL, vector_check = NULL, touched = ? WHERE seq = ?",
                    (change.op, seq),
                )
                changes.reseal(self._db, seq)
            self._db.execute("DELETE FROM links")
            changes.set_meta(self._db, "embedder", embedder.identity)
            self._session.rewrite(change, [])

    def embed(self) -> int:
        """Makes the vectors that texts in force lack, and returns how many; may be interrupted."""
        if self.embedder is None:
            raise ValueError("there is no embedder; open the store with one")
        made = 0
        query = "SELECT seq, text FROM versions WHERE live AND text IS NOT NULL AND vector IS NULL LIMIT ?"
        while rows := self._rows(query, BATCH):
            vectors = self.embedder([words for _, words in rows])
            with self._session.writing("embed") as change:
                self._settle_embedder([*vectors])
                for (seq, _), vector in zip(rows, vectors, strict=True):
                    self._db.execute(
                        "UPDATE versions SET vector = ?, vector_check = ?, touched = ? WHERE seq = ?",
                        (data := vector.tobytes(), zlib.crc32(data), change.op, seq),
                    )
                    changes.reseal(self._db, seq)
            made += len(rows)
        return made

    def load(self, path: Path | str) -> Ids:
        """Remembers all of a file that `export` wrote, with ids and times, and returns the ids.

        A record that is there gets a newer version, unless it is the same.

        Raises:
            ValueError: no such file, or vectors of another embedder.
        """
        embedder, found = exchange.read(path)
        items = [*found]
        if any(entry.vector is not None for _, entry in items):
            self._refuse_other(embedder)
            self._refuse_mixture(path, embedder)
        drafts = self._drafts([entry for _, entry in items])
        with self._session.writing("load") as change:
            self._settle_embedder([one.vector for one in drafts], embedder)
            for (record, _), draft in zip(items, drafts, strict=True):
                if not self._same(record, draft):
                    changes.write(change, record, draft, draft.entry.key)
        return [record for record, _ in items]

    # -- inside

    def _refuse_mixture(self, path: Path | str, embedder: dict[str, Any] | None) -> None:
        """
        Raises:
            ValueError: a file's vectors and those that are here cannot be compared.
        """
        there = self._session.embedder()
        if there is not None and embedder is not None and there != embedder:
            raise ValueError(
                f"{path} holds vectors of {described(embedder)}; {self.folder} has {described(there)}. "
                "Load it into a store of its own"
            )

    def _settle_embedder(
        self, vectors: Sequence[np.ndarray | None], given: dict[str, Any] | None = None
    ) -> None:
        """Keeps the store to one kind of vectors; the first one decides."""
        widths = {one.size for one in vectors if one is not None}
        if not widths:
            return
        there = self._session.embedder()
        if there is None:
            fresh = given or (self.embedder and self.embedder.identity)
            there = fresh or {"name": None, "hash": None, "width": min(widths)}
            changes.set_meta(self._db, "embedder", there)
        self._refuse_other(there)
        if wrong := widths - {there["width"]}:
            raise ValueError(f"a vector has {min(wrong)} numbers; expected {there['width']} as in this store")

    def _drafts(self, entries: Sequence[Entry]) -> Sequence[changes.Draft]:
        """Entries with their parts as bytes, and with vectors where there is an embedder."""
        lacking = [i for i, one in enumerate(entries) if one.vector is None and one.text is not None]
        made: dict[int, np.ndarray] = {}
        if self.embedder is not None:
            for start in range(0, len(lacking), BATCH):
                some = lacking[start : start + BATCH]
                made.update(zip(some, self.embedder([entries[i].text or "" for i in some]), strict=True))
        return [
            changes.Draft(one, one.parts(), one.vector if one.vector is not None else made.get(i))
            for i, one in enumerate(entries)
        ]

    def _link_doubles(self, written: Sequence[tuple[str, int]], drafts: Sequence[changes.Draft]) -> None:
        if self.embedder is not None and self.embedder.near is not None:
            link_doubles(self._db, self._index, self.embedder.near, written, drafts)

    def _same(self, record: str, draft: changes.Draft) -> bool:
        entry = draft.entry
        row = self._db.execute(
            "SELECT content, namespace, key, source, tags FROM versions WHERE live AND record = ?", (record,)
        ).fetchone()
        return row == (draft.content, entry.namespace, entry.key, entry.source, json.dumps(entry.tags))
