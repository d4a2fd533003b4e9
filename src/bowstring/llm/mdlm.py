"""MDLM (Sahoo et al. 2024, arXiv 2406.07524): a diffusion transformer over a whole canvas of tokens.

Its time conditioning is off: every modulation is a constant and folds into norms, gates and biases, so that
what is left is a decoder like others, with LayerNorm and GELU. Names and order of operations are those of its
authors' code (kuleshov-group/mdlm, models/dit.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.config import DecoderConfig, Rope
from ..weights.quant.grouped import GroupedMatrix
from .families import IGNORED, shape_of, whole
from .sharded import SafetensorsFolder
from .tokenizer import ModelTokenizer

FAMILY = "mdlm"
END = "<|endoftext|>"
MODULATION = ("attention_shift", "attention_scale", "attention_gate", "ffn_shift", "ffn_scale", "ffn_gate")


def mdlm_config(said: Mapping[str, Any], stops: tuple[int, ...]) -> DecoderConfig:
    """The configuration in a config.json; the mask is the last entry of the vocabulary.

    Raises:
        ValueError: sizes that do not fit, or time conditioning.
    """
    if said.get("time_conditioning", False):
        raise ValueError("time_conditioning is true: an MDLM whose modulation depends on time is not read")
    width, heads, vocab = (whole(said, key) for key in ("hidden_dim", "n_heads", "vocab_size"))
    return DecoderConfig(
        family=FAMILY,
        width=width,
        layers=whole(said, "n_blocks"),
        heads=heads,
        kv_heads=heads,
        head=width // max(heads, 1),
        ffn=4 * width,
        vocab=vocab,
        context=whole(said, "model_length"),
        epsilon=1e-5,
        rope=Rope(10_000.0),
        stops=stops,
        centred=True,
        gelu=True,
        canvas=vocab - 1,
    )


def file_shapes(c: DecoderConfig, cond: int, frequencies: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a file and its shape."""
    found: dict[str, tuple[int, ...]] = {
        "vocab_embed.embedding": (c.vocab, c.width),
        "sigma_map.mlp.0.weight": (cond, frequencies),
        "sigma_map.mlp.0.bias": (cond,),
        "sigma_map.mlp.2.weight": (cond, cond),
        "sigma_map.mlp.2.bias": (cond,),
        "output_layer.norm_final.weight": (c.width,),
        "output_layer.linear.weight": (c.vocab, c.width),
        "output_layer.linear.bias": (c.vocab,),
        "output_layer.adaLN_modulation.weight": (2 * c.width, cond),
        "output_layer.adaLN_modulation.bias": (2 * c.width,),
    }
    for i in range(c.layers):
        shapes: dict[str, tuple[int, ...]] = {
            "norm1.weight": (c.width,),
            "attn_qkv.weight": (3 * c.width, c.width),
            "attn_out.weight": (c.width, c.width),
            "norm2.weight": (c.width,),
            "mlp.0.weight": (c.ffn, c.width),
            "mlp.0.bias": (c.ffn,),
            "mlp.2.weight": (c.width, c.ffn),
            "mlp.2.bias": (c.width,),
            "adaLN_modulation.weight": (6 * c.width, cond),
            "adaLN_modulation.bias": (6 * c.width,),
        }
        found |= {f"blocks.{i}.{name}": shape for name, shape in shapes.items()}
    return {f"backbone.{name}": shape for name, shape in found.items()}


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


