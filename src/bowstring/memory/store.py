"""ArrowStorage: a folder that remembers texts, vectors, pictures, voices, adapters and whatever it is given.

SQLite is the truth and is synced before a call returns; vectors lie beside it in segments that are mapped
into memory and only copy it. One writer at a time, any number of readers, each with a view that does not
change while it looks. Moving a store is moving its folder.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import as_path
from ..core.options import flag, shown, text, texts, whole
from . import changes, check, exchange, find, schema
from .doubles import link_doubles
from .record import Embedder, Entry, Hit, Hits, Memory, as_vector
from .session import Session
from .where import condition

DEPTH = 50  # hits of each search that are fused, at least
BATCH = 512  # texts that are embedded at once
COUNTED = {
    "records": "versions WHERE live",
    "versions": "versions",
    "vectors": "versions WHERE live AND vector IS NOT NULL",
    "links": "links",
    "operations": "operations",
}
Ids = list[str]
Memories = list[Memory]


class ArrowStorage:
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

    def __init__(self, folder: Path | str, embedder: Embedder | None = None) -> None:
        if embedder is not None and not isinstance(embedder, Embedder):
            raise TypeError(f"embedder is {shown(embedder)}; expected an Embedder")
        self.embedder = embedder
        self._session = Session(as_path(folder))
        self._db, self._index = self._session.db, self._session.index
        try:
            with self.reading():
                self._refuse_other(self._session.embedder())
            self._session.recover()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> ArrowStorage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        return self._session.folder

    def close(self) -> None:
        """Ends the use of the folder; what was added is safe without it."""
        self._session.close()

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

    # -- reading

    @contextmanager
    def reading(self) -> Iterator[ArrowStorage]:
        """One view for all that is read inside the block: nothing of what others write meanwhile is seen."""
        with self._session.reading():
            yield self

    def get(self, id: str, version: int | None = None) -> Memory:
        """A memory with its vector and parts; an older version of it by its number.

        Raises:
            ValueError: there is none, or it is damaged.
        """
        with self.reading():
            if version is None:
                return find.memory(self._db, find.in_force(self._db, text(id, "id")))
            row = self._db.execute(
                "SELECT seq FROM versions WHERE record = ? AND version = ?",
                (text(id, "id"), whole(version, "version", 1)),
            ).fetchone()
            if row is None:
                raise ValueError(f"no memory {id!r} has a version {version}; `history` lists them")
            return find.memory(self._db, row[0])

    def history(self, id: str) -> Memories:
        """All versions of a record, the oldest first, also of a forgotten one.

        Raises:
            ValueError: there is none.
        """
        with self.reading():
            rows = self._db.execute(
                "SELECT seq FROM versions WHERE record = ? ORDER BY version", (text(id, "id"),)
            ).fetchall()
            if not rows:
                raise ValueError(f"no memory has the id {shown(id)}; `list` shows all")
            return find.memories(self._db, [seq for (seq,) in rows])

    def list(
        self, where: Mapping[str, Any] | None = None, limit: int | None = None, offset: int = 0
    ) -> Memories:
        """Memories in force, the newest first, without the values of their parts."""
        limit = -1 if limit is None else whole(limit, "limit", 0)
        condition(where)
        with self.reading():
            rows = find.listed(self._db, where, limit, whole(offset, "offset", 0))
            return find.memories(self._db, [seq for seq, _ in rows], with_parts=False)

    def search(
        self,
        query: Any,
        top_k: int = 5,
        where: Mapping[str, Any] | None = None,
        *,
        vector: Any = None,
        exact: bool = False,
    ) -> Hits:
        """The memories that fit best, the best first.

        A text is looked for by its words (BM25), and by its vector if there is an embedder or `vector` is
        given; both lists are fused by reciprocal rank. A query of numbers is looked for by cosine alone.
        The filter is applied inside: as many hits come as there are, up to `top_k`.

        Args:
            where: see `bowstring.memory.where`; {"namespace": "work", "tags": ["todo"]} for example.
            exact: finds the set that FP64 finds on all vectors; otherwise about one of 200 of the nearest
                is missed, in a fifth of the time.

        Raises:
            TypeError, ValueError: a query of neither kind or of another width, or an unknown filter.
        """
        top_k, exact = whole(top_k, "top_k", 1), flag(exact, "exact")
        condition(where)
        notes: tuple[str, ...] = ()
        words: str | None = None
        if isinstance(query, str):
            words = text(query, "query")
            if vector is None and self.embedder is not None:
                vector = self.embedder([words])[0]
            elif vector is None:
                notes = ("found by words only: the store was opened without an embedder",)
        else:
            vector = query
        vector = None if vector is None else as_vector(vector, "query")
        depth = top_k if words is None or vector is None else max(DEPTH, 4 * top_k)
        db, index = self._db, self._index
        with self.reading():
            near = {} if vector is None else find.by_vector(db, index, vector, depth, where, exact=exact)
            said = {} if words is None else find.by_words(db, words, depth, where)
            scores = find.fused(near, said) if near and said else near or said
            best = sorted(scores, key=lambda seq: (-scores[seq], -seq))[:top_k]
            hits = [
                Hit(memory, scores[one], near.get(one), said.get(one))
                for one, memory in zip(best, find.memories(db, best), strict=True)
            ]
        return Hits(hits, notes)

    def stats(self) -> dict[str, Any]:
        """Counts, sizes, the embedder and the versions of what is there."""
        with self.reading():
            counts = {
                name: self._db.execute(f"SELECT COUNT(*) FROM {what}").fetchone()[0]
                for name, what in COUNTED.items()
            }
            spaces = "SELECT namespace, COUNT(*) FROM versions WHERE live GROUP BY namespace ORDER BY 1"
            return {
                **counts,
                "namespaces": dict(self._db.execute(spaces).fetchall()),
                "embedder": self._session.embedder(),
                "schema": schema.version_of(self._db),
                "bytes": self._session.bytes(),
                **self._index.counts(),
            }

    def verify(self) -> Sequence[check.Fault]:
        """Reads everything, and returns what is damaged; an empty list says that all is as it was written."""
        with self._session.verifying():
            return [*check.faults(self._db, self.folder)]

    def export(self, path: Path | str, where: Mapping[str, Any] | None = None) -> int:
        """Writes the memories in force to a file, .jsonl or .parquet, and returns how many."""
        with self.reading():
            seqs = [seq for seq, _ in find.listed(self._db, where, -1, 0)]
            memories = (find.memory(self._db, seq) for seq in reversed(seqs))
            return exchange.write(path, memories, self._session.embedder())

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

    def known(self, entry: Entry | Mapping[str, Any] | str) -> str | None:
        """The id of the memory that has the same content in the same namespace, if there is one."""
        made = Entry.of(entry)
        content = changes.Draft(made, made.parts(), made.vector).content
        with self.reading():
            row = self._db.execute(
                "SELECT record FROM versions WHERE live AND namespace = ? AND content = ?",
                (made.namespace, content),
            ).fetchone()
            return row and row[0]

    def resolve(self, id: str) -> str:
        """The id that begins so, also of a forgotten record.

        Raises:
            ValueError: none does, or several.
        """
        given = text(id, "id", blank=False)
        query = "SELECT DISTINCT record FROM versions WHERE substr(record, 1, ?) = ? LIMIT 2"
        found = self._rows(query, len(given), given)
        if len(found) != 1:
            raise ValueError(
                f"{'several memories have' if found else 'no memory has'} an id that begins with {given!r}"
            )
        return str(found[0][0])

    # -- inside

    def _refuse_other(self, there: dict[str, Any] | None) -> None:
        """
        Raises:
            ValueError: vectors of the store and of the embedder cannot be compared.
        """
        mine = None if self.embedder is None else self.embedder.identity
        if there is not None and mine is not None and there != mine:
            raise ValueError(
                f"{self.folder} holds vectors of {described(there)}; this is {described(mine)}. "
                "Open it with that one, or make a new store"
            )

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

    def _rows(self, query: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        with self.reading():
            return self._db.execute(query, values).fetchall()

    def _same(self, record: str, draft: changes.Draft) -> bool:
        entry = draft.entry
        row = self._db.execute(
            "SELECT content, namespace, key, source, tags FROM versions WHERE live AND record = ?", (record,)
        ).fetchone()
        return row == (draft.content, entry.namespace, entry.key, entry.source, json.dumps(entry.tags))


def described(embedder: Mapping[str, Any]) -> str:
    if embedder["name"] is None:
        return f"vectors of {embedder['width']} numbers that were given without an embedder"
    return f"the embedder {embedder['name']} ({embedder['hash'] or 'no hash'}, {embedder['width']} numbers)"
