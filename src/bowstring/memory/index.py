"""What a process knows of the vectors of a store: which rows lie where, and which of them are in force.

The database is the truth. `refresh` reads what has changed since the last time; vectors that no segment holds
yet, or holds damaged, are read from the database and kept in memory until a writer calls `settle`.
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .masks import Mask, Shard, Tail
from .search import MARGIN
from .segments import Segment, centre_of, next_room, padded, segment_path, wide_unit

KNOWN = np.dtype([("live", "?"), ("check", "u4"), ("expires", "f8"), ("place", "i4", 2)])
READ = 500  # vectors that one statement reads
FILTERS = 16  # whose versions are kept in mind
CENTRED = 2048  # vectors whose mean is a new segment's centre


class Index:
    """Rows of all segments, and for each version whether it is in force."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reset(-1)

    def reset(self, generation: int) -> None:
        """Knows nothing any more, since segments have been rewritten."""
        self.generation, self.op, self.width = generation, -1, 0
        self.known = np.zeros(1, KNOWN)  # by seq; place: number of the segment + 1, and row
        self.segments: list[Segment | None] = []
        self.shards: list[Shard] = []
        self.tail: Tail | None = None
        self.waiting = np.zeros(0, np.int64)  # versions that may have no row yet
        self.faults: list[str] = []
        self.soonest = math.inf  # when the next version expires
        self.live = Mask(np.zeros(1, bool), [])
        self.filters: dict[object, Mask] = {}

    def refresh(self, db: sqlite3.Connection, generation: int, op: int, width: int) -> None:
        """Brings everything up to the state that `db` sees."""
        if generation != self.generation or op < self.op:
            self.reset(generation)
        if op == self.op:
            return
        changed = db.execute(
            "SELECT seq, vector_check, live, IFNULL(expires, 9e999) FROM versions "
            "WHERE touched > ? AND vector_check IS NOT NULL",
            (self.op,),
        ).fetchall()
        self.op, self.width = op, width
        if changed:
            self._note(np.array(changed, float))
        if width:
            self._map()
            self._hold(db)

    def settle(self, db: sqlite3.Connection) -> None:
        """Writes the rows that no segment holds into segments; for the one writer.

        Raises:
            OSError: the disk is full. The rows stay in memory.
        """
        while (tail := self.tail) is not None:
            segment = self.segments[-1] if self.segments else None
            if segment is None or len(self.shards[-1].seqs) == segment.room:
                segment = self._new_segment(tail)
            start = len(self.shards[-1].seqs)
            some = slice(0, segment.room - start)
            segment.append(tail.seqs[some], tail.sources[some], tail.raw[some], start)
            self._map()
            self._hold(db)

    def nearest(
        self,
        query: np.ndarray,
        wanted: int,
        mask: Mask,
        *,
        exact: bool = False,
        least: float = -math.inf,
        margin: float = MARGIN,
    ) -> list[tuple[int, float]]:
        """The `wanted` versions of a mask whose vectors have the largest cosine with `query`, the largest
        first, as (seq, cosine); see `Shards.nearest`."""
        shards, seqs = mask.places(self.shards, self.tail)
        if shards is None:
            return []
        found = shards.nearest(self.unit(query), wanted, exact=exact, least=least, margin=margin)
        hits = [
            (int(seqs[shard][row]), cosine)
            for shard, row, cosine in zip(*(part.tolist() for part in found), strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit[1], -hit[0]))

    def unit(self, query: np.ndarray) -> np.ndarray:
        """A query of length 1, as rows are."""
        wide = np.zeros(padded(self.width), np.float32)
        length = math.sqrt(float(np.dot(query.astype(np.float64), query)))
        wide[: self.width] = query / length
        return wide

    def in_force(self) -> Mask:
        """What is live and has not expired."""
        if time.time() >= self.soonest:
            self._expire()
        return self.live

    def filtered(self, name: object, ask: Callable[[int], list[tuple[int, int]]]) -> Mask:
        """Versions that a filter means. ask: (seq, meant) of versions touched after an operation."""
        self.in_force()
        mask = self.filters.get(name)
        if mask is None:
            while len(self.filters) >= FILTERS:
                del self.filters[next(iter(self.filters))]
            rows = np.array(ask(-1), np.int64).reshape(-1, 2)
            by_seq = np.zeros(len(self.known), bool)
            rows = rows[rows[:, 0] < len(by_seq)]
            by_seq[rows[:, 0]] = rows[:, 1] > 0
            mask = self.filters[name] = Mask(by_seq, self.shards)
        elif mask.op < self.op:
            rows = np.array(ask(mask.op), np.int64).reshape(-1, 2)
            rows = rows[rows[:, 0] < len(self.known)]
            mask.change(rows[:, 0], rows[:, 1] > 0, self.known["place"][rows[:, 0]])
        mask.op = self.op
        return mask

    def counts(self) -> dict[str, int]:
        """Rows in segments and rows that wait for one."""
        return {
            "segments": sum(one is not None for one in self.segments),
            "segment_rows": sum(int((one.seqs > 0).sum()) for one in self.shards),
            "waiting": 0 if self.tail is None else len(self.tail),
        }

    # -- inside

    def _masks(self) -> list[Mask]:
        return [self.live, *self.filters.values()]

    def _note(self, changed: np.ndarray) -> None:
        """Takes over (seq, check, live, expires)."""
        seqs = changed[:, 0].astype(np.int64)
        if seqs.max() >= len(self.known):
            grown = max(int(seqs.max()) + 1, 2 * len(self.known))
            self.known = np.concatenate([self.known, np.zeros(grown - len(self.known), KNOWN)])
        live = changed[:, 2] > 0
        self.known["check"][seqs] = changed[:, 1].astype(np.uint32)
        self.known["live"][seqs] = live
        self.known["expires"][seqs] = changed[:, 3]
        if live.any():
            self.soonest = min(self.soonest, float(changed[live, 3].min()))
        self.live.change(seqs, live, self.known["place"][seqs])
        self.waiting = np.union1d(self.waiting, seqs)

    def _expire(self) -> None:
        """Takes out what has expired."""
        now = time.time()
        self.live = Mask(self.known["live"] & (self.known["expires"] > now), self.shards)
        left = self.known["expires"][self.live.by_seq]
        self.soonest = float(left.min()) if len(left) else math.inf
        self.filters.clear()

    def _new_segment(self, tail: Tail) -> Segment:
        have = sum(len(one.seqs) for one in self.shards)
        room, number = next_room(max(have, len(tail))), len(self.shards)
        centre = centre_of(self._some(tail))
        segment = Segment.create(self.folder, self.generation, number, self.width, room, centre)
        self._add(segment, room)
        return segment

    def _some(self, tail: Tail) -> np.ndarray:
        """Vectors from everywhere, of length 1."""
        some = [one.vectors.exact[:: 1 + len(one.vectors.exact) * len(self.shards) // CENTRED]
                for one in self.shards if one.vectors is not None]  # fmt: skip
        some.append(wide_unit(tail.raw[:: 1 + len(tail) // CENTRED]))
        rows = np.concatenate(some)
        return rows[rows.any(1)]

    def _add(self, segment: Segment | None, room: int) -> None:
        self.segments.append(segment)
        self.shards.append(Shard(room, np.zeros(0, np.int64)))
        for mask in self._masks():
            mask.add_shard(room)

    def _map(self) -> None:
        """Takes over rows that segments have gained."""
        for number, segment in enumerate(self.segments):
            if segment is not None and len(self.shards[number].seqs) < segment.room:
                self._gain(number, segment)
        while (path := segment_path(self.folder, self.generation, len(self.segments))).exists():
            number = len(self.segments)
            try:
                segment = Segment.open(path, self.generation, number, self.width)
            except (OSError, ValueError) as fault:
                self.faults.append(str(fault))
                self._add(None, 0)
                continue
            self._add(segment, segment.room)
            self._gain(number, segment)

    def _gain(self, number: int, segment: Segment) -> None:
        """Checks new rows of a segment; those that are damaged, unknown or held already are passed over."""
        shard = self.shards[number]
        start = len(shard.seqs)
        end = segment.used(start)
        if start == end:
            return
        rows = segment.rows(start, end)
        whole = rows.checks() == segment.arrays["checks"][start:end]
        seqs = np.where(whole & (rows.seqs > 0) & (rows.seqs < len(self.known)), rows.seqs, 0)
        seqs[(self.known["check"][seqs] != rows.sources) | (self.known["place"][seqs, 0] > 0)] = 0
        seqs[np.setdiff1d(np.arange(len(seqs)), np.unique(seqs, return_index=True)[1])] = 0
        kept = np.flatnonzero(seqs)
        self.known["place"][seqs[kept]] = np.stack([np.full(len(kept), number + 1), start + kept], 1)
        self.faults += [f"{segment.path.name} is damaged in row {start + i}" for i in np.flatnonzero(~whole)]
        shard.seqs = np.concatenate([shard.seqs, seqs])
        shard.vectors = segment.vectors(end)
        for mask in self._masks():
            mask.gain(number, start, seqs)

    def _hold(self, db: sqlite3.Connection) -> None:
        """Reads vectors that are in force and in no segment."""
        known = self.known[self.waiting]
        self.waiting = self.waiting[known["live"] & (known["place"][:, 0] == 0)]
        missing = self.waiting.tolist()
        if not missing and self.tail is None:
            return
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
            self.tail = Tail(seqs, self.known["check"][seqs], raw)
        for mask in self._masks():
            mask.outdated()
