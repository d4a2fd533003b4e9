"""A model folder configures the engine, and refuses what it does not know."""

import json
import shutil

import numpy as np
import pytest
import torch

from bowstring.nn.config import MODALITIES
from bowstring.text.weights import load_model, save_model
from bowstring.weights.folder import read_metadata
from bowstring.weights.format.parquet import Tensor, WeightsFile, write
from bowstring.weights.shipped import SHIPPED
from tests.conftest import build_network


def test_a_model_comes_back_rounded_to_half_precision(folder, network):
    loaded, codec, metadata = load_model(folder)
    assert metadata.quantization == "fp16" and metadata.context == 128 and metadata.modalities == ["text"]
    assert codec.vocab == network.config.vocab
    for (name, theirs), (_, ours) in zip(loaded.named_parameters(), network.named_parameters(), strict=True):
        expected = ours.half().float() if ours.ndim > 1 else ours
        assert torch.equal(theirs, expected.detach()), name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"model_type": "gan"}, "model_type"),
        ({"version": 2}, "version"),
        ({"modalities": []}, "modalities"),
        ({"modalities": ["smell"]}, "modalities"),
        ({"quantization": "int1"}, "quantization"),
        ({"context": "256"}, "context"),
        ({"network": {"wdth": 3}}, "unknown keys \\['wdth'\\]"),
    ],
)
def test_metadata_is_a_closed_schema(folder, tmp_path, change, says):
    shutil.copytree(folder, tmp_path / "m")
    path = tmp_path / "m" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=says):
        load_model(tmp_path / "m")


def test_older_names_of_tensors_and_settings_are_read(tmp_path, codec):
    """`spread`, `meaning` and `hidden` were the names of `std`, `pooled` and `ffn_hidden`; the embeddings of
    modalities were rows of one table.
    """
    network = build_network(modalities=("text", "image"))
    save_model(tmp_path / "model", network, codec)
    place = _rewritten(tmp_path / "model", tmp_path, _with_old_names)
    path = place / "metadata.json"
    path.write_text(path.read_text().replace('"ffn_hidden"', '"hidden"'))
    assert not any(".std" in name or ".pooled" in name for name in WeightsFile(place / "network.parquet"))
    old, new = load_model(place)[0], load_model(tmp_path / "model")[0]
    assert old.config == new.config == network.config
    for name, parameter in new.state_dict().items():
        assert torch.equal(old.state_dict()[name], parameter), name


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
        load_model(_rewritten(folder, tmp_path, change))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metadata\.json is missing"):
        read_metadata(tmp_path)


def _rewritten(folder, tmp_path, change):
    shutil.copytree(folder, tmp_path / "m")
    file = WeightsFile(folder / "network.parquet")
    arrays = {name: np.array(file[name]) for name in file}
    change(arrays)
    write(tmp_path / "m" / "network.parquet", ((n, Tensor.of(a)) for n, a in arrays.items()), {})
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
    shutil.copy(SHIPPED / "tokenizer.json", tmp_path / "m" / "tokenizer.json")
    with pytest.raises(ValueError, match="not of one model"):
        load_model(tmp_path / "m")
