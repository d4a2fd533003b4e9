"""Which versions a search means, by number and by the rows that vectors lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import _native
from .search import Shards, Vectors
from .segments import centre_of, wide_unit


@dataclass
class Shard:
    """Rows of a segment; seqs has 0 where one is to be passed over. vectors: None while there is no row."""

    room: int
    seqs: np.ndarray
    vectors: Vectors | None = None


@dataclass
class Tail:
    """Vectors that no segment holds yet, as they were given."""

    seqs: np.ndarray
    sources: np.ndarray
    raw: np.ndarray
    _vectors: Vectors | None = field(default=None, repr=False)

    @property
    def vectors(self) -> Vectors:
        if self._vectors is None:
            self._vectors = Vectors.of(wide_unit(self.raw), centre_of(self.raw))
        return self._vectors

    def __len__(self) -> int:
        return len(self.seqs)


class Mask:
    """Versions that are meant; changes are told to it one by one, since there are many."""

    def __init__(self, by_seq: np.ndarray, shards: Sequence[Shard]) -> None:
        self.by_seq = by_seq
        self.rows = [np.zeros(one.room, bool) for one in shards]
        for rows, one in zip(self.rows, shards, strict=True):
            rows[: len(one.seqs)] = by_seq[one.seqs]
        self.op = -1  # the operation up to which a filter has been asked
        self._made: tuple[Shards | None, list[np.ndarray]] | None = None
        self._given: dict[int, tuple[Vectors, _native.Shard]] = {}

    def change(self, seqs: np.ndarray, meant: np.ndarray, places: np.ndarray) -> None:
        """Takes versions in or out. places: (shard + 1, row) of each; shard + 1 is 0 where it is in none."""
        if len(seqs) and seqs.max() >= len(self.by_seq):
            grown = max(int(seqs.max()) + 1, 2 * len(self.by_seq))
            self.by_seq = np.concatenate([self.by_seq, np.zeros(grown - len(self.by_seq), bool)])
        self.by_seq[seqs] = meant
        for number in np.unique(places[:, 0][places[:, 0] > 0]).tolist():
            mine = places[:, 0] == number
            self.rows[number - 1][places[mine, 1]] = meant[mine]
        self._made = None

    def gain(self, number: int, start: int, seqs: np.ndarray) -> None:
        """A segment has gained rows."""
        self.rows[number][start : start + len(seqs)] = self._of(seqs)
        self._made = None

    def add_shard(self, room: int) -> None:
        self.rows.append(np.zeros(room, bool))

    def outdated(self) -> None:
        """Rows have come or gone elsewhere."""
        self._made = None

    def places(self, shards: Sequence[Shard], tail: Tail | None) -> tuple[Shards | None, list[np.ndarray]]:
        """What the kernel searches, and the versions of the rows of each part of it."""
        if self._made is None:
            self._made = self._laid_out(shards, tail)
        return self._made

    def _laid_out(self, shards: Sequence[Shard], tail: Tail | None) -> tuple[Shards | None, list[np.ndarray]]:
        parts, seqs, described = [], [], []
        for number, (shard, rows) in enumerate(zip(shards, self.rows, strict=True)):
            if shard.vectors is not None:
                parts.append((shard.vectors, rows[: len(shard.vectors.exact)]))
                seqs.append(shard.seqs)
                described.append(self._described(number, *parts[-1]))
        if tail is not None:
            meant = np.zeros(len(tail.vectors.exact), bool)
            meant[: len(tail)] = self._of(tail.seqs)
            parts.append((tail.vectors, meant))
            seqs.append(tail.seqs)
            described.append(tail.vectors.shard(meant))
        return (Shards(parts, described) if parts else None), seqs

    def _described(self, number: int, vectors: Vectors, rows: np.ndarray) -> _native.Shard:
        """What the kernel is given of a shard, made anew only when it has gained rows."""
        kept = self._given.get(number)
        if kept is None or kept[0] is not vectors:
            kept = self._given[number] = (vectors, vectors.shard(rows))
        return kept[1]

    def _of(self, seqs: np.ndarray) -> np.ndarray:
        known = seqs < len(self.by_seq)
        return np.where(known, self.by_seq[np.where(known, seqs, 0)], False)
