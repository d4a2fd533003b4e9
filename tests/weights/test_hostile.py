"""Files that lie: each is refused with a sentence, and nothing large is allocated on the way."""

import copy
import pickle
import random
import struct
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from bowstring import _native
from bowstring.weights.format.hash import digest
from bowstring.weights.format.index import (
    FAULTS,
    LARGEST_FOOTER,
    MAGIC,
    index,
    quickly,
    read,
    slowly,
)
from bowstring.weights.format.parquet import Tensor, WeightsError, WeightsFile, write
from bowstring.weights.format.thrift import encode

from .hostile import (
    assemble,
    chunk,
    drop,
    meta,
    nested,
    page,
    parts,
    put,
    sound,
    spans,
    spliced,
    typed,
    with_body,
    with_footer,
)

FIRST = lambda footer: footer[4][0]
TOP = lambda footer: footer
SCHEMA = lambda i: lambda footer: footer[2][i]


def swap(footer):
    footer[4][0], footer[4][1] = footer[4][1], footer[4][0]


def twice(footer):
    footer[4].append(copy.deepcopy(footer[4][0]))
    footer[3] += 1


CASES = {
    "empty": (lambda d: b"", "too few"),
    "four bytes": (lambda d: MAGIC, "too few"),
    "no tail": (lambda d: d[:-1], "cut off"),
    "cut in the footer": (lambda d: d[:-40], "cut off"),
    "cut in the middle, tail kept": (lambda d: d[:200] + d[-8:], "footer|metadata"),
    "wrong magic": (lambda d: b"PARE" + d[4:], "not a weights file"),
    "encrypted parquet": (lambda d: b"PARE" + d[4:-4] + b"PARE", "not a weights file"),
    "pickle renamed": (lambda d: pickle.dumps({"a": np.ones(3)}), "looks like a pickle"),
    "safetensors renamed": (
        lambda d: save({"a": np.ones(3, np.float32)}),
        "looks like a safetensors file; .*bowstring convert",
    ),
    "zip renamed": (lambda d: b"PK\x03\x04" + b"\0" * 60, "looks like a zip archive"),
    "a web page": (lambda d: b"\n<!DOCTYPE html><title>404</title>", "looks like a web page"),
    "a pointer of Git LFS": (lambda d: b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    "a GGUF file": (lambda d: b"GGUF" + bytes(60), "looks like a GGUF file"),
    "JSON": (lambda d: b'{"error": "Repository not found"}', "looks like a JSON file"),
    "footer of zero bytes": (lambda d: d[:-8] + struct.pack("<I", 0) + MAGIC, "footer of 0"),
    "footer longer than the file": (lambda d: d[:-8] + struct.pack("<I", 1 << 31) + MAGIC, "claims a footer"),
    "footer beyond the limit": (
        lambda d: d[:-8] + struct.pack("<I", LARGEST_FOOTER + 1) + MAGIC,
        "claims a footer",
    ),
    "footer one byte short": (
        lambda d: d[:-8] + struct.pack("<I", len(parts(d)[0])) + MAGIC,
        "metadata|field|footer|expected",
    ),
    "bytes after the footer": (
        lambda d: assemble(parts(d)[0], encode(typed(parts(d)[1])) + b"\0\0"),
        "after its footer",
    ),
    "nested a thousand deep": (lambda d: assemble(parts(d)[0], nested(1000)), "nested deeper"),
    "a string of 2^40 bytes": (
        lambda d: assemble(parts(d)[0], b"\x18" + b"\x80\x80\x80\x80\x80\x20"),
        "string of",
    ),
    "a list of 2^40 items": (
        lambda d: assemble(parts(d)[0], b"\x19\xfc" + b"\x80\x80\x80\x80\x80\x20"),
        "list of",
    ),
    "an endless integer": (lambda d: assemble(parts(d)[0], b"\x16" + b"\xff" * 20), "more than 64 bits"),
    "a map": (lambda d: assemble(parts(d)[0], b"\x1b\x00\x00"), "type 11"),
    "a field twice": (lambda d: assemble(parts(d)[0], b"\x15\x02\x05\x02\x02\x00"), "twice"),
    "no schema": (drop(TOP, 2), "lacks field 2"),
    "no row groups": (drop(TOP, 4), "lacks field 4"),
    "a column too many": (with_footer(lambda f: f[2].append({4: b"more", 1: 6, 3: 0})), "has the columns"),
    "a renamed column": (put(SCHEMA(1), 4, b"nom"), "has the columns"),
    "an optional column": (put(SCHEMA(5), 3, 1), "has the columns"),
    "a column of integers": (put(SCHEMA(5), 1, 2), "has the columns"),
    "more rows than groups": (put(TOP, 3, 9), "row count"),
    "a negative row count": (put(TOP, 3, -1), "row count"),
    "two rows in a group": (put(FIRST, 3, 2), "row count of a row group"),
    "a missing column chunk": (with_footer(lambda f: f[4][0][1].pop()), "number of columns"),
    "chunks in another file": (put(lambda f: chunk(f), 1, b"other.parquet"), "profile does not have"),
    "a dictionary page": (put(lambda f: meta(f), 11, 4), "profile does not have"),
    "compressed": (put(lambda f: meta(f), 4, 1), "metadata field 4"),
    "another encoding": (put(lambda f: meta(f), 2, [2]), "metadata field 2"),
    "wrong column path": (put(lambda f: meta(f), 3, [b"name"]), "metadata field 3"),
    "wrong value count": (put(lambda f: meta(f), 5, 2), "metadata field 5"),
    "sizes that disagree": (put(lambda f: meta(f), 6, 1), "uncompressed size"),
    "a chunk of 2^40 bytes": (with_footer(lambda f: meta(f).update({6: 1 << 40, 7: 1 << 40})), "chunk size"),
    "a chunk of negative size": (
        with_footer(lambda f: meta(f).update({6: -9, 7: -9})),
        "metadata|chunk size",
    ),
    "an offset before the last tensor": (with_footer(lambda f: meta(f, 1, 0).update({9: 4})), "inside"),
    "an offset behind the file": (put(lambda f: meta(f), 9, 1 << 40), "too far behind"),
    "a negative offset": (put(lambda f: meta(f), 9, -64), "inside"),
    "groups swapped": (with_footer(swap), "too far behind|inside"),
    "a tensor twice": (with_footer(twice), "inside"),
    "a tensor left out": (with_footer(lambda f: (f[4].pop(1), f.update({3: 2}))), "too far behind"),
    "a hole at the end": (with_footer(lambda f: (f[4].pop(), f.update({3: 2}))), "end of the last tensor"),
    "something hidden in the padding": (lambda d: _hide(d), "hidden"),
    "a data page of version 1": (page(4, lambda h: h.__setitem__(1, 0)), "page type|page header"),
    "an index page": (page(4, lambda h: h.__setitem__(1, 1)), "page type|page header"),
    "nulls in a page": (page(4, lambda h: h[8].__setitem__(2, 1)), "page header"),
    "a compressed page": (page(4, lambda h: h[8].__setitem__(7, True)), "page header"),
    "a page of another size": (page(4, lambda h: h.__setitem__(3, 12)), "page size|chunk size"),
    "a negative page size": (page(4, lambda h: h.update({2: -5, 3: -5})), "chunk size"),
    "a shape of 2^40": (with_body(b"[2, 3]", b"[1e13]"), "non-negative|shape"),
    "a shape of other size": (with_body(b"[2, 3]", b"[2, 4]"), "the size of tensor 'a'"),
    "a negative shape": (with_body(b"[2, 3]", b"[-2,3]"), "non-negative"),
    "a shape of truth values": (with_body(b"[2, 3]", b"[true]"), "non-negative"),
    "a shape that is no list": (with_body(b"[2, 3]", b"{}    "), "non-negative"),
    "a shape that is no JSON": (with_body(b"[2, 3]", b"[2, 3)"), "non-negative"),
    "an unknown dtype": (with_body(b"F32", b"O64"), "dtype 'O64'"),
    "a name that is no UTF-8": (with_body(b"\x01\0\0\0a", b"\x01\0\0\0\xff"), "utf-8"),
    "metadata that is no JSON": (put(TOP, 5, [{1: b"bowstring", 2: b"{"}]), "Expecting"),
    "metadata that is a list": (put(TOP, 5, [{1: b"bowstring", 2: b"[]"}]), "no JSON object"),
    "metadata of another version": (put(TOP, 5, [{1: b"bowstring", 2: b'{"format": 3}'}]), "format version"),
    "metadata of another program": (put(TOP, 5, [{1: b"pandas", 2: b"{}"}]), "metadata keys"),
    "metadata given twice": (put(TOP, 5, [{1: b"bowstring", 2: b'{"format": 1}'}] * 2), "metadata keys"),
    "metadata beside the format": (
        put(TOP, 5, [{1: b"bowstring", 2: b'{"format": 2, "a": 1}'}]),
        "keys beside",
    ),
    "metadata within that are no object": (
        put(TOP, 5, [{1: b"bowstring", 2: b'{"format": 2, "metadata": []}'}]),
        "type of the metadata",
    ),
    "a format that is a truth": (put(TOP, 5, [{1: b"bowstring", 2: b'{"format": true}'}]), "format version"),
    "a row group of another size": (with_footer(lambda f: f[4][1].update({2: 7})), "size of a row group"),
    "a shape of many sizes": (with_body(b"[2, 3]", b"[2,3,]"), "non-negative"),
    "no metadata": (drop(TOP, 5), "metadata keys"),
}


def _hide(data):
    body, footer = parts(data)
    at = meta(footer)[9]
    assert body[at - 3 : at] == b"\0\0\0"
    return assemble(body[: at - 2] + b"!" + body[at - 1 :], footer)


@contextmanager
def traced():
    """The most bytes that were allocated within."""
    peak = [0]
    tracemalloc.start()
    try:
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CASES)
def test_a_lying_file_is_refused_with_a_sentence(name, tmp_path):
    case, says = CASES[name]
    path = tmp_path / "w.parquet"
    path.write_bytes(case(sound(path)))
    with traced() as peak, pytest.raises(WeightsError, match=says) as caught:
        WeightsFile(path)
    assert peak[0] < 1 << 20
    assert str(path) in str(caught.value)


