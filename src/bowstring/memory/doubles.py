"""Records that say nearly the same are linked; neither is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np

from .changes import Draft, link
from .index import Index

MOST, LOOKED_AT = 8, 256  # near doubles that are looked for, among how many nearest by their signs
BATCH = 512  # vectors that are compared with all later ones at once


def link_doubles(
    db: sqlite3.Connection,
    index: Index,
    near: float,
    written: Sequence[tuple[str, int]],
    drafts: Sequence[Draft],
) -> None:
    """Links what was written, as (id, seq), with what is in force in its namespace at a cosine of at least
    `near`, and with each other. Of many doubles the nearest by their signs are found."""
    rows = [(i, draft.vector) for i, draft in enumerate(drafts) if draft.vector is not None]
    in_force = index.known["live"]

    def connect(i: int, seq: int, cosine: float) -> None:
        row = db.execute(
            "SELECT record FROM versions WHERE seq = ? AND live AND namespace = ?",
            (seq, drafts[i].entry.namespace),
        ).fetchone()
        if row and row[0] != written[i][0]:
            link(db, written[i][0], row[0], cosine)

    for i, vector in rows:
        for seq, cosine in index.nearest(vector, MOST, in_force, LOOKED_AT):
            if cosine >= near:
                connect(i, seq, cosine)
    if len(rows) > 1:
        for first, second, cosine in pairs_above(np.stack([vector for _, vector in rows]), near):
            connect(rows[first][0], written[rows[second][0]][1], cosine)


def pairs_above(vectors: np.ndarray, near: float) -> Iterator[tuple[int, int, float]]:
    """Pairs of rows whose cosine is at least `near`."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, len(units), BATCH):
        cosines = units[start : start + BATCH] @ units[start:].T
        for first, second in np.argwhere(np.triu(cosines >= near, 1)).tolist():
            yield start + first, start + second, float(cosines[first, second])
