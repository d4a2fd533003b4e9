"""The format: its bytes, its round trip, and what other readers see in it."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bowstring.weights.format.parquet import NUMPY, Tensor, WeightsError, WeightsFile, write
from bowstring.weights.format.thrift import I16, I32, I64, CompactReader, Int, List, encode

from .hostile import sound

GOLDEN = "29f300e1903bc2ae"


def test_the_bytes_of_a_file_stay(tmp_path):
    """A change here is a change of the format: raise its version."""
    assert hashlib.sha256(sound(tmp_path / "w.parquet")).hexdigest()[:16] == GOLDEN


DTYPES = st.sampled_from([name for name in NUMPY.values()])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), ARRAYS, max_size=6))
def test_arrays_come_back_aligned_and_without_a_copy(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("w") / "w.parquet"
    write(path, ((name, Tensor.of(array)) for name, array in arrays.items()), {"k": [1, "ü"]})
    file = WeightsFile(path)
    assert list(file) == list(arrays) and file.metadata == {"k": [1, "ü"]}
    for name, array in arrays.items():
        found = file[name]
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype and not found.flags.owndata and not found.flags.writeable
        assert found.size == 0 or found.ctypes.data % 64 == 0


def test_pyarrow_and_duckdb_read_the_same_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "w.parquet"
    sound(path)
    ours = WeightsFile(path)
    table = parquet.read_table(path).to_pylist()
    rows = duckdb.sql(f"select name, dtype, shape, hash, data from '{path}'").fetchall()
    assert [tuple(row.values()) for row in table] == rows
    for row in table:
        entry = ours.entries[row["name"]]
        assert (row["dtype"], row["shape"], row["hash"]) == (entry.dtype, str(list(entry.shape)), entry.hash)
        assert row["data"] == bytes(ours.raw(row["name"]))
    assert parquet.read_schema(path).metadata[b"bowstring"] == b'{"format": 2, "metadata": {"note": "sound"}}'


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.parquet"
    before = sound(path)

    def broken():
        yield "a", Tensor.of(np.ones(3))
        raise RuntimeError("the power went out")

    with pytest.raises(RuntimeError):
        write(path, broken(), {})
    assert path.read_bytes() == before


def test_what_cannot_be_written_is_named(tmp_path):
    one = Tensor.of(np.ones(2))
    with pytest.raises(ValueError, match="'a' is given twice"):
        write(tmp_path / "w", [("a", one), ("a", one)], {})
    with pytest.raises(TypeError, match="complex128 are not stored"):
        Tensor.of(np.ones(2, complex))
    write(tmp_path / "w", [("a", one)], {})
    with pytest.raises(KeyError, match="no tensor 'b'"):
        WeightsFile(tmp_path / "w")["b"]


def test_a_mapped_file_of_many_megabytes_is_not_read_when_opened(tmp_path):
    path = tmp_path / "w.parquet"
    write(path, [("a", Tensor.of(np.zeros(1 << 24, np.uint8)))], {})
    before = _private()
    file = WeightsFile(path)
    view = file.raw("a", verify=False)
    assert len(view) == 1 << 24 and _private() - before < 2 << 20


def _private():
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("needs /proc")
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private"))


LEAF = st.one_of(
    st.integers(-(1 << 62), 1 << 62).map(lambda n: Int(n, I64)), st.booleans(), st.binary(max_size=300)
)
TREE = st.recursive(
    LEAF, lambda inner: st.dictionaries(st.integers(1, 400), inner, max_size=5), max_leaves=20
)


def plain(tree):
    if isinstance(tree, Int):
        return tree.value
    if isinstance(tree, List):
        return [plain(item) for item in tree.items]
    return {key: plain(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.integers(1, 400), TREE, max_size=6))
def test_thrift_structs_come_back(tree):
    reader = CompactReader(encode(tree))
    assert reader.struct() == plain(tree)
    assert reader.at == len(encode(tree))


@pytest.mark.parametrize(("width", "kind"), [(16, I16), (32, I32), (64, I64)])
def test_thrift_integers_have_their_width(width, kind):
    for value in (-(1 << width - 1), (1 << width - 1) - 1):
        assert CompactReader(encode({1: Int(value, kind)})).struct() == {1: value}
    with pytest.raises(ValueError, match="integer of"):
        CompactReader(
            encode({1: Int(1 << width - 1, I64)}).replace(bytes([0x10 | I64]), bytes([0x10 | kind]), 1)
        ).struct()


def test_brain_floats_are_read_by_value(tmp_path):
    path = tmp_path / "w.parquet"
    raw = np.array([0x3F80, 0xC000, 0x7F80], "<u2")
    write(path, [("a", Tensor("BF16", (3,), memoryview(raw.view(np.uint8))))], {})
    found = WeightsFile(path)["a"]
    assert found.dtype == np.float32 and found.tolist() == [1.0, -2.0, np.inf]


def test_a_file_of_format_1_is_read_and_checked_by_its_own_hash(tmp_path):
    old, path = Path(__file__).with_name("format1.parquet"), tmp_path / "w.parquet"
    sound(path)
    file, now = WeightsFile(old), WeightsFile(path)
    file.verify()
    assert (file.format, file.metadata) == (1, {"note": "sound"}) and list(file) == list(now)
    assert all(np.array_equal(file[name], now[name]) for name in now)
    damaged = bytearray(old.read_bytes())
    damaged[file.entries["b"].offset] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="'b' do not match"):
        WeightsFile(path).verify()


@pytest.mark.parametrize("key", ["format", "metadata", "bowstring"])
def test_metadata_may_have_any_key(tmp_path, key):
    write(tmp_path / "w.parquet", [], {key: "pt"})
    assert WeightsFile(tmp_path / "w.parquet").metadata == {key: "pt"}


def test_many_tensors_are_checked_in_one_pass(tmp_path):
    path = tmp_path / "w.parquet"
    write(path, ((f"{i}", Tensor.of(np.full(5000, i, np.int16))) for i in range(40)), {})
    data = bytearray(path.read_bytes())
    data[WeightsFile(path).entries["17"].offset + 9999] ^= 64
    path.write_bytes(data)
    WeightsFile(path).verify(["16", "18"])
    with pytest.raises(WeightsError, match="'17'"):
        WeightsFile(path).verify()
