"""Other people's searches of the same vectors: each is built once, then asked for the nearest rows by cosine.

A rival that is not installed is left out with its reason; `pip install ".[memory-bench]"` brings all of them.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Find = Callable[[np.ndarray, int], Any]  # a query and how many: the rows, the nearest first
LOOKED_THROUGH = 256  # nodes that a graph looks through for one query


@dataclass(frozen=True)
class Rival:
    """build: from unit vectors `(n, d)` to a search. graph: it needs a build, and is printed only."""

    packages: tuple[str, ...]
    build: Callable[[np.ndarray], Find]
    graph: bool = False


def sqlite_vec(vectors: np.ndarray) -> Find:
    import apsw  # Python's own sqlite3 often loads no extensions
    import sqlite_vec as extension

    db = apsw.Connection(":memory:")
    db.enable_load_extension(True)
    db.load_extension(extension.loadable_path())
    db.execute(f"CREATE VIRTUAL TABLE v USING vec0 (e float[{vectors.shape[1]}] distance_metric=cosine)")
    with db:
        db.executemany(
            "INSERT INTO v (rowid, e) VALUES (?, ?)", ((i, row.tobytes()) for i, row in enumerate(vectors))
        )
    asked = "SELECT rowid FROM v WHERE e MATCH ? AND k = ? ORDER BY distance"
    return lambda query, k: [row for (row,) in db.execute(asked, (query.tobytes(), k))]


def faiss_flat(vectors: np.ndarray) -> Find:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return lambda query, k: index.search(query[None], k)[1][0]


def faiss_hnsw(vectors: np.ndarray) -> Find:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 200, LOOKED_THROUGH
    index.add(vectors)
    return lambda query, k: index.search(query[None], k)[1][0]


def usearch_exact(vectors: np.ndarray) -> Find:
    from usearch.index import MetricKind, search

    return lambda query, k: search(vectors, query, k, MetricKind.IP, exact=True, threads=1).keys


def usearch_hnsw(vectors: np.ndarray) -> Find:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", connectivity=32, expansion_add=200,
                  expansion_search=LOOKED_THROUGH)  # fmt: skip
    index.add(np.arange(len(vectors)), vectors, threads=1)
    return lambda query, k: index.search(query, k, threads=1).keys


def turbovec(bits: int) -> Callable[[np.ndarray], Find]:
    def build(vectors: np.ndarray) -> Find:
        from turbovec import TurboQuantIndex

        index = TurboQuantIndex(dim=vectors.shape[1], bit_width=bits)
        index.calibrate(vectors[:: max(1, len(vectors) // 1024)].copy())
        index.add(vectors)
        index.prepare()
        return lambda query, k: index.search(query[None], k)[1][0]

    return build


def lancedb(vectors: np.ndarray) -> Find:
    import lancedb
    import pyarrow as pa

    folder = tempfile.TemporaryDirectory()
    rows = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    data = pa.table({"row": np.arange(len(vectors)), "vector": rows})
    table = lancedb.connect(folder.name).create_table("v", data)
    table.create_index(metric="dot", num_partitions=256, num_sub_vectors=vectors.shape[1] // 8)

    def find(query: np.ndarray, k: int, keep: Any = folder) -> Any:
        looked: Any = table.search(query)
        asked = looked.distance_type("dot").nprobes(20).refine_factor(10)
        return asked.limit(k).to_arrow()["row"].to_numpy()

    return find


RIVALS: Mapping[str, Rival] = {
    "sqlite-vec": Rival(("sqlite_vec", "apsw"), sqlite_vec),
    "faiss flat": Rival(("faiss",), faiss_flat),
    "usearch exact": Rival(("usearch",), usearch_exact),
    "turbovec 4 bits": Rival(("turbovec",), turbovec(4)),
    "faiss HNSW": Rival(("faiss",), faiss_hnsw, graph=True),
    "usearch HNSW": Rival(("usearch",), usearch_hnsw, graph=True),
    "LanceDB IVF-PQ": Rival(("lancedb",), lancedb, graph=True),
}


def lacking(name: str) -> str | None:
    """Why a rival cannot run here, or None."""
    for package in RIVALS[name].packages:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed; pip install 'bowstring[memory-bench]'"
    return None


def here(*, graphs: bool) -> Iterator[str]:
    """Names of the rivals that can run, with those that need a build or without."""
    return (name for name, one in RIVALS.items() if (graphs or not one.graph) and lacking(name) is None)
