"""Files of adapters come back as they were, or are refused with a sentence."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bowstring.nn.adapters import ControlNet, LoRA
from bowstring.weights.adapters import base_hash, load_adapter, save_adapter
from bowstring.weights.format.parquet import Tensor, WeightsFile, write
from bowstring.weights.layout import TRUNK
from tests.conftest import build_network

BASE = "sha256:" + "5" * 64
RNG = torch.Generator().manual_seed(0)


def shaken(adapter):
    for one in adapter.parameters():
        one.add_(torch.randn(one.shape, generator=RNG))
    return adapter


PEFTS_OWN = {
    "init_lora_weights": True,
    "loftq_config": {},
    "use_dora": False,
    "megatron_core": "megatron.core",
}


@pytest.fixture
def lora(network):
    return shaken(LoRA.fresh(network.trunk, 3, 6.0, RNG, ("attention.qkv", "cross.kv")))


@pytest.fixture
def control_net(network):
    return shaken(ControlNet.fresh(network.trunk, 4, 5, RNG))


def saved(folder, adapter, **said):
    return save_adapter(
        folder, adapter, **{"kind": "ar", "base": BASE, "domain": "tales", "gain": 0.07} | said
    )


def loaded(folder, network, **wanted):
    return load_adapter(folder, network.trunk, **{"kind": "ar", "base": BASE} | wanted)


@pytest.mark.parametrize("ending", ["safetensors", "parquet"])
@pytest.mark.parametrize("which", ["lora", "control_net"])
def test_an_adapter_comes_back_to_the_bit(which, ending, network, tmp_path, request):
    adapter = request.getfixturevalue(which)
    card = saved(tmp_path / "a", adapter, ending=ending)
    again, its_card = loaded(tmp_path / "a", network)
    assert its_card == card and type(again) is type(adapter) and again.rank == adapter.rank
    parts = ("a", "b") if which == "lora" else ("down", "up", "project")
    for part in parts:
        ours, theirs = getattr(adapter, part), getattr(again, part)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert card.gain == 0.07 and card.domain == "tales"
    assert (card.alpha, card.control) == ((6.0, None) if which == "lora" else (None, 5))


def test_the_names_are_pefts(lora, tmp_path):
    saved(tmp_path, lora)
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "base_model.model.trunk.layers.0.attention.qkv.lora_A.weight" in names
    assert "base_model.model.trunk.layers.2.cross.kv.lora_B.weight" in names and len(names) == 8
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 6.0)
    assert "trunk.layers.1.attention.qkv" in config["target_modules"]


def test_another_base_or_kind_is_refused(lora, network, tmp_path):
    saved(tmp_path, lora)
    with pytest.raises(ValueError, match="trained for 'ar'; this model writes by 'diffusion'"):
        loaded(tmp_path, network, kind="diffusion")
    with pytest.raises(ValueError, match="belongs to the base sha256:555"):
        loaded(tmp_path, network, base="sha256:" + "6" * 64)
    with pytest.raises(ValueError, match="no linear map"):
        loaded(tmp_path, build_network(depth=1))
    with pytest.raises(ValueError, match="maps 128 numbers"):
        loaded(tmp_path, build_network(width=192))


def test_a_base_is_its_trunk_and_not_its_file(folder, tmp_path):
    """Neither other heads nor an older table of modalities make another base; a changed weight does."""
    file = WeightsFile(folder / TRUNK)
    arrays = {name: np.array(file[name]) for name in file}
    hashed = lambda change: (
        write(tmp_path / "n", ((k, Tensor.of(v)) for k, v in (arrays | change).items()), {}),
        base_hash(tmp_path / "n"),
    )[1]
    expected = base_hash(folder / TRUNK)
    assert hashed({}) == expected == hashed({"heads.text.bias": np.ones(512, np.float32)})
    assert hashed({"trunk.modality.weight": np.zeros((4, 128), np.float16)}) == expected
    assert hashed({"trunk.norm": arrays["trunk.norm"] + 1}) != expected


def rewrite(path, change, note=None):
    """A file with other tensors or another card."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        note = (file.metadata() or {}) if note is None else note
    change(tensors)
    save_file(tensors, path, note)


