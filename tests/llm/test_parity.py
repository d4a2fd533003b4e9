"""Our decoder against transformers on small random weights, and what must not pass for equal."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bowstring.llm.folder import in_full, load
from bowstring.llm.importing import GGUFSource, HuggingFaceSource, import_model

from .gguf_files import gguf, small_llama

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SIZES = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 8.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 4.0,
}
PLAIN = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [{"id": 95, "content": "<|MASK|>", "special": True, **PLAIN}],
    "model": {"type": "BPE", "vocab": {chr(32 + i): i for i in range(95)}, "merges": []},
}
TOKENS = np.array([5, 17, 3, 42, 80, 1, 9, 33, 60, 2, 7, 11])


def random_model(kind, **options):
    """A model of transformers whose every parameter says something."""
    config_class, model_class = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }[kind]
    rng = torch.Generator().manual_seed(1)
    model = model_class(config_class(**(SIZES | options))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.2 * noise)
    return model


@pytest.fixture
def saved(tmp_path):
    def save(model, **said):
        folder = tmp_path / "model"
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        config = json.loads((folder / "config.json").read_text()) | said
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return save


def theirs(model, tokens, mask=None):
    """Logits `(l, v)` of transformers; `mask` `(l, l)` is who may look at whom."""
    ids = torch.from_numpy(tokens)[None]
    if mask is None:
        return model(ids).logits[0].detach().numpy()
    floats = torch.where(torch.from_numpy(mask), 0.0, torch.finfo(torch.float32).min)[None, None]
    is_llama = model.config.model_type == "llama"
    return (
        model(ids, attention_mask=floats if is_llama else {"full_attention": floats})
        .logits[0]
        .detach()
        .numpy()
    )


def in_blocks(length, size):
    """True where a query's block is the key's or a later one."""
    block = np.arange(length) // size
    return block[:, None] >= block[None]


FAMILIES = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True, "head_dim": 32, "num_key_value_heads": 1}),
    ("llama", {"rope_parameters": LLAMA3}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    ("qwen2", {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    ("qwen3", {"head_dim": 32}),
    ("qwen3", {"head_dim": 32, "rope_parameters": YARN}),
    ("llama", {"rope_parameters": YARN | {"attention_factor": 0.7, "truncate": False, "beta_slow": 0.5}}),
    ("qwen2", {"rope_parameters": YARN | {"mscale": 1.4, "mscale_all_dim": 0.6}}),
]


@pytest.mark.parametrize(("kind", "options"), FAMILIES)
def test_logits_are_those_of_transformers(saved, kind, options):
    """Read at once, token by token and in pieces: every way through the cache gives the same logits."""
    model = random_model(kind, **options)
    wanted = theirs(model, TOKENS)
    decoder = in_full(HuggingFaceSource(saved(model)))
    scale = np.abs(wanted).max()
    for cuts in ([], [5], range(1, len(TOKENS))):
        cache = decoder.cache()
        found = [decoder.logits(decoder.forward(part, cache)) for part in np.split(TOKENS, cuts)]
        assert np.abs(np.concatenate(found) - wanted).max() < 1e-4 * scale


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_blocks_see_themselves_whole_and_what_is_before_them(saved, kind):
    model = random_model(kind)
    mask = in_blocks(len(TOKENS), 4)
    wanted = theirs(model, TOKENS, mask)
    decoder = in_full(HuggingFaceSource(saved(model)))
    scale = np.abs(wanted).max()
    assert (
        np.abs(decoder.logits(decoder.forward(TOKENS, decoder.cache(), mask)) - wanted).max() < 1e-4 * scale
    )
    cache, whole = decoder.cache(), np.ones((4, 4), bool)
    found = [decoder.logits(decoder.forward(block, cache, whole)) for block in np.split(TOKENS, [4, 8])]
    assert np.abs(np.concatenate(found) - wanted).max() < 1e-4 * scale


@pytest.mark.parametrize("change", [{"kind": "linear"}, {"amplitude": 1.0}, {"fast": 32.0}, {"original": 16}])
def test_another_yarn_does_not_pass(saved, change):
    model = random_model("qwen3", head_dim=32, rope_parameters=YARN)
    wanted, source = theirs(model, TOKENS), HuggingFaceSource(saved(model))
    source.config = replace(source.config, rope=replace(source.config.rope, **change))
    decoder = in_full(source)
    found = decoder.logits(decoder.forward(TOKENS, decoder.cache()))
    assert np.abs(found - wanted).max() > 3e-3 * np.abs(wanted).max()


def test_yarn_is_read_in_every_way_of_writing(saved, tmp_path):
    """As older files have it, with the context that it was stretched from; and from GGUF."""
    model = random_model("qwen3", rope_parameters=YARN)
    new = HuggingFaceSource(saved(model)).config
    old = {"type" if key == "rope_type" else key: value for key, value in YARN.items()}
    folder = saved(
        model, rope_parameters=None, rope_theta=500.0, rope_scaling=old, max_position_embeddings=64
    )
    assert HuggingFaceSource(folder).config == new and new.context == 512
    metadata, tensors = small_llama()
    metadata |= {
        "llama.context_length": 2048,
        "llama.rope.scaling.type": "yarn",
        "llama.rope.scaling.factor": 4.0,
    }
    metadata |= {"llama.rope.scaling.original_context_length": 512, "llama.rope.scaling.attn_factor": 0.5}
    (tmp_path / "yarn.gguf").write_bytes(gguf(metadata, tensors))
    rope = GGUFSource(tmp_path / "yarn.gguf").config.rope
    assert (rope.kind, rope.factor, rope.original) == ("yarn", 4.0, 512)
    assert rope.amplitude == pytest.approx(0.5 * (1 + 0.1 * np.log(4)))


@pytest.mark.parametrize("fault", ["heads", "rope", "mask", "norm"])
def test_what_is_wrong_does_not_pass(saved, fault):
    """Heads in another order, pairs in another place, causal instead of blocks, norms of ones: each is
    seen.
    """
    model = random_model("qwen3")
    mask = in_blocks(len(TOKENS), 4)
    wanted = theirs(model, TOKENS, mask)
    decoder = in_full(HuggingFaceSource(saved(model)))
    if fault == "heads":
        first = decoder.layers[0]
        decoder.layers[0] = replace(first, q=type(first.q)(np.roll(first.q.values, decoder.config.head, 0)))
    if fault == "rope":
        decoder.config = replace(decoder.config, rope=replace(decoder.config.rope, interleaved=True))
    if fault == "norm":
        decoder.layers[0] = replace(decoder.layers[0], k_norm=np.ones(decoder.config.head, np.float32))
    found = decoder.logits(decoder.forward(TOKENS, decoder.cache(), None if fault == "mask" else mask))
    assert np.abs(found - wanted).max() > 1e-2 * np.abs(wanted).max()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("kind", "options"), [FAMILIES[0], FAMILIES[4], FAMILIES[5]])
def test_the_native_call_is_the_readable_one(saved, tmp_path, kind, options, bits):
    """The imported model against numpy with the same packed matrices, at every cut of the cache, with a mask,
    too.
    """
    import_model(HuggingFaceSource(saved(random_model(kind, **options))), tmp_path / "ours", bits)
    decoder = load(tmp_path / "ours").decoder
    assert decoder._described is not None
    for mask in (None, in_blocks(len(TOKENS), 4)):
        cache = decoder.cache()
        fast = decoder.logits(decoder.forward(TOKENS, cache, mask))
        described, decoder._described = decoder._described, None
        slow = decoder.logits(decoder.forward(TOKENS, decoder.cache(), mask))
        decoder._described = described
        assert np.abs(fast - slow).max() < 2e-2 * np.abs(slow).max()
    one = decoder.cache()
    steps = [decoder.logits(decoder.forward(TOKENS[i : i + 1], one)) for i in range(len(TOKENS))]
    whole = decoder.logits(decoder.forward(TOKENS, decoder.cache()))
    assert (np.concatenate(steps) == whole).all()  # not a bit depends on how many rows go together


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"model_type": "mamba"}, "known are llama"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "rope type 'longrope'"),
        ({"rope_parameters": YARN | {"beta_fast": 0.1}}, "cannot turn"),
        ({"num_hidden_layers": 4}, "are missing"),
        ({"num_hidden_layers": 2}, "fit nothing"),
        ({"intermediate_size": 128}, "the configuration gives it"),
        ({"num_attention_heads": 3}, "cannot share"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
)
def test_what_it_is_not_is_refused_by_a_sentence(saved, said, sentence):
    with pytest.raises(ValueError, match=sentence):
        HuggingFaceSource(saved(random_model("llama"), **said))
