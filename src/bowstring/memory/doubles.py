"""Records that say nearly the same are linked; neither is changed. From which cosine on, an embedder says."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from .changes import Draft, link
from .index import Index
from .segments import wide_unit

CERTAIN = 5.0  # spreads of an estimate's error that are allowed for: one pair in three million is missed
MOST = 64  # links that one new record gets to older ones, the nearest
BATCH = 512  # vectors that are compared with all later ones at once
ROUNDED = 1e-6  # what rounding may add to a cosine
UNRELATED = 1e-6  # share of unrelated pairs that may be linked


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

    def connect(row: int, seq: int, cosine: float) -> None:
        i = rows[row][0]
        found = db.execute(
            "SELECT record FROM versions WHERE seq = ? AND live AND namespace = ?",
            (seq, drafts[i].entry.namespace),
        ).fetchone()
        if found and found[0] != written[i][0]:
            link(db, written[i][0], found[0], cosine)

    before = index.in_force()
    if index.width:
        for row, (_, vector) in enumerate(rows):
            for seq, cosine in index.nearest(vector, MOST, before, least=near, margin=CERTAIN):
                connect(row, seq, cosine)
    units = wide_unit(np.stack([vector for _, vector in rows]))[: len(rows)]
    for first, second, cosine in pairs_above(units, near):
        connect(first, written[rows[second][0]][1], cosine)


def pairs_above(units: np.ndarray, near: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose cosine is at least `near`."""
    for start in range(0, len(units), BATCH):
        cosines = units[start : start + BATCH] @ units[start:].T
        for first, second in np.argwhere(np.triu(cosines >= near, 1)).tolist():
            yield start + first, start + second, float(cosines[first, second])


def calibrated(vectors: np.ndarray, share: float = UNRELATED) -> float:
    """The cosine that at most `share` of the pairs of these vectors, of unrelated texts, reach: `near` of an
    embedder.

    Raises:
        ValueError: there are fewer than ten such pairs to go by: 4,473 vectors for a millionth.
    """
    units = wide_unit(np.asarray(vectors, np.float32))[: len(vectors)]
    pairs = len(units) * (len(units) - 1) // 2
    if pairs * share < 10:
        raise ValueError(f"{len(units)} vectors make {pairs} pairs; expected {10 / share:.0f} at least")
    allowed, kept = int(pairs * share), np.zeros(0, np.float32)
    for start in range(0, len(units), BATCH):
        cosines = units[start : start + BATCH] @ units[start:].T
        upper = cosines[np.triu_indices(len(cosines), 1, cosines.shape[1])]
        if len(kept) > allowed:
            upper = upper[upper > kept[0]]
        kept = np.sort(np.concatenate([kept, upper]))[-allowed - 1 :]
    return float(kept[0]) + ROUNDED
