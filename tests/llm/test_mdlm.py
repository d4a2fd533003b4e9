"""MDLM: our folded decoder against the formula written anew in torch, and what must not pass for it."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bowstring.llm.folder import in_full, load
from bowstring.llm.importing import import_model, open_source
from bowstring.llm.mdlm import file_shapes, mdlm_config
from bowstring.llm.pipeline import LanguageModel

SAID = {
    "model_type": "mdlm",
    "vocab_size": 98,
    "model_length": 64,
    "hidden_dim": 64,
    "cond_dim": 24,
    "n_blocks": 2,
    "n_heads": 4,
    "time_conditioning": False,
}
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 96, "content": "<|endoftext|>", "special": True, **PLAIN}],
    "model": {"type": "BPE", "vocab": {chr(32 + i): i for i in range(95)}, "merges": []},
}
TOKENS = np.array([5, 97, 3, 42, 97, 97, 9, 33, 60, 2, 97, 11])


def random_tensors(seed=0):
    """Every tensor says something."""
    rng, found = np.random.default_rng(seed), {}
    for name, shape in file_shapes(mdlm_config(SAID, ()), SAID["cond_dim"], 16).items():
        noise = rng.normal(size=shape).astype(np.float32)
        found[name] = 1 + 0.3 * noise if "norm" in name else 0.25 * noise
    return found


@pytest.fixture
def folder(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file

    def write(tensors=None, **said):
        (tmp_path / "config.json").write_text(json.dumps(SAID | said))
        (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        tensors = random_tensors() if tensors is None else tensors
        save_file(
            tensors | {"backbone.rotary_emb.inv_freq": np.ones(8, np.float32)},
            tmp_path / "model.safetensors",
        )
        return tmp_path

    return write


def reference(tensors, tokens):
    """The authors' forward at sigma 0, step by step, nothing folded."""
    w = {name.removeprefix("backbone."): torch.from_numpy(value) for name, value in tensors.items()}
    heads, width = SAID["n_heads"], SAID["hidden_dim"]

    def linear(x, place):
        return F.linear(x, w[f"{place}.weight"], w.get(f"{place}.bias"))

    def norm(x, place):
        return F.layer_norm(x, [width], eps=1e-5) * w[f"{place}.weight"]

    half = 8
    angles = torch.zeros(1, 1) * torch.exp(-np.log(10_000) * torch.arange(half) / half)
    waves = torch.cat([torch.cos(angles), torch.sin(angles)], -1)
    condition = F.silu(linear(F.silu(linear(waves, "sigma_map.mlp.0")), "sigma_map.mlp.2"))
    place = torch.arange(len(tokens)).float()[:, None]
    angle = place / 10_000 ** (torch.arange(0, width // heads, 2) / (width // heads))
    cos, sin = (torch.cat([f(angle)] * 2, -1)[:, None] for f in (torch.cos, torch.sin))

    def rotate(x):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    x = w["vocab_embed.embedding"][torch.from_numpy(tokens)]
    for i in range(SAID["n_blocks"]):
        at = f"blocks.{i}"
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = linear(
            condition, f"{at}.adaLN_modulation"
        ).chunk(6, -1)
        y = norm(x, f"{at}.norm1") * (1 + scale_a) + shift_a
        q, k, v = linear(y, f"{at}.attn_qkv").reshape(len(tokens), 3, heads, -1).unbind(1)
        y = F.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in (rotate(q), rotate(k), v))
        )
        x = x + gate_a * linear(y[0].transpose(0, 1).reshape(len(tokens), width), f"{at}.attn_out")
        y = norm(x, f"{at}.norm2") * (1 + scale_f) + shift_f
        y = linear(F.gelu(linear(y, f"{at}.mlp.0"), approximate="tanh"), f"{at}.mlp.2")
        x = x + gate_f * y
    shift, scale = linear(condition, "output_layer.adaLN_modulation").chunk(2, -1)
    x = norm(x, "output_layer.norm_final") * (1 + scale) + shift
    return linear(x, "output_layer.linear").numpy()


def all_seen(decoder, tokens):
    return decoder.logits(decoder.forward(tokens, decoder.cache(), np.ones((len(tokens),) * 2, bool)))


