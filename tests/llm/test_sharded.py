"""safetensors folders without trust: every type to the bit, and every lie of a header refused by name."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bowstring.llm.sharded import INDEX, SINGLE, SafetensorsFolder, Shard, read_json

ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def file_of(path, header, data=b"\0" * 8, length=None):
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(said) if length is None else length).to_bytes(8, "little") + said + data)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.bfloat16])
def test_every_type_is_read_as_torch_reads_it(tmp_path, dtype):
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    save_file({"x": x, "empty": x[:0].clone()}, tmp_path / SINGLE)
    folder = SafetensorsFolder(tmp_path)
    assert folder["x"].dtype == np.float32 and folder.shape("x") == (3, 5)
    assert np.array_equal(folder["x"], x.float().numpy()) and folder["empty"].shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dtype": "I8"}, "type 'I8' is not read"),
        ({"shape": [3]}, "a tensor of 12 bytes lies at 0 to 8"),
        ({"shape": [-2]}, "a tensor has shape"),
        ({"shape": ["2"]}, "a tensor has shape"),
        ({"data_offsets": [-4, 4]}, "lies at -4 to 4"),
        ({"data_offsets": [4, 12]}, "lies at 4 to 12"),
        ({"data_offsets": [8, 0]}, "lies at 8 to 0"),
        ({"data_offsets": [0]}, "cannot be read"),
        ({"data_offsets": None}, "cannot be read"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        Shard(file_of(tmp_path / SINGLE, {"a": ONE["a"] | change}))


@pytest.mark.parametrize(
    ("header", "length"),
    [(b"", 1 << 60), (b"{}", 11), (b"[1]", None), (b"{", None), (b"[" * 100_000, None), (b"\xff\xfe", None)],
)
def test_a_header_that_is_none_is_refused(tmp_path, header, length):
    with pytest.raises(ValueError, match=r"is no safetensors file|the header cannot be read"):
        Shard(file_of(tmp_path / SINGLE, header, length=length))


def test_a_file_that_is_missing_or_next_to_nothing_is_refused(tmp_path):
    (tmp_path / SINGLE).write_bytes(b"1234567")
    for name in (SINGLE, "other"):
        with pytest.raises(ValueError, match="missing, or shorter than eight bytes"):
            Shard(tmp_path / name)


def test_files_are_read_by_their_index_and_within_their_folder(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "1.safetensors")
    save_file({"y": torch.ones(1)}, tmp_path / "2.safetensors")
    index = tmp_path / INDEX
    index.write_text(json.dumps({"weight_map": {"x": "1.safetensors", "y": "2.safetensors"}}))
    folder = SafetensorsFolder(tmp_path)
    assert sorted(folder.owner) == ["x", "y"] and folder["y"] == 1
    index.write_text(json.dumps({"weight_map": {"x": "../1.safetensors"}}))
    with pytest.raises(ValueError, match="names files outside of its folder"):
        SafetensorsFolder(tmp_path)


@pytest.mark.parametrize("said", [{}, {"weight_map": {}}, {"weight_map": ["x"]}, {"weight_map": None}])
def test_an_index_that_names_no_files_is_refused(tmp_path, said):
    (tmp_path / INDEX).write_text(json.dumps(said))
    with pytest.raises(ValueError, match="has no weight_map"):
        SafetensorsFolder(tmp_path)


def test_a_tensor_in_two_files_is_refused(tmp_path):
    for name in ("1", "2"):
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"x": "1.safetensors", "y": "2.safetensors"}}))
    with pytest.raises(ValueError, match="'x' lies in two files"):
        SafetensorsFolder(tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"holds no {INDEX} and no {SINGLE}"):
        SafetensorsFolder(tmp_path)


@pytest.mark.parametrize(
    ("data", "says"), [(b"[1]", "holds a list"), (b"{", "is no JSON"), (b"{" + b" " * 99, "at most 50")]
)
def test_what_is_no_object_of_json_is_refused(tmp_path, data, says):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        read_json(tmp_path / "x.json", 50)
    with pytest.raises(ValueError, match="is missing"):
        read_json(tmp_path / "y.json")
