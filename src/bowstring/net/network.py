"""UnifiedScoreNetwork: one trunk, small heads, and the mask rule that trains two ways of writing at once.

Shapes: b sequences, l positions, v tokens. Text has no time of its own: a masked token says itself that it
is noise, and the best denoiser of a masked process does not depend on t (Ou et al. 2024, arXiv 2406.03736).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from .config import MODALITIES, NetworkConfig
from .heads import RealsHead, TextHead
from .trunk import Cache, Trunk


def causal(doc: Tensor) -> Tensor:
    """Who a clean token may look at: itself and what is before it in its own document. `(b, l) -> (b, l,
    l)`.
    """
    length = doc.shape[1]
    order = torch.arange(length, device=doc.device)
    return (doc[:, :, None] == doc[:, None, :]) & (order[None, :] <= order[:, None])


def paired(doc: Tensor, block: Tensor) -> Tensor:
    """The mask of one pass over [noisy ; clean], `(b, l), (b, l) -> (b, 2 l, 2 l)`.

    A noisy token sees the noisy tokens of its own block and the clean ones of earlier blocks; a clean
    token sees the clean tokens up to itself; nothing crosses documents, and clean never sees noisy.
    Blocks are numbered along a document.
    """
    same = doc[:, :, None] == doc[:, None, :]
    noisy_noisy = same & (block[:, :, None] == block[:, None, :])
    noisy_clean = same & (block[:, None, :] < block[:, :, None])
    top = torch.cat([noisy_noisy, noisy_clean], 2)
    return torch.cat([top, torch.cat([torch.zeros_like(same), causal(doc)], 2)], 1)


class UnifiedScoreNetwork(nn.Module):
    """The whole network. `forwards` counts every pass through the trunk."""

    def __init__(self, config: NetworkConfig, channels: dict[str, int] | None = None) -> None:
        """`channels` names the real-valued modalities and their vector sizes, for example {"image": 64}."""
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.heads = nn.ModuleDict({"text": TextHead(config)})
        for name, count in (channels or {}).items():
            if name not in MODALITIES[1:]:
                raise ValueError(f"unknown modality {name!r}; real-valued ones are {MODALITIES[1:]}")
            self.heads[name] = RealsHead(count, config.width)
        self.forwards = 0

    def embed(self, modality: str, x: Tensor) -> Tensor:
        """Values of one modality as trunk tokens, its modality embedding added."""
        head = cast(TextHead | RealsHead, self.heads[modality])
        return head.embed(x) + self.trunk.modality.weight[MODALITIES.index(modality)]

    def run(
        self, x: Tensor, position: Tensor, t: Tensor | None = None, **conditions: Tensor | Cache | None
    ) -> tuple:
        """One counted pass through the trunk; see `Trunk.forward`."""
        self.forwards += 1
        return self.trunk(x, position, x.new_zeros(1, 1) if t is None else t, **conditions)

    def read(
        self,
        tokens: Tensor,
        position: Tensor,
        valid: Tensor,
        cache: Cache | None = None,
        **memory: Tensor | None,
    ) -> tuple[Tensor, Cache]:
        """Reads clean text causally: the hidden state of each token, and the cache grown by them.

        Args:
            valid: `(b, l)`, False at padding.
        """
        length = tokens.shape[1]
        seen = valid if cache is None else torch.cat([cache.valid, valid], 1)
        n = seen.shape[1] - length
        order = torch.arange(length, device=tokens.device)
        mask = (torch.arange(n + length, device=tokens.device)[None, :] <= n + order[:, None])[None] & seen[
            :, None, :
        ]
        mask = mask | (
            torch.arange(n + length) == n + order[:, None]
        )  # padding sees itself: a softmax needs one key
        hidden, layers = self.run(
            self.embed("text", tokens), position, mask=mask[:, None], cache=cache, **memory
        )
        return hidden, Cache(layers, seen)

    def score(self, tokens: Tensor, position: Tensor, cache: Cache, **memory: Tensor | None) -> Tensor:
        """Hidden states of a noisy block that sees the cache and all of itself; the cache stays."""
        b, length = tokens.shape
        seen = torch.cat([cache.valid, cache.valid.new_ones(b, length)], 1)
        mask = seen[:, None, None, :].expand(b, 1, length, -1)
        return self.run(self.embed("text", tokens), position, mask=mask, cache=cache, **memory)[0]

    def pair(
        self, noisy: Tensor, clean: Tensor, doc: Tensor, block: Tensor, **memory: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One pass over [noisy ; clean]: hidden states of both streams, `(b, l, d)` each."""
        position = torch.arange(clean.shape[1], device=clean.device, dtype=torch.float32).repeat(2)[None]
        both = self.embed("text", torch.cat([noisy, clean], 1))
        hidden, _ = self.run(
            both, position.expand(both.shape[0], -1), mask=paired(doc, block)[:, None], **memory
        )
        return hidden.chunk(2, 1)

    def plain(self, clean: Tensor, doc: Tensor, **memory: Tensor | None) -> Tensor:
        """Causal hidden states of packed documents, for training and scoring without a noisy stream."""
        position = torch.arange(clean.shape[1], device=clean.device, dtype=torch.float32)[None].expand_as(
            clean
        )
        return self.run(self.embed("text", clean), position, mask=causal(doc)[:, None], **memory)[0]

    def shares(self) -> dict[str, int]:
        """Parameters of the trunk and of each head."""
        count = {"trunk": sum(p.numel() for p in self.trunk.parameters())}
        return count | {name: sum(p.numel() for p in head.parameters()) for name, head in self.heads.items()}
