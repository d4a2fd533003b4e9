import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bowstring.weights.convert import from_safetensors, to_safetensors
from bowstring.weights.format.parquet import WeightsFile

from .hostile import sound


def test_there_and_back_changes_no_byte(tmp_path):
    source, middle, back = (tmp_path / name for name in ("a.parquet", "a.safetensors", "b.parquet"))
    sound(source)
    assert to_safetensors(source, middle) == from_safetensors(middle, back) == 3
    before, after = WeightsFile(source), WeightsFile(back)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
        np.testing.assert_array_equal(before[name], load_file(middle)[name])


def test_what_cannot_be_converted_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match="cannot be converted"):
        from_safetensors(path, tmp_path / "b.parquet")
    save_file({"truth": np.array([True])}, path)
    with pytest.raises(ValueError, match="arrays of bool are not stored"):
        from_safetensors(path, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()
