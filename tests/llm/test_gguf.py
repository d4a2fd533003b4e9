"""GGUF files: every type's numbers, what is refused, and that nothing hostile gets through."""

import json
import random
import struct
import tracemalloc

import numpy as np
import pytest
from typer.testing import CliRunner

from bowstring.cli import app
from bowstring.llm.blocks import BLOCKS
from bowstring.llm.folder import load
from bowstring.llm.gguf import GGUFError, GGUFFile
from bowstring.llm.importing import GGUFSource, import_model, open_source, remove

from .gguf_files import gguf, small_llama


@pytest.fixture
def file(tmp_path):
    def write(data):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("number", BLOCKS)
def test_blocks_say_what_ggml_says(number):
    """Every type against the package of the format's authors, on random bits."""
    quants = pytest.importorskip("gguf.quants")
    kind, rng = BLOCKS[number], np.random.default_rng(number)
    blocks = rng.integers(0, 256, (5, 3, kind.bytes)).astype(np.uint8)
    for at in {2: (0,), 3: (0, 2), 6: (0,), 7: (0, 2), 8: (0,), 12: (0, 2), 13: (0, 2), 14: (208,)}.get(
        number, ()
    ):
        blocks[..., at : at + 2] = rng.normal(size=(5, 3, 1)).astype(np.float16).view(np.uint8)
    flat = blocks.reshape(5, -1)
    with np.errstate(all="ignore"):
        wanted = flat.view(np.float32) if number == 0 else quants.dequantize(flat, number)
        assert np.array_equal(kind.values_of(blocks).reshape(5, -1), wanted, equal_nan=True)


def test_four_bits_are_read_by_hand(file):
    """A group of Q4_0: scale 0.5, low halves first, eight taken off."""
    raw = np.float16(0.5).tobytes() + bytes(i | (15 - i) << 4 for i in range(16))
    found = GGUFFile(file(gguf({}, {"w": (2, (1, 32), raw)})))["w"]
    assert found[0].tolist() == [0.5 * (i - 8) for i in range(16)] + [0.5 * (7 - i) for i in range(16)]


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0"])
def test_packed_types_are_repacked_without_a_change(file, tmp_path, kind):
    source = GGUFSource(file(gguf(*small_llama(kind))))
    cost = import_model(source, tmp_path / "ours")
    assert cost == {"exact": 15, "rounded": 0, "relative_error": 0.0}
    loaded = load(tmp_path / "ours").decoder
    for name, theirs in (("q", "blk.1.attn_q.weight"), ("down", "blk.1.ffn_down.weight")):
        assert (getattr(loaded.layers[1], name).dequantise() == source.file[theirs]).all()
    assert (loaded.embedding.dequantise() == source.file["token_embd.weight"]).all()


def test_rounding_costs_what_is_said(file, tmp_path):
    cost = import_model(GGUFSource(file(gguf(*small_llama("F32")))), tmp_path / "ours", 4)
    assert cost["rounded"] == 15 and 0.03 < cost["relative_error"] < 0.1
    assert (
        import_model(GGUFSource(file(gguf(*small_llama("F32")))), tmp_path / "eight", 8)["relative_error"]
        < 0.01
    )


