"""Families of decoders: what their files call things, and what their configurations mean.

Llama, Qwen2 and Qwen3 (autoregressive); SDAR and TraDo, Tiny-A2D, Fast-dLLM v2 (block diffusion over the same
bodies). What this decoder does not do is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..decode.config import KINDS, Blocks, DecoderConfig, Rope

LAYER = {
    "attention_norm": ("input_layernorm.weight", "attn_norm.weight"),
    "q": ("self_attn.q_proj.weight", "attn_q.weight"),
    "k": ("self_attn.k_proj.weight", "attn_k.weight"),
    "v": ("self_attn.v_proj.weight", "attn_v.weight"),
    "out": ("self_attn.o_proj.weight", "attn_output.weight"),
    "q_bias": ("self_attn.q_proj.bias", "attn_q.bias"),
    "k_bias": ("self_attn.k_proj.bias", "attn_k.bias"),
    "v_bias": ("self_attn.v_proj.bias", "attn_v.bias"),
    "q_norm": ("self_attn.q_norm.weight", "attn_q_norm.weight"),
    "k_norm": ("self_attn.k_norm.weight", "attn_k_norm.weight"),
    "ffn_norm": ("post_attention_layernorm.weight", "ffn_norm.weight"),
    "gate": ("mlp.gate_proj.weight", "ffn_gate.weight"),
    "up": ("mlp.up_proj.weight", "ffn_up.weight"),
    "down": ("mlp.down_proj.weight", "ffn_down.weight"),
}
ENDS = {
    "embedding": ("model.embed_tokens.weight", "token_embd.weight"),
    "norm": ("model.norm.weight", "output_norm.weight"),
    "head": ("lm_head.weight", "output.weight"),
}
MATRICES = ("q", "k", "v", "out", "gate", "up", "down", "embedding", "head")
IGNORED = re.compile(r"(.*rotary_emb\.inv_freq|rope_freqs\.weight)$")

BODIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "sdar": "qwen3",
    "a2d-qwen2": "qwen2",
    "a2d-qwen3": "qwen3",
    "Fast_dLLM_Qwen": "qwen2",
}
SDAR_BLOCK = re.compile(r"-b(\d+)(?:\D|$)")


CANVAS: tuple[str, ...] = ("attention_norm", "attention_shift", "attention_gate", "q", "k", "v", "out")
CANVAS += ("ffn_norm", "ffn_shift", "ffn_gate", "gate", "gate_bias", "down", "ffn_bias")


def layer_parts(config: DecoderConfig) -> tuple[str, ...]:
    """Names of the tensors of a layer."""
    if config.canvas is not None:
        return CANVAS
    absent = {"q_bias", "k_bias", "v_bias"} if not config.qkv_bias else set()
    absent |= {"q_norm", "k_norm"} if not config.qk_norm else set()
    return tuple(name for name in LAYER if name not in absent)


def tensor_names(config: DecoderConfig, column: int) -> dict[str, str]:
    """Our name of every tensor of a decoder by the name in a file; column 0 is Hugging Face's, 1 GGUF's."""
    prefix = ("model.layers", "blk")[column]
    found = {theirs[column]: name for name, theirs in ENDS.items() if name != "head" or not config.tied}
    for i in range(config.layers):
        for name in layer_parts(config):
            found[f"{prefix}.{i}.{LAYER[name][column]}"] = f"layers.{i}.{name}"
    return found


def shape_of(config: DecoderConfig, name: str) -> tuple[int, ...]:
    """The shape that a tensor of ours has."""
    c, wide, narrow = config, config.heads * config.head, config.kv_heads * config.head
    kinds: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("embedding", "head"), (c.vocab, c.width)),
        **dict.fromkeys(("norm", "attention_norm", "ffn_norm"), (c.width,)),
        **dict.fromkeys(("norm_shift", "attention_shift", "ffn_shift"), (c.width,)),
        **dict.fromkeys(("attention_gate", "ffn_gate", "ffn_bias"), (c.width,)),
        "head_bias": (c.vocab,),
        "gate_bias": (c.ffn,),
        **dict.fromkeys(("q_norm", "k_norm"), (c.head,)),
        "q": (wide, c.width),
        "k": (narrow, c.width),
        "v": (narrow, c.width),
        "q_bias": (wide,),
        "k_bias": (narrow,),
        "v_bias": (narrow,),
        "out": (c.width, wide),
        "gate": (c.ffn, c.width),
        "up": (c.ffn, c.width),
        "down": (c.width, c.ffn),
    }
    return kinds[name.rpartition(".")[2]]


def check_names(config: DecoderConfig, column: int, there: Mapping[str, Any] | set[str]) -> dict[str, str]:
    """`tensor_names` after a look at what a file holds.

    Raises:
        ValueError: a tensor is missing, or one is there that this decoder has no use for.
    """
    wanted = tensor_names(config, column)
    if missing := [name for name in wanted if name not in there]:
        raise ValueError(f"{len(missing)} tensors are missing, {missing[0]!r} first")
    tied_head = ENDS["head"][column]
    rest = [
        n for n in there if n not in wanted and not IGNORED.match(n) and not (config.tied and n == tied_head)
    ]
    if rest:
        raise ValueError(
            f"{len(rest)} tensors fit nothing in a {config.family} decoder, {sorted(rest)[0]!r} first"
        )
    return wanted


def from_hugging_face(
    said: Mapping[str, Any],
    *,
    name: str = "",
    added: Mapping[str, int] | None = None,
    block: int | None = None,
) -> DecoderConfig:
    """The configuration in a config.json. `name` is the folder's, which tells SDAR's block; `added` are added
    tokens.

    Raises:
        ValueError: an architecture, or an option of it, that this decoder does not have.
    """
    family = str(said.get("model_type"))
    if family not in BODIES:
        raise ValueError(f"model_type is {family!r}; known are {', '.join(BODIES)}")
    body = BODIES[family]
    refuse(said, body)
    heads = whole(said, "num_attention_heads")
    width = whole(said, "hidden_size")
    eos, rope = said.get("eos_token_id"), rope_of(said)
    stops = eos if isinstance(eos, list) else [] if eos is None else [eos]
    return DecoderConfig(
        family=family,
        width=width,
        layers=whole(said, "num_hidden_layers"),
        heads=heads,
        kv_heads=whole(said, "num_key_value_heads", heads),
        head=whole(said, "head_dim", width // max(heads, 1)),
        ffn=whole(said, "intermediate_size"),
        vocab=whole(said, "vocab_size"),
        context=stretched(rope, whole(said, "max_position_embeddings", 2048)),
        epsilon=real(said, "rms_norm_eps", 1e-6),
        rope=rope,
        qkv_bias=body == "qwen2" or bool(said.get("attention_bias", False)),
        qk_norm=body == "qwen3",
        tied=bool(said.get("tie_word_embeddings", False)),
        stops=tuple(whole({"eos_token_id": one}, "eos_token_id") for one in stops),
        blocks=blocks_of(family, said, name, added or {}, block),
    )


def whole(said: Mapping[str, Any], key: str, otherwise: int | None = None) -> int:
    """
    Raises:
        ValueError: the key is missing or no whole number.
    """
    value = said.get(key)
    value = otherwise if value is None else value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key} is {value!r}; expected a whole number")
    return value


def real(said: Mapping[str, Any], key: str, otherwise: float) -> float:
    """
    Raises:
        ValueError: the key's value is no finite number.
    """
    value = otherwise if said.get(key) is None else said[key]
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{key} is {value!r}; expected a number")
    return float(value)


def inner(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object within the configuration, empty where there is none.

    Raises:
        ValueError: it is something else.
    """
    found = said.get(key) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{key} is a {type(found).__name__}; expected an object")
    return found


