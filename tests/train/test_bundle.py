"""A training from a bundle is the training: packed, made with numpy and torch alone, joined, equal."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bowstring.engine import ArrowEngine
from bowstring.text.weights import load_model
from bowstring.train.bundle import (
    bundle,
    join,
    pack_corpus,
    pack_joint,
    pack_network,
    prefixed,
    unpack_corpus,
    unpack_joint,
)
from bowstring.train.data.corpora import build_corpus, snippet_documents, story_documents
from bowstring.train.joint.multimodal import run_multimodal
from bowstring.train.parts import MANIFEST, read_parts, write_parts
from bowstring.train.schedule import Run
from bowstring.train.text.recipes import RECIPES
from bowstring.train.text.run import train_text
from tests.train.test_trainings import RECIPE, corpus, joint_data, joint_network  # noqa: F401  fixtures

ALONE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ImportError(name + " is not installed here")

sys.meta_path.insert(0, Missing())
import torch
import bowstring.train.optim as optim
optim.fast_dtype = lambda: torch.float32
from bowstring.train.__main__ import main
for folder, out in zip(sys.argv[1::2], sys.argv[2::2]):
    sys.argv = ["train", folder, out, "--device", "cpu"]
    main()
"""
MISSING = {
    "tokenizers",
    "pydantic",
    "safetensors",
    "rich",
    "typer",
    "PIL",
    "soundfile",
    "structlog",
    "starlette",
}


def train_alone(*folders):
    """Trains from bundles in a process that has nothing but numpy, torch and what Python brings."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    code = ALONE.replace("{missing}", repr(MISSING))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr("bowstring.train.data.corpora.story_documents", lambda: story_documents(30))
    monkeypatch.setattr("bowstring.train.data.corpora.snippet_documents", lambda: snippet_documents(30))
    monkeypatch.setattr("bowstring.train.data.corpora.modules", lambda _: iter(()))
    monkeypatch.setattr("bowstring.train.optim.fast_dtype", lambda: torch.float32)
    for kind in ("text", "code"):
        build_corpus(kind, tmp_path / "data")
    monkeypatch.setitem(RECIPES, "test", lambda: RECIPE)
    return tmp_path / "data"


def files_of(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_bundle_trains_what_the_recipe_trains(data, codec, joint_data, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("bowstring.train.bundle.BUNDLED", ("test",))
    train_text("test", data, Run(tmp_path / "direct"))
    bundle("test", data, tmp_path, tmp_path / "text", {})

    network, teacher = joint_network("image", "audio"), joint_network()
    (arrays, shape), (kept, kept_shape) = pack_network(network), pack_network(teacher)
    write_parts(
        tmp_path / "joint",
        prefixed("network", arrays)
        | prefixed("teacher", kept)
        | pack_joint(joint_data)
        | {
            "file/codecs/speech.parquet": np.arange(9, dtype=np.uint8),
            "tokenizer": np.frombuffer(codec.to_json().encode(), np.uint8),
        },
        {
            **{"recipe": "multimodal", "shape": shape, "teacher": kept_shape, "fresh": False},
            **{"metadata": {"context": 64, "blocks": [4]}, "given": {"steps": 2, "seed": 3}},
        },
        1_300_000,
    )
    assert len([*(tmp_path / "joint").glob("part-*")]) > 1
    train_alone(tmp_path / "text", tmp_path / "a", tmp_path / "joint", tmp_path / "b")

    join(tmp_path / "a" / "result", tmp_path / "joined")
    assert files_of(tmp_path / "joined") == files_of(tmp_path / "direct" / "model")
    assert ArrowEngine.load(tmp_path / "joined").generate("a fox", max_tokens=4).nfe > 0

    join(tmp_path / "b" / "result", tmp_path / "both")
    run_multimodal(network, teacher, joint_data, Run(tmp_path / "c"), 2, 3, fresh=False)
    made, _, metadata = load_model(tmp_path / "both")
    assert metadata.context == 64 and [*made.heads] == ["text", "image", "audio"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(made.state_dict()[name], value, atol=1e-3, rtol=1e-3)  # FP16 on the disk
    assert (tmp_path / "both" / "codecs" / "speech.parquet").read_bytes() == bytes(range(9))
    with pytest.raises(ValueError, match="holds a bundle, not a result"):
        join(tmp_path / "text", tmp_path / "none")


def test_what_is_packed_comes_back(corpus, joint_data):  # noqa: F811
    assert unpack_corpus(pack_corpus(corpus)) == corpus
    again = unpack_joint(pack_joint(joint_data))
    assert again.pictures == joint_data.pictures and torch.equal(again.latents, joint_data.latents)
    for a, b in zip(again.utterances, joint_data.utterances, strict=True):
        np.testing.assert_array_equal(a.phonemes, b.phonemes)
        np.testing.assert_allclose(a.frames.envelope, b.frames.envelope, atol=0.01)  # FP16


def test_parts_are_small_whole_and_of_every_type(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=(700, 1000)).astype(np.float32),
        "b": rng.integers(0, 2, 5).astype(bool),
        "c": np.zeros((0, 3), np.int16),
        "d": np.array(7),
        "e": rng.integers(0, 9, 1_500_000).astype(np.uint16),
    }
    paths = write_parts(tmp_path, arrays, {"recipe": "test"}, 2_000_000)
    assert len(paths) == 6 and max(path.stat().st_size for path in paths) <= 2_000_000
    found, settings = read_parts(tmp_path)
    assert settings == {"recipe": "test"} and [*found] == [*arrays]
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(FileExistsError, match="holds parts already"):
        write_parts(tmp_path, arrays, {}, 2_000_000)
    damaged = bytearray(paths[1].read_bytes())
    damaged[-100] ^= 1
    paths[1].write_bytes(damaged)
    with pytest.raises(ValueError, match=r"part-001.parquet does not match its hash"):
        read_parts(tmp_path)
    paths[1].unlink()
    with pytest.raises(FileNotFoundError, match="names 6 parts"):
        read_parts(tmp_path)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match="written last"):
        read_parts(tmp_path)


def test_what_cannot_travel_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'postfilter' cannot be bundled; expected one of text"):
        bundle("postfilter", tmp_path, tmp_path, tmp_path / "out", {})
