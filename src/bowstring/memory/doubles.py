"""Records that say nearly the same are linked; neither is changed."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from .changes import Draft, link
from .index import Index
from .search import Vectors
from .segments import padded, unit

BITS = 64  # signs that are compared first
LOOKED_AT = 256  # of one file's rows, those whose signs are nearest
BATCH = 512  # vectors that are compared with all later ones at once


def link_doubles(
    db: sqlite3.Connection,
    index: Index,
    near: float,
    written: Sequence[tuple[str, int]],
    drafts: Sequence[Draft],
) -> None:
    """Links what was written, as (id, seq), with what is in force in its namespace at a cosine of at least
    `near`, and with each other."""
    rows = [(i, draft.vector) for i, draft in enumerate(drafts) if draft.vector is not None]
    if not rows:
        return
    raw = np.stack([vector for _, vector in rows])
    units = np.zeros((len(raw), padded(raw.shape[1])), np.float32)
    units[:, : raw.shape[1]] = unit(raw)

    def connect(row: int, seq: int, cosine: float) -> None:
        i = rows[row][0]
        found = db.execute(
            "SELECT record FROM versions WHERE seq = ? AND live AND namespace = ?",
            (seq, drafts[i].entry.namespace),
        ).fetchone()
        if found and found[0] != written[i][0]:
            link(db, written[i][0], found[0], cosine)

    for seqs, vectors in index.everywhere():
        for row, place, cosine in pairs_with(vectors, index.known["live"][seqs], units, near):
            connect(row, int(seqs[place]), cosine)
    for first, second, cosine in pairs_above(units, near):
        connect(first, written[rows[second][0]][1], cosine)


def pairs_with(
    vectors: Vectors, live: np.ndarray, units: np.ndarray, near: float
) -> Iterator[tuple[int, int, float]]:
    """(row of units, row of vectors, cosine) of pairs whose cosine is at least `near`.

    Only rows are looked at whose leading signs differ in no more places than five standard deviations above
    what such a cosine leads to, if directions are random.
    """
    share = math.acos(near) / math.pi
    limit = BITS * share + 5 * math.sqrt(BITS * share * (1 - share))
    words, asked = leading(vectors.signs), leading(np.packbits(units >= 0, 1, "little"))
    for row, word in enumerate(asked):
        differing = np.bitwise_count(words ^ word)
        places = np.flatnonzero((differing <= limit) & live)
        if len(places) > LOOKED_AT:
            places = places[np.argsort(differing[places], kind="stable")[:LOOKED_AT]]
        cosines = vectors.exact[places] @ units[row]
        for i in np.flatnonzero(cosines >= near).tolist():
            yield row, int(places[i]), float(cosines[i])


def leading(signs: np.ndarray) -> np.ndarray:
    """The first `BITS` signs of each row as one number."""
    first = np.zeros((len(signs), BITS // 8), np.uint8)
    first[:, : signs.shape[1]] = signs[:, : BITS // 8]
    return first.view(np.uint64)[:, 0]


def pairs_above(units: np.ndarray, near: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose cosine is at least `near`."""
    for start in range(0, len(units), BATCH):
        cosines = units[start : start + BATCH] @ units[start:].T
        for first, second in np.argwhere(np.triu(cosines >= near, 1)).tolist():
            yield start + first, start + second, float(cosines[first, second])
