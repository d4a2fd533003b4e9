"""Adapters of imported models: PEFT's files, cards, hot swap."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bowstring.decode.decoder import Decoder
from bowstring.decode.deltas import Deltas, LowRank
from bowstring.llm.adapters import load_adapter, rows_as, save_adapter
from bowstring.llm.folder import in_full
from bowstring.llm.importing import HuggingFaceSource

from .test_deltas import SHAPES, TOKENS, decoder, drawn, low_rank
from .test_deltas import branches as branches_of
from .test_deltas import logits as logits_of
from .test_generate import model  # noqa: F401  a fixture
from .test_parity import random_model, saved, theirs  # noqa: F401  a fixture

BASE = "sha256:" + "5" * 64
SAID = {"kind": "ar", "base": BASE, "domain": "tales"}


def test_deltas_come_back_and_bend_alike(tmp_path):
    plain = decoder()
    for i, (deltas, method, ending, numbers) in enumerate(
        [
            (low_rank(SHAPES, 3, 20, 0.5), "lora", "safetensors", "F32"),
            (branches_of(40), "controlnet", "parquet", "F32"),
            (low_rank(SHAPES, 3, 20) | branches_of(40), "mixed", "parquet", "F16"),
            (low_rank(SHAPES, 3, 20) | branches_of(40), "mixed", "parquet", "INT4"),
            (Deltas({(0, "k"): (LowRank(drawn(32, 64), None, 0.5),)}), "full", "parquet", "F32"),
        ]
    ):
        folder = tmp_path / str(i)
        card = save_adapter(folder, deltas, plain.config, **SAID, ending=ending, numbers=numbers)
        again, its = load_adapter(folder, plain, base=BASE, kind="ar")
        assert its == card and card.method == method
        wanted, found = (logits_of(plain.with_deltas(one)) for one in (deltas, again))
        tight = {"F32": 1e-6, "F16": 1e-2, "INT4": 0.3}[numbers]
        assert np.abs(found - wanted).max() <= tight * np.abs(wanted).max()
        twice = tmp_path / f"{i} again"
        save_adapter(twice, again, plain.config, **SAID, ending=ending, numbers=numbers)
        if numbers != "INT4":
            files = [next(one.glob("adapter_model.*")).read_bytes() for one in (folder, twice)]
            assert files[0] == files[1]


def test_pairs_of_rotations_are_turned_into_their_own_order(tmp_path):
    """A decoder that turns neighbouring pairs takes what was trained beside one that turns halves."""
    halves = decoder()
    order = np.arange(16).reshape(2, 8).T.ravel()  # rows of a head, by hand
    rows = lambda n: (np.arange(0, n, 16)[:, None] + order).ravel()
    matrices = lambda layer, name: replace(
        getattr(layer, name), values=getattr(layer, name).values[rows(SHAPES[name][0])]
    )
    layers = [replace(one, q=matrices(one, "q"), k=matrices(one, "k")) for one in halves.layers]
    config = replace(halves.config, rope=replace(halves.config.rope, interleaved=True))
    pairs = Decoder(config, halves.embedding, layers, halves.norm)
    np.testing.assert_allclose(logits_of(pairs), logits_of(halves), atol=1e-4)
    deltas = low_rank(SHAPES, 3, 20)
    save_adapter(tmp_path, deltas, halves.config, **SAID)
    theirs, _ = load_adapter(tmp_path, pairs, base=BASE, kind="ar")
    np.testing.assert_allclose(
        logits_of(pairs.with_deltas(theirs)), logits_of(halves.with_deltas(deltas)), atol=1e-4
    )
    b = theirs.low_rank[0, "q"][0].b
    assert np.array_equal(rows_as(b, "q", config, back=True), deltas.low_rank[0, "q"][0].b)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (SAID | {"kind": "diffusion"}, "trained for 'diffusion'; this model writes by 'ar'"),
        (SAID | {"base": "sha256:" + "6" * 64}, "belongs to the base sha256:666"),
    ],
)
def test_another_kind_or_base_is_refused(tmp_path, change, says):
    save_adapter(tmp_path, low_rank(SHAPES, 3, 20), decoder().config, **change)
    with pytest.raises(ValueError, match=says):
        load_adapter(tmp_path, decoder(), base=BASE, kind="ar")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task_type": "SEQ_CLS"}, "for the task 'SEQ_CLS'"),
        ({"use_dora": True}, "uses use_dora"),
        ({"r": 4}, "its card says 4"),
        ({"lora_alpha": "much"}, "expected numbers"),
        ({"lora_alpha": 10**400}, "larger than any float"),
        ({"bias": "all"}, "bias = 'all'"),
    ],
)
def test_settings_of_peft_that_mean_something_else_are_refused(tmp_path, change, says):
    from safetensors.numpy import load_file, save_file

    save_adapter(tmp_path, low_rank(SHAPES, 3, 20), decoder().config, **SAID)
    path = tmp_path / "adapter_model.safetensors"
    save_file(load_file(path), path)  # without a card, as PEFT writes it
    load_adapter(tmp_path, decoder(), base=BASE, kind="ar")
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ValueError, match=says):
        load_adapter(tmp_path, decoder(), base=BASE, kind="ar")


def test_adapters_are_swapped_while_a_model_runs(model, tmp_path):  # noqa: F811
    """Weights go on and off, alone and together; without any, the text is the base's again."""
    config = model.decoder.config
    sizes = {name: getattr(model.decoder.layers[0], name).shape for name in SHAPES}
    for i, name in enumerate(("one", "two")):
        deltas = Deltas(
            {
                (0, which): (LowRank(drawn(2, k, seed=7 + i), drawn(n, 2, seed=9 + i), 8.0),)
                for which, (n, k) in sizes.items()
            }
        )
        save_adapter(tmp_path / name, deltas, config, kind="ar", base=model.base, domain=name)
    write = lambda **options: model.generate("ab", max_tokens=12, temperature=0.9, **options)
    base = write()
    assert model.load_adapter(tmp_path / "one") == "one"
    bent = write()
    assert bent != base and bent.settings["adapters"] == {"one": 1.0}
    assert write(adapters={}) == base and "adapters" not in write(adapters={}).settings
    model.load_adapter(tmp_path / "two", "other", weight=0)
    assert write() == bent != write(adapters={"one": 1.0, "other": -2.0})
    model.set_adapters({"other": 1})
    assert write() == write(adapters={"other": 1.0}) != bent
    model.unload_adapter("other")
    assert write() == base and write(adapters={"one": 1.0}) == bent
    with pytest.raises(ValueError, match="no adapter 'other'; there are one"):
        write(adapters={"other": 1.0})
    with pytest.raises(TypeError, match="expected weights by name"):
        write(adapters=["one"])
    model.unload_adapter("one")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_peft_reads_ours_and_we_read_theirs(saved, tmp_path):  # noqa: F811
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    base = random_model("llama")
    folder = saved(base)
    ours = in_full(HuggingFaceSource(folder))
    settings = peft.LoraConfig(
        r=3, lora_alpha=7, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    trained = peft.get_peft_model(random_model("llama"), settings)
    with torch.no_grad():
        for name, one in trained.named_parameters():
            if "lora_B" in name:
                one.normal_(std=0.2)
    trained.save_pretrained(tmp_path / "theirs")
    deltas, card = load_adapter(tmp_path / "theirs", ours, base=BASE, kind="ar")
    assert (card.rank, card.alpha, len(deltas.low_rank)) == (3, 7.0, 9)
    wanted = theirs(trained, TOKENS)
    assert np.abs(logits_of(ours.with_deltas(deltas)) - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert np.abs(logits_of(ours) - wanted).max() > 1e-2 * np.abs(wanted).max()
    sizes = {name: getattr(ours.layers[0], name).shape for name in SHAPES}
    mine = low_rank(sizes, 2, 20, 0.7)
    save_adapter(tmp_path / "ours", mine, ours.config, **SAID)
    again = peft.PeftModel.from_pretrained(random_model("llama"), tmp_path / "ours").eval()
    wanted = logits_of(ours.with_deltas(mine))
    assert np.abs(theirs(again, TOKENS) - wanted).max() < 1e-4 * np.abs(wanted).max()
