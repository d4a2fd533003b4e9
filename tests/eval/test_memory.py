"""The measurement of the store: what it asks of contenders and what it makes of parts."""

import numpy as np
import pytest

from bowstring.eval import memory, memory_search
from bowstring.eval.results import Measured, Measurement


def test_a_number_that_no_part_gave_is_none_with_a_reason():
    whole = memory.merged_parts(
        {"one": Measurement({"lost": 0}, missing={"kills": "not asked for"})}, memory.KEYS
    )
    assert whole.numbers["lost"] == 0 and set(whole.numbers) >= set(memory.KEYS)
    assert whole.numbers["kills"] is None and whole.missing["kills"] == "not asked for"
    assert "lost" not in whole.missing and whole.missing["images"]
    with pytest.raises(ValueError, match="two gives \\['lost'\\]"):
        memory.merged_parts({"one": Measurement({"lost": 0}), "two": Measurement({"lost": 1})}, memory.KEYS)


def test_a_store_is_asked_what_fp64_knows(tmp_path):
    vectors = memory_search.clustered(3000, 40)
    store, rows, rates = memory_search.filled(tmp_path / "s", vectors.kept)
    with store:
        found = memory_search.against_rivals(store, rows, vectors, graphs=False)
        assert found["recall10"].value >= 0.99 and found["p99"].value >= found["p50"].value
        assert memory_search.filter_ratio(store, rows, vectors).value > 0
    assert len(rates) == 2 and len(rows) == 3000


def test_the_fastest_is_so_at_equal_recall_without_a_build():
    def of(p50, recall):
        return {"p50": Measured(p50), "recall": Measured(recall)}

    mine = {"p50": Measured(1.0), "recall10": Measured(0.995)}
    loose = {"turbovec 4 bits": of(0.1, 0.8), "faiss HNSW": of(0.2, 0.999), "faiss flat": of(2.0, 1.0)}
    assert memory_search.is_fastest(mine | {"rivals": loose})
    assert not memory_search.is_fastest(mine | {"rivals": loose | {"usearch exact": of(0.9, 1.0)}})
    assert not memory_search.is_fastest(mine | {"recall10": Measured(0.98), "rivals": loose})


def test_vectors_of_clusters_are_unit_and_repeat():
    one, two = (memory_search.clustered(200, 5) for _ in range(2))
    np.testing.assert_array_equal(one.kept, two.kept)
    np.testing.assert_allclose(np.linalg.norm(one.kept, axis=1), 1, rtol=1e-5)
    assert all(len(found) == 10 for found in one.found)


def test_memory_and_time_of_a_large_store_come_from_a_process_of_its_own():
    found = memory_search.million(count=500, queries=5)
    assert found["p50_ms_1m"].n == 5 and 20 < found["rss_mb_1m"].value < 1000