def test_logits_are_those_of_the_formula(folder):
    wanted = reference(random_tensors(), TOKENS)
    found = all_seen(in_full(open_source(folder())), TOKENS)
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name", [*file_shapes(mdlm_config(SAID, ()), SAID["cond_dim"], 16)])
def test_every_tensor_counts(folder, name):
    """A converter that left one out would not see it changed; sines at time 0 count for nothing."""
    tensors = random_tensors()
    before = all_seen(in_full(open_source(folder(tensors))), TOKENS)
    tensors[name] = tensors[name] + 0.5 * np.random.default_rng(1).normal(size=tensors[name].shape).astype(
        "f4"
    )
    found, wanted = all_seen(in_full(open_source(folder(tensors))), TOKENS), reference(tensors, TOKENS)
    assert np.abs(found - before).max() > 1e-3
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("fault", ["causal", "interleaved", "root mean square", "no gate", "no shift"])
def test_what_is_wrong_does_not_pass(folder, fault):
    from dataclasses import replace

    wanted, decoder = reference(random_tensors(), TOKENS), in_full(open_source(folder()))
    if fault == "interleaved":
        decoder.config = replace(decoder.config, rope=replace(decoder.config.rope, interleaved=True))
    if fault == "root mean square":
        decoder.config = replace(decoder.config, centred=False)
    if fault == "no gate":
        decoder.layers[0] = replace(decoder.layers[0], attention_gate=None)
    if fault == "no shift":
        decoder.norm_shift = None
    if fault == "causal":
        found = decoder.logits(decoder.forward(TOKENS, decoder.cache()))
    else:
        found = all_seen(decoder, TOKENS)
    assert np.abs(found - wanted).max() > 1e-2 * np.abs(wanted).max()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_native_call_is_the_readable_one(folder, tmp_path, bits):
    import_model(open_source(folder()), tmp_path / "ours", bits)
    decoder = load(tmp_path / "ours").decoder
    assert decoder._described is not None
    fast, described, decoder._described = all_seen(decoder, TOKENS), decoder._described, None
    slow = all_seen(decoder, TOKENS)
    decoder._described = described
    assert np.abs(fast - slow).max() < 2e-2 * np.abs(slow).max()
    fine, decoder.fine._described = all_seen(decoder.fine, TOKENS), None
    assert np.abs(fine - all_seen(decoder.fine, TOKENS)).max() < 1e-4 * np.abs(slow).max()


def test_it_writes_by_both_orders_and_says_what_it_cannot(folder, tmp_path):
    import_model(open_source(folder()), tmp_path / "ours")
    model = LanguageModel.load(tmp_path / "ours")
    assert model.mode == "diffusion" and model.encode("abc").shape == (64,)
    for options in ({}, {"steps": 4}, {"order": "ancestral"}, {"order": "ancestral", "steps": 3}):
        made = model.generate("the sea", max_tokens=20, seed=2, **options)
        assert len(made.tokens) <= 20 and made.nfe <= options.get("steps", 20)
        assert made.text == model.generate("the sea", max_tokens=20, seed=2, **options).text
    for options, sentence in (
        ({"mode": "ar"}, "fills a canvas"),
        ({"exact": True}, "whole canvas"),
        ({"order": "leftmost"}, "order"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model.generate("the", **options)
    with pytest.raises(ValueError, match="no chat template"):
        model.chat("hello")
    with pytest.raises(ValueError, match="no such likelihood"):
        model.log_likelihood("a", "b")


@pytest.mark.parametrize(
    ("change", "said", "sentence"),
    [
        (lambda t: t.pop("backbone.blocks.1.mlp.2.bias"), {}, "1 tensors are missing"),
        (lambda t: t.update({"backbone.blocks.2.x": np.ones(3, "f4")}), {}, "fit nothing in an MDLM"),
        (
            lambda t: t.update({"backbone.blocks.0.mlp.0.bias": np.ones(3, "f4")}),
            {},
            "the configuration gives it",
        ),
        (lambda t: None, {"time_conditioning": True}, "depends on time"),
        (lambda t: None, {"n_heads": 5}, "multiple of 16"),
        (lambda t: None, {"n_blocks": 3}, "are missing"),
    ],
)
def test_what_is_no_mdlm_is_refused_by_a_sentence(folder, change, said, sentence):
    tensors = random_tensors()
    change(tensors)
    with pytest.raises(ValueError, match=sentence):
        open_source(folder(tensors, **said))


def test_a_missing_tokenizer_is_asked_for(folder):
    place = folder()
    (place / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="put GPT-2's there"):
        open_source(place)
