"""Reading memories: one view for all that is read, search, history, checks and export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..core.files import as_path
from ..core.options import flag, shown, text, whole
from . import changes, check, exchange, find, hopfield, schema
from .hopfield import Retrieved
from .record import Embedder, Entry, Hit, Hits, Memory, as_vector
from .session import Session
from .where import condition

DEPTH = 50  # hits of each search that are fused, at least
CANDIDATES = 64  # memories among which a query is retrieved
COUNTED = {
    "records": "versions WHERE live",
    "versions": "versions",
    "vectors": "versions WHERE live AND vector IS NOT NULL",
    "links": "links",
    "operations": "operations",
}
Memories = list[Memory]


class StoreReader:
    """A store that is read; see `ArrowStorage`."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        return self._session.folder

    def close(self) -> None:
        """Ends the use of the folder; what was added is safe without it."""
        self._session.close()

    @contextmanager
    def reading(self) -> Iterator[Self]:
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

    def search_many(
        self,
        queries: Sequence[str] | np.ndarray,
        top_k: int = 5,
        where: Mapping[str, Any] | None = None,
        *,
        exact: bool = False,
    ) -> Sequence[Hits]:
        """`search` of several texts, or of vectors `(n, d)`, in one view; texts are embedded together."""
        given = [*queries]
        words = [one for one in given if isinstance(one, str)]
        made = iter(self.embedder(words) if self.embedder is not None and words else ())
        with self.reading():
            return [
                self.search(
                    one, top_k, where, vector=next(made, None) if isinstance(one, str) else None, exact=exact
                )
                for one in given
            ]

    def retrieve(
        self,
        query: Any,
        beta: float,
        top_k: int = CANDIDATES,
        where: Mapping[str, Any] | None = None,
        *,
        steps: int = hopfield.STEPS,
    ) -> tuple[Hits, Retrieved | None]:
        """Modern Hopfield retrieval among the `top_k` memories nearest to a query, with their weights.

        Returns:
            the memories with their weights as scores, the largest first, and what `hopfield.retrieve` found,
            its weights in the same order; None where no memory has a vector.

        Raises:
            TypeError, ValueError: as `search`, or a text without an embedder.
        """
        if isinstance(query, str):
            if self.embedder is None:
                raise ValueError("a text is retrieved by its vector; open the store with an embedder")
            query = self.embedder([text(query, "query")])[0]
        hits = self.search(as_vector(query, "query"), top_k, where)
        if not hits:
            return hits, None
        patterns = np.array([hit.memory.vector for hit in hits], np.float64)
        patterns /= np.linalg.norm(patterns, axis=1, keepdims=True)
        start = np.asarray(query, np.float64)
        found = hopfield.retrieve(patterns, start / np.linalg.norm(start), beta, steps)
        order = np.argsort(-found.weights, kind="stable")
        weighed = [replace(hits[i], score=float(found.weights[i])) for i in order]
        return Hits(weighed), replace(found, weights=found.weights[order])

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

    def _rows(self, query: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        with self.reading():
            return self._db.execute(query, values).fetchall()


def described(embedder: Mapping[str, Any]) -> str:
    if embedder["name"] is None:
        return f"vectors of {embedder['width']} numbers that were given without an embedder"
    return f"the embedder {embedder['name']} ({embedder['hash'] or 'no hash'}, {embedder['width']} numbers)"