QKV = "base_model.model.trunk.layers.0.attention.qkv.lora_{}.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.update({"lora_A": torch.zeros(3, 3)}), "unknown tensor 'lora_A'"),
        (lambda t: t.update({QKV.format("C"): torch.zeros(3, 3)}), "unknown tensor"),
        (lambda t: t.update({"base_model.model.heads.text.up.lora_A.weight": torch.zeros(3, 3)}), "unknown"),
        (lambda t: t.update({QKV.format("A").replace("s.0", "s.9"): torch.zeros(3, 128)}), "the same names"),
        (lambda t: t.pop(QKV.format("B")), "the same names"),
        (lambda t: t.clear(), "at least one"),
        (lambda t: t.update({QKV.format("A"): torch.zeros(4, 128)}), "expected"),
        (lambda t: t.update({QKV.format("A"): torch.zeros(3, 127)}), "maps 127 numbers"),
        (lambda t: t.update({QKV.format("A"): torch.zeros(384)}), "expected a matrix of reals"),
        (lambda t: t.update({QKV.format("A"): torch.zeros(3, 128, dtype=torch.int64)}), "matrix of reals"),
        (lambda t: t.update({QKV.format("A"): torch.full((3, 128), torch.nan)}), "not finite"),
        (
            lambda t: t.update({k: v.repeat(2, 1) if "_A" in k else v.repeat(1, 2) for k, v in t.items()}),
            "rank 6",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(lora, network, tmp_path, change, says):
    saved(tmp_path, lora)
    rewrite(tmp_path / "adapter_model.safetensors", change)
    with pytest.raises(ValueError, match=says):
        loaded(tmp_path, network)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"format": 2}, "format"),
        ({"method": "dora"}, "method"),
        ({"kind": "flow"}, "kind"),
        ({"base": "5" * 64}, "base"),
        ({"gain": "much"}, "gain"),
        ({"rank": 0}, "rank"),
        ({"rank": 5}, "its card says 5"),
        ({"alpha": None}, "lacks alpha"),
        ({"method": "controlnet"}, "unknown tensor"),
    ],
)
def test_cards_are_a_closed_schema(lora, network, tmp_path, change, says):
    card = json.loads(saved(tmp_path, lora).model_dump_json()) | change
    rewrite(tmp_path / "adapter_model.safetensors", lambda t: None, {"card": json.dumps(card)})
    with pytest.raises(ValueError, match=says):
        loaded(tmp_path, network)


@pytest.mark.parametrize("note", [{}, {"card": "{"}, {"card": "3"}, {"card": "null"}])
def test_a_file_without_a_sound_card_is_refused(lora, network, tmp_path, note):
    saved(tmp_path, lora)
    rewrite(tmp_path / "adapter_model.safetensors", lambda t: None, note)
    with pytest.raises(ValueError, match="card"):
        loaded(tmp_path, network)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"r": 4}, "r = 4; the adapter has 3"),
        ({"lora_alpha": 3}, "lora_alpha"),
        ({"bias": "all"}, "bias"),
        ({"use_dora": True}, "uses use_dora"),
        ({"rank_pattern": {"x": 3}}, "uses rank_pattern"),
        ({"init_lora_weights": "pissa"}, "uses init_lora_weights = pissa"),
        ({"init_lora_weights": 1}, "uses init_lora_weights"),
        ({"alora_invocation_tokens": [1]}, "uses alora_invocation_tokens"),
        ({"layer_replication": [[0, 4]]}, "uses layer_replication"),
        ({"use_bdlora": {"x": 1}}, "uses use_bdlora"),
        ({"not_yet_invented": 0}, "uses not_yet_invented"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"target_modules": ["qkv"]}, "target_modules"),
        ({"peft_type": "IA3"}, "peft_type"),
    ],
)
def test_settings_that_mean_something_else_are_refused(lora, network, tmp_path, change, says):
    saved(tmp_path, lora)
    path = tmp_path / "adapter_config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"target_modules": ["qkv", "cross.kv"], "revision": None} | PEFTS_OWN))
    assert loaded(tmp_path, network)[1].rank == 3
    path.write_text(json.dumps(said | change))
    with pytest.raises(ValueError, match=says):
        loaded(tmp_path, network)


def test_damaged_missing_and_double_files_are_refused(lora, network, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no adapter"):
        loaded(tmp_path, network)
    for ending in ("safetensors", "parquet"):
        folder = tmp_path / ending
        saved(folder, lora, ending=ending)
        path = folder / f"adapter_model.{ending}"
        whole = path.read_bytes()
        for cut in (0, 7, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:cut])
            with pytest.raises(ValueError, match="adapter_model"):
                loaded(folder, network)
    saved(tmp_path, lora)
    saved(tmp_path, lora, ending="parquet")
    with pytest.raises(ValueError, match="keep the one"):
        loaded(tmp_path, network)
    (tmp_path / "adapter_model.parquet").unlink()
    for text in ("{", "[]"):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(ValueError, match="adapter_config"):
            loaded(tmp_path, network)
    with pytest.raises(ValueError, match="domain"):
        saved(tmp_path, lora, domain="")


@pytest.mark.parametrize(
    "said", [5, ["a"], {"a": 5}, {"a": ["x", 1]}, {"a": [1]}, {"a": [True, 1]}, {"a": [-1, 1]}]
)
def test_shapes_of_packed_matrices_are_two_whole_numbers(lora, network, tmp_path, said):
    card = saved(tmp_path, lora, ending="parquet").model_dump_json()
    path = tmp_path / "adapter_model.parquet"
    file = WeightsFile(path)
    write(path, [(name, Tensor.of(np.array(file[name]))) for name in file], {"card": card, "int4": said})
    with pytest.raises(ValueError, match=r"'int4' is .*; expected"):
        loaded(tmp_path, network)