def test_a_stopped_import_goes_on_and_is_no_model_before_its_end(file, tmp_path, monkeypatch):
    source, out = GGUFSource(file(gguf(*small_llama("Q8_0")))), tmp_path / "ours"

    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        import_model(source, out, progress=stop)
    with pytest.raises(ValueError, match="is missing"):
        load(out)
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    import_model(source, out)
    assert not (out / "losses.json").exists()
    assert (
        all((out / name).stat().st_mtime_ns == then for name, then in written.items()) and len(written) == 2
    )
    load(out)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m, t: m.update({"general.architecture": "mamba"}), "known are llama"),
        (lambda m, t: m.update({"llama.rope.scaling.type": "longrope"}), "rope scaling 'longrope'"),
        (lambda m, t: m.update({"llama.expert_count": 4}), "mixture of experts"),
        (lambda m, t: m.update({"tokenizer.ggml.pre": "deepseek"}), "cut as 'deepseek'"),
        (lambda m, t: m.pop("llama.block_count"), "lack llama.block_count"),
        (lambda m, t: t.pop("blk.1.attn_k.weight"), "are missing, 'blk.1.attn_k.weight'"),
        (lambda m, t: t.update({"blk.0.more.weight": t["output_norm.weight"]}), "fit nothing"),
        (lambda m, t: t.update({"output_norm.weight": (0, (32,), bytes(128))}), "gives it"),
        (
            lambda m, t: t.update({"output_norm.weight": (29, (64,), bytes(256))}),
            "type 29, which is not read",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_a_sentence(file, change, sentence):
    metadata, tensors = small_llama()
    change(metadata, tensors)
    with pytest.raises(ValueError, match=sentence):
        GGUFSource(file(gguf(metadata, tensors)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"<html>" + b" " * 40,
        b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62) + b"abc" * 9,
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<IIQ", 9, 4, 1 << 61),
        b"GGUF"
        + struct.pack("<IQQ", 3, 0, 1)
        + struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<IIQ", 9, 9, 1) * 50,
        gguf({}, {"w": (0, (1 << 20, 1 << 20), b"")}),
        gguf({}, {"w": (2, (1, 31), bytes(18))}),
        gguf({"general.alignment": 3}, {}),
    ],
)
def test_hostile_files_are_refused_before_anything_is_made(file, data):
    path = file(data)
    tracemalloc.start()
    with pytest.raises((GGUFError, ValueError)):
        GGUFSource(path)
    assert tracemalloc.get_traced_memory()[1] < 300_000
    tracemalloc.stop()


def test_two_thousand_mutations_are_refused_or_harmless(file):
    whole, rng = gguf(*small_llama("Q4_0")), random.Random(0)
    header = whole.index(b"\0" * 8, 12_000) if len(whole) > 12_000 else len(whole)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(header)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        try:
            GGUFSource(file(bytes(data)))
        except ValueError:
            pass


def test_a_package_folder_with_one_file_is_enough(tmp_path):
    (tmp_path / "model.gguf").write_bytes(gguf(*small_llama()))
    assert open_source(tmp_path).config.layers == 2
    with pytest.raises(ValueError, match="0 GGUF files"):
        open_source(tmp_path / "..")


def test_a_stopped_import_knows_what_its_first_part_cost(file, tmp_path):
    source = GGUFSource(file(gguf(*small_llama("F32"))))
    whole = import_model(source, tmp_path / "whole", 2)
    assert whole["rounded"] == 15 and 0.2 < whole["relative_error"] < 0.4

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_model(source, tmp_path / "ours", 2, stop)
    assert import_model(source, tmp_path / "ours", 2) == pytest.approx(whole)


def test_show_tells_what_a_model_is(file, tmp_path):
    metadata, tensors = small_llama("F32")
    metadata |= {"general.name": "Small", "general.license": "apache-2.0"}
    import_model(GGUFSource(file(gguf(metadata, tensors))), tmp_path / "small", 2)
    made = CliRunner().invoke(app, ["show", str(tmp_path / "small"), "--json"])
    told = json.loads(made.stdout)
    layers = 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96)
    assert told["parameters"] == f"{(layers + 260 * 64 + 5 * 64) / 1e6:,.1f} M"
    assert told["bits"] == "0.1 M of 2, 0.0 M of 8" and told["licence"] == "apache-2.0"
    assert told["name"] == "Small" and told["family"] == "llama" and told["chat template"] == "yes"
    assert told["rounded"].startswith("15 of 15 matrices, relative error 0.")
    assert (
        "one token at a time" in CliRunner().invoke(app, ["show", "--model", str(tmp_path / "small")]).stdout
    )


def test_a_model_goes_without_the_files_of_others(file, tmp_path):
    source, out = GGUFSource(file(gguf(*small_llama("Q4_0")))), tmp_path / "docs"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        import_model(source, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    with pytest.raises(ValueError, match="no imported model"):
        remove(out)
    (out / "thesis.txt").unlink()
    import_model(source, out)
    (out / "thesis.txt").write_text("years of work")
    (out / "layer_0099.parquet").write_text("mine")
    assert remove(out) == ["layer_0099.parquet", "thesis.txt"]
    (out / "thesis.txt").unlink(), (out / "layer_0099.parquet").unlink()
    import_model(source, out)
    import_model(source, out)
    assert remove(out) == [] and not out.exists()


def test_a_description_cannot_have_files_elsewhere_removed(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "mine.parquet").touch()
    (tmp_path / "model" / "decoder.json").write_text('{"files": ["../mine.parquet"]}')
    with pytest.raises(ValueError, match="no imported model"):
        remove(tmp_path / "model")
    assert (tmp_path / "mine.parquet").exists()