def refuse(said: Mapping[str, Any], body: str) -> None:
    """
    Raises:
        ValueError: the configuration asks for something that this decoder does not do.
    """
    wanted: dict[str, Callable[[Any], bool]] = {
        "hidden_act": lambda v: v == "silu",
        "mlp_bias": lambda v: not v,
        "use_sliding_window": lambda v: not v,
        "quantization_config": lambda v: v is None,
        "num_experts": lambda v: not v,
        "num_local_experts": lambda v: not v,
    }
    if body != "llama":
        wanted["attention_bias"] = lambda v: body == "qwen2" or not v
    elif said.get("attention_bias"):
        raise ValueError("attention_bias is true: a Llama whose output projection has a bias is not read")
    for key, fits in wanted.items():
        if key in said and not fits(said[key]):
            raise ValueError(f"{key} is {said[key]!r}, which this decoder does not do")


def rope_of(said: Mapping[str, Any]) -> Rope:
    """Rotary positions as config.json says them, in the old way (rope_theta, rope_scaling) and the new one.

    Raises:
        ValueError: a kind that is not known.
    """
    new = inner(said, "rope_parameters")
    scaling = new or inner(said, "rope_scaling")
    theta = real(new, "rope_theta", real(said, "rope_theta", 10_000.0))
    kind = str(scaling.get("rope_type", scaling.get("type", "default")))
    if kind not in KINDS:
        raise ValueError(f"rope type {kind!r} is not known; known are {', '.join(KINDS)}")
    if real(new, "partial_rotary_factor", real(said, "partial_rotary_factor", 1.0)) != 1.0:
        raise ValueError("partial_rotary_factor is not 1: heads that turn in part are not read")
    found = Rope(theta, kind=kind, factor=real(scaling, "factor", 1.0))
    if kind == "yarn":
        return yarn(found, said, scaling)
    return replace(
        found,
        low=real(scaling, "low_freq_factor", 1.0),
        high=real(scaling, "high_freq_factor", 4.0),
        original=whole(scaling, "original_max_position_embeddings", 8192),
    )