def test_there_are_at_least_forty_of_them():
    assert len(CASES) >= 40


def test_changed_contents_are_found_at_first_touch(tmp_path):
    path = tmp_path / "w.parquet"
    data = sound(path)
    ones = np.ones(5, np.float16).tobytes()
    path.write_bytes(with_body(ones, ones[:-1] + b"\x40")(data))
    file = WeightsFile(path)
    assert file["a"].shape == (2, 3)
    with pytest.raises(WeightsError, match="'b' do not match their hash"):
        file["b"]
    with pytest.raises(WeightsError, match="'b'"):
        file.verify()


def mutate(data, footer, places, rng):
    """One to three changes: to values of the footer, or to bytes anywhere."""
    if rng.random() < 0.7:
        return assemble(data[: -8 - len(footer)], spliced(footer, places, rng))
    raw = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        raw[rng.randrange(len(raw))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(raw)


def attempt(data, row_groups):
    try:
        return read(data, row_groups)
    except FAULTS:
        return None


@pytest.mark.timeout(120)
def test_fifty_thousand_mutations_are_refused_or_harmless(tmp_path):
    """What is accepted lies inside the file, overlaps nothing, and is what its hash says or is caught.

    What the native reader accepts, the readable one reads alike.
    """
    small = {"a": np.arange(6, dtype=np.float32), "empty": np.zeros((0, 4), np.int8)}
    write(tmp_path / "w.parquet", ((name, Tensor.of(array)) for name, array in small.items()), {"note": "x"})
    original = (tmp_path / "w.parquet").read_bytes()
    footer, places = spans(original)
    names, native = index(memoryview(original)).entries, _native._find()[0] is not None
    rng, accepted = random.Random(0), 0
    for _ in range(50_000):
        data = memoryview(mutate(original, footer, places, rng))
        quick = attempt(data, quickly) if native else None
        found = attempt(data, slowly)
        assert quick is None or quick == found
        if found is None:
            continue
        accepted += 1
        end = 4
        for name, entry in found.entries.items():
            assert end <= entry.offset and entry.offset + entry.size <= len(data) and entry.offset % 64 == 0
            end = entry.offset + entry.size
            contents = data[entry.offset : end]
            if digest(contents) == entry.hash and name in names:
                assert entry.size == names[name].size
    assert 0 < accepted < 25_000


@pytest.mark.skipif(_native._find()[0] is None, reason="no native library")
@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=200), st.binary(max_size=300), max_size=20
    )
)
def test_what_we_write_is_read_quickly_and_slowly_alike(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("w") / "w.parquet"
    write(path, ((name, Tensor("U8", (len(data),), memoryview(data))) for name, data in tensors.items()), {})
    view = memoryview(path.read_bytes())
    assert read(view, quickly) == read(view, slowly)


MANY = 1 << 24
COUNT = struct.pack("<BBBB", 0x80, 0x80, 0x80, 0x08)  # 2^24 as a varint
FLOODS = {
    "row groups of nothing": (b"\x49\xfc" + COUNT + bytes(MANY), "field 3"),
    "a schema of truths": (b"\x29\xf1" + COUNT + b"\x01" * MANY, "more values"),
    "a schema of empty lists": (b"\x29\xf9" + COUNT + b"\x09" * MANY, "more values"),
    "a schema of empty strings": (b"\x29\xf8" + COUNT + bytes(MANY), "more values"),
    "a row group of numbers": (b"\x49\x1c\x19\xf5" + COUNT + bytes(MANY), "more values"),
    "fields without end": (b"\x29\x1c" + b"\x15\x00" * (MANY // 2), "more values"),
    "metadata of lists": (
        b'{"format": 2, "metadata": {"a": [' + b"[]," * (MANY // 3) + b"1]}}",
        "bytes of metadata",
    ),
    "metadata of a string": (
        b'{"format": 2, "metadata": {"a": "' + b"a" * MANY + b'"}}',
        "bytes of metadata",
    ),
    "metadata of many values": (b'{"format": 2, "metadata": {"a": [' + b"1," * (1 << 17) + b"1]}}", "values"),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_large_footer_costs_no_more_than_twice_its_file(name, tmp_path):
    footer, says = FLOODS[name]
    path = tmp_path / "w.parquet"
    data = sound(path)
    if footer.startswith(b"{"):
        data = put(TOP, 5, [{1: b"bowstring", 2: footer}])(data)
    else:
        data = assemble(parts(data)[0], footer)
    path.write_bytes(data)
    with traced() as peak, pytest.raises(WeightsError, match=says):
        WeightsFile(path)
    assert peak[0] < 2 * len(data)
