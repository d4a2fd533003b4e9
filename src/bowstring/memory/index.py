"""What a process knows of the vectors of a store: which rows lie where, and which of them are in force.

The database is the truth. `refresh` reads what has changed since the last time; vectors that no segment holds
yet, or holds damaged, are read from the database and kept in memory until a writer calls `settle`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .search import Vectors
from .segments import Rows, Segment, next_room, padded, segment_path, unit

SPARSE = 0.05  # below this share of the rows the few are gathered; above it all are scanned
SPARE = 16  # hits beyond the wanted ones that a scan with a filter begins with
KNOWN = np.dtype([("live", "?"), ("held", "?"), ("check", "u4"), ("expires", "f8")])
READ = 500  # vectors that one statement reads


@dataclass
class Shard:
    """Rows of one file, or of memory. seqs has 0 where a row is to be passed over."""

    segment: Segment | None
    seqs: np.ndarray
    vectors: Vectors | None


class Index:
    """Rows of all segments, and for each version whether it is in force."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reset(-1)

    def reset(self, generation: int) -> None:
        """Knows nothing any more, since segments have been rewritten."""
        self.generation, self.op, self.width = generation, -1, 0
        self.known = np.zeros(1, KNOWN)  # by seq
        self.shards: list[Shard] = []
        self.tail: Rows | None = None
        self.faults: list[str] = []
        self.expiring = False
        self.chosen: dict[object, np.ndarray] = {}  # filters, as masks by seq, since the last change

    def refresh(self, db: sqlite3.Connection, generation: int, op: int, width: int) -> None:
        """Brings everything up to the state that `db` sees."""
        if generation != self.generation or op < self.op:
            self.reset(generation)
        if op == self.op:
            return
        changed = db.execute(
            "SELECT seq, vector_check, live, expires FROM versions "
            "WHERE touched > ? AND vector_check IS NOT NULL",
            (self.op,),
        ).fetchall()
        self.op, self.width = op, width
        self.chosen.clear()
        if changed:
            self._note(np.array([(*row[:3], np.inf if row[3] is None else row[3]) for row in changed], float))
        if width:
            self._map()
            self._hold(db)

    def settle(self, db: sqlite3.Connection) -> None:
        """Writes the rows that no segment holds into segments; for the one writer.

        Raises:
            OSError: the disk is full. The rows stay in memory.
        """
        while self.tail is not None:
            shard = self.shards[-1] if self.shards else None
            if shard is None or shard.segment is None or len(shard.seqs) == shard.segment.room:
                have = sum(len(one.seqs) for one in self.shards)
                room = next_room(max(have, len(self.tail)))
                number = len(self.shards)
                segment = Segment.create(self.folder, self.generation, number, self.width, room)
                shard = Shard(segment, np.zeros(0, np.int64), None)
                self.shards.append(shard)
            assert shard.segment is not None
            start = len(shard.seqs)
            shard.segment.append(self.tail.part(0, shard.segment.room - start), start)
            self._map()
            self._hold(db)

    def nearest(
        self, query: np.ndarray, wanted: int, chosen: np.ndarray, candidates: int = 0
    ) -> list[tuple[int, float]]:
        """The `wanted` versions among the chosen ones (a mask by seq) whose vectors have the largest cosine
        with `query`, the largest first, as (seq, cosine). Exact, unless candidates are given."""
        if not self.width:  # nothing has a vector yet
            return []
        wide = np.zeros(padded(self.width), np.float32)
        wide[: self.width] = unit(query[None])[0]
        found = [
            hit
            for seqs, vectors in self.everywhere()
            for hit in nearest_rows(seqs, vectors, wide, wanted, chosen, candidates)
        ]
        return sorted(found, key=lambda hit: (-hit[1], -hit[0]))[:wanted]

    def in_force(self, now: float) -> np.ndarray:
        """A mask by seq: what is live and has not expired."""
        return self.known["live"] & (self.known["expires"] > now) if self.expiring else self.known["live"]

    def mask(self, seqs: list[int]) -> np.ndarray:
        """A mask by seq of some versions."""
        made = np.zeros(len(self.known), bool)
        made[[seq for seq in seqs if seq < len(made)]] = True
        return made

    def counts(self) -> dict[str, int]:
        """Rows in segments and rows that wait for one."""
        return {
            "segments": sum(one.segment is not None for one in self.shards),
            "segment_rows": sum(int((one.seqs > 0).sum()) for one in self.shards),
            "waiting": 0 if self.tail is None else len(self.tail),
        }

    def everywhere(self) -> list[tuple[np.ndarray, Vectors]]:
        """All rows, as (seqs, vectors) of each file and of memory; seq 0 is no row."""
        found = [(one.seqs, one.vectors) for one in self.shards if one.vectors is not None]
        return found + ([] if self.tail is None else [(self.tail.seqs, self.tail.vectors)])

    def _note(self, changed: np.ndarray) -> None:
        """Takes over (seq, check, live, expires)."""
        seqs = changed[:, 0].astype(np.int64)
        if seqs.max() >= len(self.known):
            self.known = np.concatenate(
                [self.known, np.zeros(max(int(seqs.max()) + 1, 2 * len(self.known)) - len(self.known), KNOWN)]
            )
        self.known["check"][seqs] = changed[:, 1].astype(np.uint32)
        self.known["live"][seqs] = changed[:, 2] > 0
        self.known["expires"][seqs] = changed[:, 3]
        self.expiring |= bool(np.isfinite(changed[:, 3]).any())

    def _map(self) -> None:
        """Takes over rows that segments have gained."""
        for number, shard in enumerate(self.shards):
            if shard.segment is not None and len(shard.seqs) < shard.segment.room:
                self._gain(number)
        while (path := segment_path(self.folder, self.generation, len(self.shards))).exists():
            number = len(self.shards)
            try:
                segment = Segment.open(path, self.generation, number, self.width)
            except (OSError, ValueError) as fault:
                self.faults.append(str(fault))
                self.shards.append(Shard(None, np.zeros(0, np.int64), None))
                continue
            self.shards.append(Shard(segment, np.zeros(0, np.int64), None))
            self._gain(number)

    def _gain(self, number: int) -> None:
        """Checks new rows of a segment; those that are damaged, unknown or held already are passed over."""
        shard = self.shards[number]
        assert shard.segment is not None
        start, end = len(shard.seqs), shard.segment.used()
        if start == end:
            return
        rows = shard.segment.rows(start, end)
        whole = rows.checks() == shard.segment.arrays["checks"][start:end]
        seqs = np.where(whole & (rows.seqs > 0) & (rows.seqs < len(self.known)), rows.seqs, 0)
        seqs[(self.known["check"][seqs] != rows.sources) | self.known["held"][seqs]] = 0
        seqs[np.setdiff1d(np.arange(len(seqs)), np.unique(seqs, return_index=True)[1])] = 0
        self.known["held"][seqs[seqs > 0]] = True
        self.faults += [
            f"{shard.segment.path.name} is damaged in row {start + i}" for i in np.flatnonzero(~whole)
        ]
        shard.seqs = np.concatenate([shard.seqs, seqs])
        shard.vectors = shard.segment.rows(0, end).vectors

    def _hold(self, db: sqlite3.Connection) -> None:
        """Reads vectors that are in force and in no segment."""
        missing = np.flatnonzero(self.known["live"] & ~self.known["held"]).tolist()
        found: list[tuple[int, bytes]] = []
        for i in range(0, len(missing), READ):
            some = missing[i : i + READ]
            marks = ",".join("?" * len(some))
            found += db.execute(f"SELECT seq, vector FROM versions WHERE seq IN ({marks})", some).fetchall()
        size = 4 * self.width
        found = [(seq, data) for seq, data in found if data is not None and len(data) == size]
        self.tail = None
        if found:
            seqs = np.array([seq for seq, _ in found])
            raw = np.frombuffer(b"".join(data for _, data in found), np.float32).reshape(-1, self.width)
            self.tail = Rows.of(seqs, self.known["check"][seqs], raw)


def nearest_rows(
    seqs: np.ndarray, vectors: Vectors, query: np.ndarray, wanted: int, chosen: np.ndarray, candidates: int
) -> list[tuple[int, float]]:
    """`Index.nearest` among the rows of one shard."""
    allowed = chosen[seqs]
    few = int(allowed.sum())
    if not few:
        return []
    if few < SPARSE * len(seqs):
        rows = np.flatnonzero(allowed)
        similar = vectors.exact[rows] @ query.astype(np.float64)
        best = np.argsort(-similar, kind="stable")[:wanted]
        return [*zip(seqs[rows[best]].tolist(), similar[best].tolist(), strict=True)]
    many = wanted if few == len(seqs) else SPARE + wanted * len(seqs) // few
    while True:  # the first of all rows that are allowed are the first of the allowed rows
        many = min(many, len(seqs))
        places, similarity = vectors.top(
            query, many, min(max(candidates, many), len(seqs)) if candidates else 0
        )
        kept = allowed[places]
        if kept.sum() >= min(wanted, few) or many == len(seqs):
            found = seqs[places[kept]][:wanted].tolist()
            return [*zip(found, similarity[kept][:wanted].tolist(), strict=True)]
        many *= 4