def yarn(rope: Rope, said: Mapping[str, Any], scaling: Mapping[str, Any]) -> Rope:
    """YaRN as transformers reads it."""
    context = whole(said, "max_position_embeddings", 2048)
    factor, original = rope.factor, whole(scaling, "original_max_position_embeddings", context)
    parts = [real(scaling, key, 0.0) for key in ("mscale", "mscale_all_dim")]
    usual = loudness(factor, parts[0]) / loudness(factor, parts[1]) if all(parts) else loudness(factor)
    return replace(
        rope,
        original=whole(said, "original_max_position_embeddings", original),
        fast=real(scaling, "beta_fast", 32.0),
        slow=real(scaling, "beta_slow", 1.0),
        whole=bool(scaling.get("truncate", True)),
        amplitude=real(scaling, "attention_factor", usual),
    )


def loudness(factor: float, share: float = 1.0) -> float:
    """By how much YaRN raises queries and keys, so that attention to more positions stays as sharp."""
    return 1 + 0.1 * share * math.log(factor) if factor > 1 else 1.0


def stretched(rope: Rope, context: int) -> int:
    """The context; YaRN's may have been left at what it was stretched from."""
    return max(context, int(rope.factor * rope.original)) if rope.kind == "yarn" else context


def blocks_of(
    family: str, said: Mapping[str, Any], name: str, added: Mapping[str, int], block: int | None
) -> Blocks | None:
    """How a block-diffusion family writes, None for an autoregressive one.

    Raises:
        ValueError: the mask is named nowhere.
    """
    if family == "sdar":
        tail = SDAR_BLOCK.search(name)
        size = block or whole(said, "block_size", int(tail.group(1)) if tail else 4)
        return Blocks(size, mask_of(said, added, "<|MASK|>"))
    if family.startswith("a2d-"):
        return Blocks(block or whole(said, "block_size", 32), mask_of(said, added, "<|mask|>"))
    if family == "Fast_dLLM_Qwen":
        size = block or whole(said, "bd_size", whole(said, "block_size", 32))
        return Blocks(size, mask_of(said, added, "|<MASK>|"), shifted=True)
    return None


def mask_of(said: Mapping[str, Any], added: Mapping[str, int], name: str) -> int:
    """
    Raises:
        ValueError: neither the configuration nor the added tokens name the mask.
    """
    found = said.get("mask_token_id", added.get(name))
    if not isinstance(found, int):
        raise ValueError(
            f"neither config.json (mask_token_id) nor the added tokens ({name!r}) name the mask; "
            "say it with --mask ID"
        )
    return found


def from_gguf(metadata: Mapping[str, Any], there: Mapping[str, Any]) -> DecoderConfig:
    """The configuration in a GGUF file's metadata; `there` are its tensors.

    Raises:
        ValueError: an architecture, or an option of it, that this decoder does not have.
    """
    family = str(metadata.get("general.architecture"))
    if family not in ("llama", "qwen2", "qwen3"):
        raise ValueError(f"general.architecture is {family!r}; known are llama, qwen2, qwen3")

    def said(key: str, otherwise: Any = None) -> Any:
        value = metadata.get(f"{family}.{key}", otherwise)
        if not isinstance(value, int | float | str):
            raise ValueError(f"the metadata lack {family}.{key}, or it is no plain value")
        return value

    def number(key: str, otherwise: float | None = None) -> float:
        value = said(key, otherwise)
        if isinstance(value, str) or not math.isfinite(value):
            raise ValueError(f"{family}.{key} is {value!r}; expected a number")
        return float(value)

    if said("expert_count", 0):
        raise ValueError("the model is a mixture of experts, which this decoder does not do")
    heads, width = (
        whole({"h": said("attention.head_count")}, "h"),
        whole({"w": said("embedding_length")}, "w"),
    )
    head = whole({"k": said("attention.key_length", width // max(heads, 1))}, "k")
    if said("rope.dimension_count", head) != head:
        raise ValueError(f"{said('rope.dimension_count')} of {head} numbers of a head turn; expected all")
    kind = said("rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise ValueError(f"rope scaling {kind!r} is not known; known are none, linear and yarn")
    stop, context = metadata.get("tokenizer.ggml.eos_token_id"), whole({"c": said("context_length")}, "c")
    factor = number("rope.scaling.factor", 1.0)
    rope = Rope(
        number("rope.freq_base", 10_000.0),
        interleaved=family == "llama",
        kind="default" if kind == "none" else str(kind),
        factor=factor,
    )
    if kind == "yarn":
        original = whole({"o": said("rope.scaling.original_context_length", context)}, "o")
        loud = number("rope.scaling.attn_factor", 1.0) * loudness(factor)
        rope = replace(rope, original=original, amplitude=loud)
    return DecoderConfig(
        family=family,
        width=width,
        layers=whole({"n": said("block_count")}, "n"),
        heads=heads,
        kv_heads=whole({"k": said("attention.head_count_kv", heads)}, "k"),
        head=head,
        ffn=whole({"f": said("feed_forward_length")}, "f"),
        vocab=there["token_embd.weight"].shape[0] if "token_embd.weight" in there else 0,
        context=stretched(rope, context),
        epsilon=number("attention.layer_norm_rms_epsilon"),
        rope=rope,
        qkv_bias="blk.0.attn_q.bias" in there,
        qk_norm="blk.0.attn_q_norm.weight" in there,
        tied="output.weight" not in there,
        stops=(stop,) if isinstance(stop, int) else (),
    )
