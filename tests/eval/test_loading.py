import numpy as np
import pytest

from bowstring.eval.loading import LOADERS, load_once, written_pair


def test_all_loaders_get_the_same_bytes(tmp_path):
    written_pair(tmp_path / "w.parquet", 3, 5000)
    found = {
        kind: LOADERS[kind](tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'parquet'}")
        for kind in ("bowstring", "bowstring_unchecked", "safetensors")
    }
    for name, array in found["safetensors"].items():
        for kind in ("bowstring", "bowstring_unchecked"):
            np.testing.assert_array_equal(found[kind][name].view(np.uint8).ravel()[:5000], array.ravel())


def test_ours_is_the_load_that_checks(tmp_path):
    written_pair(tmp_path / "w.parquet", 1, 5000)
    written_pair(tmp_path / "tiny.parquet", 1, 100)
    data = bytearray((tmp_path / "w.parquet").read_bytes())
    data[len(data) // 4] ^= 1
    (tmp_path / "w.parquet").write_bytes(data)
    with pytest.raises(ValueError, match="hash"):
        load_once("bowstring", tmp_path / "w.parquet")
    assert load_once("bowstring_unchecked", tmp_path / "w.parquet")["ms"] > 0
    assert load_once("safetensors", tmp_path / "w.safetensors")["ms"] > 0
