"""The tower of `memory.embed` as a module that learns, and what it begins with.

It begins as a bag of words: a piece's entry is what the teacher says of the piece alone, in as many principal
components as an entry has numbers, scaled down where the piece is common; layers begin with nothing to add.
Shapes: b texts, l tokens, d width, v pieces.

Source of the beginning: Tulkens & van Dongen 2024, "Model2Vec"; Arora et al. 2017 for the scale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from ...memory.embed import EPS, Sizes, TextEncoder

FIRST = "[CLS]"  # begins every text
COMMONEST = 26_000  # pieces of the teacher's vocabulary, which stand in order of their frequency
RARITY = 1e-3  # of the scale of entries: a / (a + share of all words)


def own_tokenizer(teacher: Tokenizer) -> tuple[Tokenizer, list[str]]:
    """The teacher's word pieces that are printable ASCII and among the commonest, and a tokenizer of them."""
    stored = json.loads(teacher.to_str())
    by_rank = sorted(stored["model"]["vocab"].items(), key=lambda item: item[1])[:COMMONEST]
    printable = lambda piece: all(" " < mark <= "~" for mark in piece)  # noqa: E731
    kept = [piece for piece, _ in by_rank if printable(piece) and not piece.startswith("[unused")]
    stored["model"]["vocab"] = {piece: i for i, piece in enumerate(kept)}
    specials = {piece: i for i, piece in enumerate(kept) if piece in ("[PAD]", "[UNK]", FIRST)}
    stored["added_tokens"] = [
        one | {"id": specials[one["content"]]} for one in stored["added_tokens"] if one["content"] in specials
    ]
    stored["padding"] = stored["truncation"] = None
    stored["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": FIRST, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {FIRST: {"id": FIRST, "ids": [specials[FIRST]], "tokens": [FIRST]}},
    }
    return Tokenizer.from_str(json.dumps(stored)), kept


class Layer(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d, self.heads = sizes.width, sizes.attention_heads
        self.norm, self.ffn_norm = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.mixed = nn.Parameter(torch.randn(3 * d, d) * d**-0.5)
        self.attended = nn.Parameter(torch.zeros(d, d))
        self.ffn_in = nn.Parameter(torch.randn(2 * sizes.ffn_hidden, d) * d**-0.5)
        self.ffn_out = nn.Parameter(torch.zeros(d, sizes.ffn_hidden))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        mixed = F.linear(F.rms_norm(x, x.shape[-1:], self.norm, EPS), self.mixed)
        query, key, value = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=valid[:, None, None])
        x = x + F.linear(seen.transpose(1, 2).flatten(2), self.attended)
        gate, inner = F.linear(F.rms_norm(x, x.shape[-1:], self.ffn_norm, EPS), self.ffn_in).chunk(2, -1)
        return x + F.linear(F.silu(gate) * inner, self.ffn_out)


class Tower(nn.Module):
    """Unit vectors `(b, out)` of ids `(b, l)`."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.entries = nn.Parameter(torch.zeros(sizes.vocab, sizes.entry))
        self.widened = nn.Parameter(torch.eye(sizes.width, sizes.entry))
        self.places = nn.Parameter(torch.zeros(sizes.context, sizes.width))
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.depth))
        self.out = nn.Parameter(torch.randn(sizes.out, sizes.width) * 0.02)

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        x = F.linear(F.embedding(tokens, self.entries), self.widened) + self.places[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, valid)
        mean = (x * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        return F.normalize(F.linear(mean, self.out).float(), dim=-1)

    @torch.no_grad()
    def begin(self, alone: np.ndarray, shares: np.ndarray) -> None:
        """Makes it a bag of words. alone: the teacher's vectors of the pieces `(v, out)`; shares: how often
        each piece comes, of all pieces `(v,)`.
        """
        scaled = torch.from_numpy(alone * (RARITY / (RARITY + shares))[:, None]).float()
        _, _, axes = torch.linalg.svd(scaled, full_matrices=False)
        basis = axes[: self.sizes.entry]
        spread = (scaled @ basis.T).std()
        self.entries.copy_(scaled @ basis.T / spread)
        self.out[:, : self.sizes.entry] = basis.T

    def encoder(self, tokenizer: Tokenizer) -> TextEncoder:
        """The same tower for use."""
        weights = {name: one.detach().float().cpu().numpy() for name, one in self.state_dict().items()}
        return TextEncoder(self.sizes, weights, tokenizer)


def zipf_shares(pieces: Sequence[str]) -> np.ndarray:
    """Shares of pieces that stand in order of their frequency; marks and parts of words count as words."""
    ranks = np.arange(2, len(pieces) + 2)
    return np.asarray(1 / ranks / (1 / ranks).sum())
