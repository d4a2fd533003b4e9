"""Conversion is lossless both ways, for every type, and says what a file is that it does not take."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from bowstring.weights.convert import from_safetensors, to_safetensors
from bowstring.weights.format.parquet import WeightsFile
from bowstring.weights.tensors import as_torch

from .hostile import sound

TORCH = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint64,
        torch.uint32,
        torch.uint16,
        torch.uint8,
    ),
]


def test_there_and_back_changes_no_byte(tmp_path):
    source, middle, back = (tmp_path / name for name in ("a.parquet", "a.safetensors", "b.parquet"))
    sound(source)
    assert to_safetensors(source, middle) == from_safetensors(middle, back) == 3
    before, after = WeightsFile(source), WeightsFile(back)
    assert before.metadata == after.metadata
    for name in before:
        assert before.entries[name][:2] == after.entries[name][:2]
        np.testing.assert_array_equal(before[name], after[name])
        np.testing.assert_array_equal(before[name], load_file(middle)[name])


@pytest.mark.parametrize("dtype", TORCH, ids=str)
def test_every_type_comes_back_through_every_reader(dtype, tmp_path):
    source, middle, back = (tmp_path / name for name in ("a.safetensors", "b.parquet", "c.safetensors"))
    tensors = {
        "matrix": torch.tensor([[0, 1, 2], [3, 1, 0]]).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "empty": torch.zeros(0, 4).to(dtype),
    }
    save_file(tensors, source, {"format": "pt", "author": "ü"})
    assert from_safetensors(source, middle) == to_safetensors(middle, back) == 3
    ours, again = WeightsFile(middle), load_file(back)
    assert ours.metadata == {"format": "pt", "author": "ü"} == safe_open(back, "pt").metadata()
    for name, tensor in tensors.items():
        for found in (again[name], as_torch(ours, name)):
            assert found.dtype == dtype and found.shape == tensor.shape and torch.equal(found, tensor)
        assert ours[name].shape == tuple(tensor.shape)
        np.testing.assert_array_equal(ours[name].astype(np.float64), tensor.double().numpy())


@pytest.mark.parametrize("metadata", [{}, {"a": "b"}, {"a": 1, "b": [None, "ü"]}, {"bowstring": "x"}])
def test_metadata_are_kept_both_ways(metadata, tmp_path):
    from bowstring.weights.format.parquet import write

    source, middle, back = (tmp_path / name for name in ("a.parquet", "b.safetensors", "c.parquet"))
    write(source, [], metadata)
    to_safetensors(source, middle)
    from_safetensors(middle, back)
    assert WeightsFile(back).metadata == metadata


def test_every_tensor_of_an_unknown_type_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    eight = torch.zeros(3).to(torch.float8_e4m3fn)
    save_file({"one": eight, "two": torch.zeros(1), "three": eight.clone()}, path)
    with pytest.raises(
        ValueError, match=r"2 of 3 tensors .*'one' \(F8_E4M3\), 'three' \(F8_E4M3\)\. Types that"
    ):
        from_safetensors(path, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", "looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "looks like a pointer of Git LFS"),
        (b"PK\x03\x04" + bytes(60), "looks like a zip archive"),
        (pickle.dumps({"a": 1}), "looks like a pickle"),
        (b'{"error": "not found", "more": 1}', "looks like a JSON file"),
        (b"", "header too small"),
        (b"no tensors here", "not a weights file"),
        ((10**6).to_bytes(8, "little") + b'{"a":{}}', "not a weights file"),
    ],
)
def test_an_odd_file_is_called_what_it_is(data, says, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"a.safetensors is not a weights file .*{says}|{says}"):
        from_safetensors(path, tmp_path / "b.parquet")


def test_a_header_that_lies_is_left_to_safetensors(tmp_path):
    path = tmp_path / "a.safetensors"
    header = json.dumps({"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"12345")
    with pytest.raises(ValueError, match="cannot be converted"):
        from_safetensors(path, tmp_path / "b.parquet")
