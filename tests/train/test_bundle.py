"""A training from a bundle is the training: packed, made with numpy and torch alone, joined, equal."""

import copy
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from bowstring.engine import ArrowEngine
from bowstring.image.autoencoder import ImageAutoencoder
from bowstring.image.weights import load_autoencoder
from bowstring.speech.g2p import G2P
from bowstring.speech.vocoder import Vocoder
from bowstring.text.weights import load_model
from bowstring.train.bundle import bundle, join
from bowstring.train.bundle.arrays import pack_files, pack_network, pack_text, prefixed
from bowstring.train.bundle.joint import pack_coder, pack_face, pack_joint, unpack_joint
from bowstring.train.bundle.pictures import CompressedPictures, pack_pictures
from bowstring.train.bundle.speech import pack_readings, pack_words, unpack_readings
from bowstring.train.bundle.text import pack_corpus, unpack_corpus
from bowstring.train.data.corpora import build_corpus, snippet_documents, story_documents
from bowstring.train.face.head import FaceData, run_face
from bowstring.train.image.autoencoder import AutoencoderRecipe, run_autoencoder
from bowstring.train.joint.multimodal import run_multimodal
from bowstring.train.parts import MANIFEST, read_parts, write_parts
from bowstring.train.schedule import Run
from bowstring.train.speech.flow import fit_coder
from bowstring.train.speech.g2p import fit_g2p
from bowstring.train.speech.postfilter import run_postfilter
from bowstring.train.speech.reading import Reading
from bowstring.train.text.qat import QATRecipe, run_qat
from bowstring.train.text.recipes import RECIPES
from bowstring.train.text.run import train_text
from bowstring.weights.layout import FACE, POSTFILTER
from bowstring.weights.quant.packed import matrices
from bowstring.weights.tensors import arrays_of, round_module
from tests.train.test_teacher import utterance
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
import bowstring.train.image.autoencoder as autoencoder
import bowstring.train.speech.postfilter as postfilter
autoencoder.AutoencoderRecipe.__init__.__defaults__ = {recipe}
autoencoder.ImageAutoencoder.fit_basis = lambda self, pixels: None
postfilter.POSTFILTER_ROWS, postfilter.HELD_OUT_READINGS = 2, 1
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
    "hibari",
    "jsonschema",
}


SMALL_RECIPE = (1, 1, 1.5e-3, 3e-5, 1, 0)  # of the autoencoder


