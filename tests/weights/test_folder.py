"""A model folder configures the engine, and refuses what it does not know."""

import json
import shutil

import numpy as np
import pytest
import torch

from bowstring.core.process import cosine, linear
from bowstring.nn.config import MODALITIES, NetworkConfig
from bowstring.text.weights import load_model, save_model
from bowstring.weights.folder import schedules
from bowstring.weights.format.parquet import Tensor, WeightsFile, write
from bowstring.weights.layout import TOKENIZER, TRUNK, carry_over, find, weights_files
from bowstring.weights.metadata import Metadata, read_metadata
from bowstring.weights.shipped import SHIPPED
from tests.conftest import build_network


def test_a_model_comes_back_rounded_to_half_precision(folder, network):
    loaded, codec, metadata = load_model(folder)
    assert metadata.bits == 16 and metadata.context == 128 and metadata.modalities == ["text"]
    assert codec.vocab == network.config.vocab
    for (name, theirs), (_, ours) in zip(loaded.named_parameters(), network.named_parameters(), strict=True):
        expected = ours.half().float() if ours.ndim > 1 else ours
        assert torch.equal(theirs, expected.detach()), name


def test_the_folder_is_laid_out_as_specified(tmp_path, codec):
    save_model(tmp_path, build_network(modalities=("text", "image")), codec)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    heads = ["heads/image_head.parquet", "heads/text_head.parquet"]
    assert found == [*heads, "metadata.json", "shared_transformer.parquet", "tokenizer/tokenizer.json"]
    assert all(name.startswith("trunk.") for name in WeightsFile(tmp_path / TRUNK))
    assert all(name.startswith("heads.image.") for name in WeightsFile(tmp_path / heads[0]))


def test_metadata_have_the_names_of_the_specification(folder):
    assert json.loads((folder / "metadata.json").read_text()) == {
        "model_type": "unified_diffusion",
        "diffusion_config": {
            "score_network": {"hidden_dim": 128, "num_layers": 3, "num_heads": 2, "intermediate_dim": 192},
            "scheduler": {"type": "linear", "num_train_steps": 1000, "num_inference_steps": 4},
            "supported_modalities": ["text", "code"],
            "consistency_distilled": False,
        },
        "quantization": {"method": "fp16", "bit_width": 16},
        "bowstring": {
            "version": 2,
            "vocab": 512,
            "rank": 32,
            "cross_every": 3,
            "context": 128,
            "blocks": [4, 8],
            "split_rule": 1,
            "speaker": 0,
            "duration_flow": 0,
            "picture_groups": [],
            "schedules": {},
        },
    }


def changed(folder, tmp_path, change):
    """A copy of a model folder whose metadata were changed in place."""
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "metadata.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return tmp_path / "m"


CONFIG = lambda data: data["diffusion_config"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(colour="red"), "colour: Extra inputs"),
        (lambda d: d.update(model_type="gan"), "model_type"),
        (lambda d: d["bowstring"].update(version=3), "version"),
        (lambda d: CONFIG(d).update(supported_modalities=[]), "supported_modalities"),
        (lambda d: CONFIG(d).update(supported_modalities=["smell"]), "supported_modalities"),
        (lambda d: CONFIG(d).update(supported_modalities=["code"]), "head of text"),
        (lambda d: CONFIG(d)["score_network"].update(hidden_size=3), "hidden_size: Extra inputs"),
        (
            lambda d: CONFIG(d)["score_network"].update(num_heads=3),
            "hidden_dim 128 is not 64 times num_heads 3",
        ),
        (lambda d: CONFIG(d)["score_network"].pop("num_layers"), "num_layers: Field required"),
        (lambda d: CONFIG(d)["scheduler"].update(type="karras"), "scheduler.*type"),
        (lambda d: CONFIG(d).update(scheduler=[]), "scheduler"),
        (lambda d: CONFIG(d).update(scheduler=4), "scheduler"),
        (lambda d: CONFIG(d).update(scheduler={}), "scheduler"),
        (lambda d: CONFIG(d)["scheduler"].update(steps=4), "steps: Extra inputs"),
        (lambda d: CONFIG(d)["scheduler"].update(type="custom"), "custom and an entry"),
        (lambda d: CONFIG(d).update(scheduler={"image": {"num_inference_steps": 4}}), "no entry for text"),
        (lambda d: d["quantization"].update(bit_width=8), "bit_width"),
        (lambda d: d["quantization"].update(bit_width=4), "'fp16' has no weights of 4 bits"),
        (lambda d: d["bowstring"].update(context="256"), "context"),
    ],
)
def test_metadata_are_a_closed_schema(folder, tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        load_model(changed(folder, tmp_path, change))


def test_schedules_and_steps_come_from_metadata(folder, tmp_path):
    sizes = NetworkConfig(width=128, depth=3, ffn_hidden=192, rank=32, vocab=512)
    data = Metadata.of(sizes, ["text", "image", "audio"]).model_dump()
    several = data["diffusion_config"]["scheduler"]
    assert {name: one["num_inference_steps"] for name, one in several.items()} == {
        "text": 4,
        "image": 16,
        "audio": 8,
    }
    several["image"] |= {"type": "cosine", "num_inference_steps": 9}
    several["audio"] |= {"type": "custom"}
    data["bowstring"]["schedules"] = {"audio": {"times": [0.0, 0.5, 1.0], "keep": [1.0, 0.9, 0.0]}}
    metadata = Metadata.model_validate(data)
    found = schedules(metadata)
    assert (found["text"], found["image"]) == (linear, cosine)
    assert found["audio"].keep(torch.tensor(0.25)) == pytest.approx(0.95)
    assert metadata.scheduler("image").num_inference_steps == 9
    assert metadata.scheduler("code").num_inference_steps == 4


VERSION_1 = {
    "model_type": "unified_diffusion",
    "version": 1,
    "network": {"width": 128, "depth": 3, "hidden": 192, "vocab": 512, "rank": 32, "cross_every": 3},
    "modalities": ["text"],
    "noise_schedule": "linear",
    "blocks": [4, 8],
    "context": 128,
    "distilled": False,
    "quantization": "fp16",
}


def as_before(folder, place, change=lambda arrays: None, **said):
    """A model folder as older versions wrote it: one file of weights, the tokenizer beside it."""
    place.mkdir()
    arrays = {n: np.array(file[n]) for file in map(WeightsFile, weights_files(folder)) for n in file}
    change(arrays)
    write(place / "network.parquet", ((name, Tensor.of(array)) for name, array in arrays.items()), {})
    (place / "metadata.json").write_text(json.dumps(VERSION_1 | said))
    shutil.copy(folder / "tokenizer" / "tokenizer.json", place)
    return place


def test_an_older_folder_is_the_same_model(folder, tmp_path):
    old, new = load_model(as_before(folder, tmp_path / "old")), load_model(folder)
    assert old[2] == new[2]
    for (name, one), (_, other) in zip(old[0].named_parameters(), new[0].named_parameters(), strict=True):
        assert torch.equal(one, other), name


def test_unknown_keys_of_older_metadata_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="colour: Extra inputs"):
        load_model(as_before(folder, tmp_path / "old", colour="red"))