class MDLMSource:
    """A folder with config.json, GPT-2's tokenizer.json and safetensors. names: ours; each is made of tensors
    of the file, all of which are used.

    Raises:
        ValueError: what the folder holds is no MDLM, or a tensor is missing, left over or of another shape.
    """

    def __init__(self, folder: Path, said: Mapping[str, Any]) -> None:
        if not (folder / "tokenizer.json").is_file():
            raise ValueError(
                f"{folder} has no tokenizer.json; MDLM is published without one: put GPT-2's there"
            )
        self.tokenizer = ModelTokenizer.load(folder / "tokenizer.json")
        end = self.tokenizer.special.get(END)
        self.config = mdlm_config(said, () if end is None else (end,))
        self.tensors = SafetensorsFolder(folder)
        cond = whole(said, "cond_dim")
        first = "backbone.sigma_map.mlp.0.weight"
        frequencies = self.tensors.shape(first)[-1] if first in self.tensors.owner else 256
        self._check(file_shapes(self.config, cond, frequencies))
        self.template: str | None = None
        self.about = {"source": folder.name}
        self._condition = self._at_time_zero(frequencies)
        self.names = {name: name for name in self._parts()}

    def _check(self, wanted: dict[str, tuple[int, ...]]) -> None:
        there = {name for name in self.tensors.owner if not IGNORED.match(name)}
        if missing := sorted(set(wanted) - there):
            raise ValueError(f"{len(missing)} tensors are missing, {missing[0]!r} first")
        if rest := sorted(there - set(wanted)):
            raise ValueError(f"{len(rest)} tensors fit nothing in an MDLM, {rest[0]!r} first")
        for name, shape in wanted.items():
            if (found := self.tensors.shape(name)) != shape:
                raise ValueError(f"tensor {name!r} has shape {found}; the configuration gives it {shape}")

    def _at_time_zero(self, frequencies: int) -> np.ndarray:
        """What modulations are made of where the time is 0: cosines are 1, sines 0."""
        waves = np.repeat(np.array([1, 0], np.float32), frequencies // 2)
        hidden = silu(self._raw("sigma_map.mlp.0.weight") @ waves + self._raw("sigma_map.mlp.0.bias"))
        return silu(self._raw("sigma_map.mlp.2.weight") @ hidden + self._raw("sigma_map.mlp.2.bias"))

    def _raw(self, name: str) -> np.ndarray:
        return self.tensors[f"backbone.{name}"]

    def _modulation(self, place: str) -> list[np.ndarray]:
        weight, bias = (self._raw(f"{place}.adaLN_modulation.{part}") for part in ("weight", "bias"))
        return np.split(weight @ self._condition + bias, len(bias) // self.config.width)

    def _parts(self) -> dict[str, Callable[[], np.ndarray]]:
        """How each tensor of ours is made."""
        raw, c = self._raw, self.config

        def final(part: int) -> np.ndarray:
            return self._modulation("output_layer")[part]

        found: dict[str, Callable[[], np.ndarray]] = {
            "embedding": lambda: raw("vocab_embed.embedding"),
            "norm": lambda: raw("output_layer.norm_final.weight") * (1 + final(1)),
            "norm_shift": lambda: final(0),
            "head": lambda: raw("output_layer.linear.weight"),
            "head_bias": lambda: raw("output_layer.linear.bias"),
        }
        for i in range(c.layers):
            made = self._layer(f"blocks.{i}")
            found |= {f"layers.{i}.{name}": make for name, make in made.items()}
        return found

    def _layer(self, place: str) -> dict[str, Callable[[], np.ndarray]]:
        width = self.config.width

        def told(name: str) -> np.ndarray:
            return self._modulation(place)[MODULATION.index(name)]

        def raw(name: str) -> np.ndarray:
            return self._raw(f"{place}.{name}")

        return {
            "attention_norm": lambda: raw("norm1.weight") * (1 + told("attention_scale")),
            "attention_shift": lambda: told("attention_shift"),
            "attention_gate": lambda: told("attention_gate"),
            "q": lambda: raw("attn_qkv.weight")[:width],
            "k": lambda: raw("attn_qkv.weight")[width : 2 * width],
            "v": lambda: raw("attn_qkv.weight")[2 * width :],
            "out": lambda: raw("attn_out.weight"),
            "ffn_norm": lambda: raw("norm2.weight") * (1 + told("ffn_scale")),
            "ffn_shift": lambda: told("ffn_shift"),
            "ffn_gate": lambda: told("ffn_gate"),
            "gate": lambda: raw("mlp.0.weight"),
            "gate_bias": lambda: raw("mlp.0.bias"),
            "down": lambda: raw("mlp.2.weight"),
            "ffn_bias": lambda: raw("mlp.2.bias") * told("ffn_gate"),
        }

    def tensor(self, name: str) -> np.ndarray:
        made = np.ascontiguousarray(self._parts()[name](), np.float32)
        assert made.shape == shape_of(self.config, name), name
        return made

    def matrix(self, name: str) -> GroupedMatrix | None:
        return None