def train_alone(*folders):
    """Trains from bundles in a process that has nothing but numpy, torch and what Python brings."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    code = ALONE.replace("{missing}", repr(MISSING)).replace("{recipe}", repr(SMALL_RECIPE))
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


@pytest.fixture
def small(monkeypatch):
    """What the process of `train_alone` is made small by, here."""
    monkeypatch.setattr("bowstring.train.optim.fast_dtype", lambda: torch.float32)
    monkeypatch.setattr(AutoencoderRecipe.__init__, "__defaults__", SMALL_RECIPE)
    monkeypatch.setattr(ImageAutoencoder, "fit_basis", lambda self, pixels: None)  # a closed form, and slow
    monkeypatch.setattr("bowstring.train.speech.postfilter.POSTFILTER_ROWS", 2)
    monkeypatch.setattr("bowstring.train.speech.postfilter.HELD_OUT_READINGS", 1)


def reading(seed):
    """Two seconds of a pitch that moves, with noise."""
    rng = np.random.default_rng(seed)
    signal = 0.1 * np.sin(2 * np.pi * np.cumsum(120 + 20 * rng.normal(size=48_000).cumsum() / 300) / 24_000)
    pitch = np.full(160, 120 + seed, np.float32)
    noise = 0.01 * rng.normal(size=48_000)
    return Reading("h\u0259l", np.full(5, 0.4), (signal + noise).astype(np.float32), pitch)


def face_data():
    some = [utterance(seed) for seed in range(3)]
    rng = torch.Generator().manual_seed(0)
    faces = [torch.randn(-(-len(one.frames) // 8), 40, generator=rng) for one in some]
    return FaceData(some, fit_coder(some), faces, [np.full(103, 0.1 * i, np.float32) for i in range(3)])


def same_weights(module, other):
    for name, value in module.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=2e-3, rtol=2e-3, msg=name)


def rounded_weights(module):
    """As files keep them."""
    again = copy.deepcopy(module)
    round_module(again)
    return again


def test_what_lies_beside_a_network_is_trained_from_a_bundle_too(small, corpus, codec, tmp_path):  # noqa: F811
    """Five recipes, each with numpy and torch alone, and each equal to the training where everything is."""
    text, speaking = joint_network(), joint_network("audio", "avatar")
    tokenizer, metadata = pack_text(codec.to_json()), {"context": 64, "blocks": [4]}
    (arrays, shape), (more, wide) = pack_network(text), pack_network(speaking)
    plan = {"bits": 4, "steps": 2}
    qat = {"recipe": "int4", "shape": shape, "plan": plan, "text": asdict(RECIPE), "metadata": metadata}
    sent = prefixed("corpus", pack_corpus(corpus)) | prefixed("network", arrays) | {"tokenizer": tokenizer}
    write_parts(tmp_path / "int4", sent, qat, 40_000_000)

    face, given = face_data(), {"steps": 2}
    (tmp_path / "face.bin").write_bytes(b"face")
    sent = prefixed("network", more) | pack_face(face) | pack_files({FACE: tmp_path / "face.bin"})
    settings = {"recipe": "face", "shape": wide, "metadata": metadata, "given": given}
    write_parts(tmp_path / "face", sent | {"tokenizer": tokenizer}, settings, 40_000_000)

    read, voice = [reading(seed) for seed in range(3)], np.zeros(103, np.float32)
    sent = prefixed("network", more) | prefixed("coder", pack_coder(face.coder)) | {"voice": voice}
    sent |= prefixed("readings", pack_readings(read)) | pack_files({"metadata.json": tmp_path / "face.bin"})
    about = {"recipe": "postfilter", "shape": wide, "given": given}
    write_parts(tmp_path / "postfilter", sent, about, 40_000_000)

    pixels = np.random.default_rng(0).integers(0, 9, (4, 512, 512, 3)).astype(np.uint8) * 28
    held_out = np.array([False, False, False, True])
    sent = prefixed("pictures", pack_pictures(pixels)) | {"held_out": held_out}
    write_parts(tmp_path / "autoencoder", sent, {"recipe": "autoencoder"}, 40_000_000)

    rows = [("fox", "f\u02c8\u0251ks"), ("box", "b\u02c8\u0251ks"), ("ox", "\u02c8\u0251ks")]
    sent = {"learned": pack_words(rows), "file/words": pack_words(rows[:2])}
    write_parts(tmp_path / "g2p", sent, {"recipe": "g2p", "given": given}, 40_000_000)

    recipes = ("int4", "face", "postfilter", "autoencoder", "g2p")
    train_alone(*(tmp_path / place for one in recipes for place in (one, f"{one}-run")))
    for one in recipes:
        join(tmp_path / f"{one}-run" / "result", tmp_path / "made" / one)
    made = tmp_path / "made"

    direct = run_qat(text, corpus, QATRecipe(**plan, recipe=RECIPE), Run(tmp_path / "q"))
    joined, _, said = load_model(made / "int4")
    assert said.bits == 4
    for name, matrix in matrices(direct).items():
        assert np.array_equal(matrix.lines, matrices(joined)[name].lines), name
    same_weights(direct, joined)

    direct = run_face(joint_network("audio", "avatar"), face, Run(tmp_path / "f"), 2)
    joined = load_model(made / "face")[0]
    same_weights(direct, joined)
    assert not torch.equal(joined.heads["avatar"].down.weight, speaking.heads["avatar"].down.weight)
    assert (made / "face" / FACE).read_bytes() == b"face"

    network = joint_network("audio", "avatar")
    direct = run_postfilter(read, network, face.coder, voice, Run(tmp_path / "p"), 2)
    same_weights(rounded_weights(direct), Vocoder.load(made / "postfilter" / POSTFILTER).postfilter)
    assert (made / "postfilter" / "metadata.json").read_bytes() == b"face"

    direct = run_autoencoder(pixels, held_out, Run(tmp_path / "a"))
    same_weights(rounded_weights(direct), load_autoencoder(made / "autoencoder"))

    direct, known = fit_g2p(rows, 2), G2P(made / "g2p")
    letters = arrays_of(rounded_weights(direct))
    assert letters.keys() == known.letters.keys()
    assert all(np.array_equal(letters[name], one) for name, one in known.letters.items())
    assert known.dictionary == dict(rows[:2])


def test_pictures_and_readings_come_back():
    pixels = np.random.default_rng(1).integers(0, 255, (3, 512, 512, 3)).astype(np.uint8)
    again = CompressedPictures(pack_pictures(pixels))
    assert np.array_equal(again[1], pixels[1]) and np.array_equal(again[np.array([0, 2])], pixels[[0, 2]])
    flat = np.full((1, 512, 512, 3), 200, np.uint8)
    assert pack_pictures(flat)["flat"].nbytes < 2000
    for ours, theirs in zip(unpack_readings(pack_readings([reading(0), reading(1)])), range(2), strict=True):
        one = reading(theirs)
        assert ours.symbols == one.symbols
        for name in ("seconds", "signal", "pitch"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(one, name))


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
    with pytest.raises(ValueError, match=r"'speaker' cannot be bundled; expected one of text.*postfilter"):
        bundle("speaker", tmp_path, tmp_path, tmp_path / "out", {})