def test_older_names_of_tensors_are_read(tmp_path, codec):
    """`spread` and `meaning` were `std` and `pooled`; embeddings of modalities were rows of one table."""
    save_model(tmp_path / "new", build_network(modalities=("text", "image")), codec)
    place = as_before(tmp_path / "new", tmp_path / "old", _with_old_names, modalities=["text", "image"])
    stored = WeightsFile(place / "network.parquet")
    assert not any(".std" in name or ".pooled" in name for name in stored)
    old, new = load_model(place)[0], load_model(tmp_path / "new")[0]
    for name, parameter in new.state_dict().items():
        assert torch.equal(old.state_dict()[name], parameter), name


def test_codecs_are_carried_over_from_either_layout(tmp_path):
    old, new, after = tmp_path / "old", tmp_path / "new", tmp_path / "after"
    (new / "vae").mkdir(parents=True)
    old.mkdir()
    for path in (old / "image.parquet", old / "face.parquet", new / "vae" / "decoder.parquet"):
        path.write_bytes(b"x")
    carry_over(old, after)
    carry_over(new, after)
    found = sorted(str(path.relative_to(after)) for path in after.rglob("*.parquet"))
    assert found == ["face.parquet", "image.parquet", "vae/decoder.parquet"]


def _with_old_names(arrays):
    for name in [*arrays]:
        arrays[name.replace(".pooled.", ".meaning.").replace("image.std", "image.spread")] = arrays.pop(name)
    rows = {name: arrays.pop(f"heads.{name}.modality") for name in ("text", "image")}
    other = np.full_like(rows["text"], np.nan)  # of heads that this network does not have
    arrays["trunk.modality.weight"] = np.stack([rows.get(name, other) for name in MODALITIES])


def test_a_table_of_modalities_with_other_rows_is_refused(folder, tmp_path):
    def change(arrays):
        arrays["trunk.modality.weight"] = np.stack([arrays.pop("heads.text.modality")] * 3)

    with pytest.raises(ValueError, match=r"'trunk\.modality\.weight' has shape \(3, 128\)"):
        load_model(as_before(folder, tmp_path / "old", change))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metadata\.json is missing"):
        read_metadata(tmp_path)


def _rewritten(folder, tmp_path, change, part=TRUNK):
    shutil.copytree(folder, tmp_path / "m")
    file = WeightsFile(folder / part)
    arrays = {name: np.array(file[name]) for name in file}
    change(arrays)
    write(tmp_path / "m" / part, ((n, Tensor.of(a)) for n, a in arrays.items()), {})
    return tmp_path / "m"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda a: a.update({"trunk.nrm": a["trunk.norm"]}),
            "'trunk.nrm', which no parameter.*Closest: 'trunk.norm'",
        ),
        (lambda a: a.pop("trunk.norm"), "lacks tensor 'trunk.norm'"),
        (lambda a: a.update({"trunk.norm": np.ones(3, np.float32)}), "'trunk.norm' of shape \\(3,\\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        load_model(_rewritten(folder, tmp_path, change))


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    shutil.copy(find(SHIPPED, TOKENIZER), tmp_path / "m" / TOKENIZER)
    with pytest.raises(ValueError, match="not of one model"):
        load_model(tmp_path / "m")
