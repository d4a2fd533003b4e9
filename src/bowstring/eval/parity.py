"""Do our decoders say what transformers says? Every family on small random weights, SmolLM2 on its own."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.generate import block_mask
from ..llm.folder import in_full
from ..llm.importing import HuggingFaceSource, Source

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
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 32}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("Llama", {}, {}),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}, {}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}, {}),
    "qwen3": ("Qwen3", {"head_dim": 32}, {}),
    "sdar": ("Qwen3", {"head_dim": 32}, {"model_type": "sdar", "block_size": 4}),
    "a2d-qwen3": ("Qwen3", {"head_dim": 32}, {"model_type": "a2d-qwen3", "block_size": 8}),
    "a2d-qwen2": ("Qwen2", {}, {"model_type": "a2d-qwen2", "block_size": 8}),
    "fast-dllm": ("Qwen2", {}, {"model_type": "Fast_dLLM_Qwen", "bd_size": 8}),
}
TOKENS = np.array([5, 17, 3, 42, 80, 1, 9, 33, 60, 2, 7, 11, 90, 4, 21, 8])
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "model": {"type": "BPE", "vocab": {chr(32 + i): i for i in range(95)}, "merges": []},
}


def missing() -> str | None:
    """Why there is nothing to compare with, None where there is."""
    there = importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")
    return None if there else "the package transformers is not installed"


def random_model(kind: str, options: dict[str, Any]) -> Any:
    """A model of transformers whose every parameter says something."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    config = getattr(transformers, f"{kind}Config")(**(SIZES | options))
    model, rng = getattr(transformers, f"{kind}ForCausalLM")(config).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=rng)
            parameter.copy_(1 + 0.3 * noise if parameter.ndim == 1 else 0.2 * noise)
    return model


def theirs(model: Any, tokens: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Logits `(l, v)` of transformers; `mask` `(l, l)` is who may look at whom, causal without one."""
    import torch

    ids, options = torch.from_numpy(tokens)[None], {}
    if mask is not None:
        floats = torch.where(torch.from_numpy(mask), 0.0, torch.finfo(torch.float32).min)[None, None]
        is_llama = model.config.model_type == "llama"
        options = {"attention_mask": floats if is_llama else {"full_attention": floats}}
    with torch.no_grad():
        return model(ids, **options).logits[0].numpy()


def saved(model: Any, said: dict[str, Any], folder: Path) -> HuggingFaceSource:
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    config = json.loads((folder / "config.json").read_text()) | said
    (folder / "config.json").write_text(json.dumps(config))
    return HuggingFaceSource(folder, mask=95)


def largest_difference() -> tuple[float, dict[str, float]]:
    """Of logits over the largest logit, in all and by family; block-diffusion families under their mask."""
    found = {}
    for name, (kind, options, said) in FAMILIES.items():
        model = random_model(kind, options)
        with tempfile.TemporaryDirectory() as place:
            decoder = in_full(saved(model, said, Path(place)))
        blocks = decoder.config.blocks
        mask = None if blocks is None else block_mask(0, len(TOKENS), blocks.size)
        wanted = theirs(model, TOKENS, mask)
        ours = decoder.logits(decoder.forward(TOKENS, decoder.cache(), mask))
        found[name] = float(np.abs(ours - wanted).max() / np.abs(wanted).max())
    return max(found.values()), found


def halves_apart(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys whose rotated pairs lie side by side, as transformers wants them."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).transpose(0, 2, 1, 3).reshape(rows, columns)


def llama_of(source: Source) -> Any:
    """A Llama of transformers with a source's dequantised weights, FP32."""
    import torch
    import transformers

    c = source.config
    config = transformers.LlamaConfig(
        vocab_size=c.vocab,
        hidden_size=c.width,
        intermediate_size=c.ffn,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.kv_heads,
        head_dim=c.head,
        max_position_embeddings=c.context,
        rms_norm_eps=c.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope.theta},
        tie_word_embeddings=c.tied,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    own = dict(model.named_parameters())
    places = {"model.embed_tokens.weight": "embedding", "model.norm.weight": "norm", "lm_head.weight": "head"}
    inside = {"self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v"}
    inside |= {"self_attn.o_proj": "out", "mlp.gate_proj": "gate", "mlp.up_proj": "up"}
    inside |= {"mlp.down_proj": "down", "input_layernorm": "attention_norm"}
    inside |= {"post_attention_layernorm": "ffn_norm"}
    for i in range(c.layers):
        places |= {
            f"model.layers.{i}.{theirs}.weight": f"layers.{i}.{ours}" for theirs, ours in inside.items()
        }
    with torch.no_grad():
        for name, parameter in own.items():
            values = np.array(source.tensor(places[name]), np.float32)
            if c.rope.interleaved and name.endswith(("q_proj.weight", "k_proj.weight")):
                values = halves_apart(values, c.heads if "q_proj" in name else c.kv_heads)
            parameter.copy_(torch.from_numpy(values))
    return model


def greedy(model: Any, tokens: Sequence[int], count: int, stops: Sequence[int]) -> list[int]:
    """The likeliest tokens one after the other by transformers, to a stop."""
    import torch

    made: list[int] = []
    with torch.no_grad():
        out = model(torch.tensor([list(tokens)]), use_cache=True)
        while len(made) < count:
            token = int(out.logits[0, -1].argmax())
            if token in stops:
                break
            made.append(token)
            out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
    return made
