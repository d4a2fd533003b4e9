"""UnifiedScoreNetwork: one trunk, small heads, and the mask rule that trains two ways of writing at once.

Shapes: b sequences, l positions, v tokens. Text has no time of its own: a masked token says itself that it
is noise, and the best denoiser of a masked process does not depend on t (Ou et al. 2024, arXiv 2406.03736).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from .config import CHANNELS, FEW, MODALITIES, PLACES, NetworkConfig
from .heads.continuous import ContinuousHead
from .heads.image import ImageHead
from .heads.speech import SpeechHead
from .heads.text import TextHead
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

    def __init__(self, config: NetworkConfig, modalities: Iterable[str] = ("text",)) -> None:
        """Text is always there; the other `modalities` get a head each.

        Raises:
            ValueError: a modality that does not exist.
        """
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.heads = nn.ModuleDict({"text": TextHead(config)})
        for name in modalities:
            if name != "text":
                self.add_head(name)
        self.forwards = 0

    def add_head(self, modality: str) -> ContinuousHead:
        """A new modality is a new head; the trunk stays as it is."""
        if modality not in CHANNELS:
            raise ValueError(f"unknown modality {modality!r}; real-valued ones are {[*CHANNELS]}")
        shape = CHANNELS[modality], self.config.width
        match modality:
            case "audio":
                head: ContinuousHead = SpeechHead(*shape)
            case "image":
                head = ImageHead(*shape, PLACES[modality])
            case _:
                head = ContinuousHead(*shape)
        self.heads[modality] = head
        return head

    def embed(self, modality: str, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Values of one modality as trunk tokens, its modality embedding added; reals have a time."""
        head = self.head(modality)
        own = head.embed(x) if t is None else head.embed(x, t)  # type: ignore[operator]
        return own + self.trunk.modality.weight[MODALITIES.index(modality.partition("/")[0])]

    def shortcut_step_size(self, steps: int) -> float:
        """Size of each of so few steps if this network has learned shortcuts, else 0: the many-step limit."""
        learned = bool(self.trunk.modulation.step_size.weight.any())
        return 1 / steps if learned and steps <= FEW else 0.0

    def head(self, name: str) -> nn.Module:
        """The head of a modality; what follows a slash tells several streams of one modality apart."""
        return self.heads[name.partition("/")[0]]

    def forward(
        self, x: Tensor, position: Tensor, t: Tensor | None = None, **conditions: Tensor | Cache | None
    ) -> tuple:
        """One counted pass through the trunk; see `Trunk.forward`."""
        self.forwards += 1
        return self.trunk(x, position, x.new_zeros(1, 1) if t is None else t, **conditions)

    def prefill(
        self,
        tokens: Tensor,
        position: Tensor,
        valid: Tensor,
        cache: Cache | None = None,
        **memory: Tensor | None,
    ) -> tuple[Tensor, Cache]:
        """Reads clean text causally: hidden states of its tokens, and the cache with them appended.

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
        hidden, layers = self(self.embed("text", tokens), position, mask=mask[:, None], cache=cache, **memory)
        return hidden, Cache(layers, seen)

    def block_hidden(self, tokens: Tensor, position: Tensor, cache: Cache, **memory: Tensor | None) -> Tensor:
        """Hidden states of a noisy block that sees the cache and all of itself; the cache stays."""
        b, length = tokens.shape
        seen = torch.cat([cache.valid, cache.valid.new_ones(b, length)], 1)
        mask = seen[:, None, None, :].expand(b, 1, length, -1)
        return self(self.embed("text", tokens), position, mask=mask, cache=cache, **memory)[0]

    def flow(
        self,
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        position: Mapping[str, Tensor],
        cache: Cache | None = None,
        step_size: Mapping[str, Tensor] | None = None,
        cond: Mapping[str, Tensor] | None = None,
        valid: Tensor | None = None,
        sees: Mapping[str, Tensor] | None = None,
        **memory: Tensor | None,
    ) -> dict[str, Tensor]:
        """Velocities of several real-valued modalities from one pass; all see each other and the cache.

        Args:
            x, t, position: by modality, `(b, l, c)`, `(b,)` and `(b|1, l)`; step_size as t, None is the
                many-step limit. "image/free" is a second image, handled by the head of "image".
            cond: what is added to a modality's tokens, `(b, l, d)`.
            valid: `(b, all l)`, False at padding.
            sees: by modality, what its tokens may look at, `(n + all l)`, n the tokens of the cache; without
                it, everything.
        """
        names = [*x]
        b, lengths = len(x[names[0]]), [x[name].shape[1] for name in names]
        own = {name: t[name].view(b, 1) for name in names}
        added = cond or {}
        parts = [self.embed(name, x[name], own[name]) + added.get(name, 0) for name in names]
        places = torch.cat([position[name].expand(b, -1) for name in names], 1)
        sizes = None if step_size is None else {name: step_size[name].view(b, 1) for name in names}
        mask = self._may(b, sum(lengths), cache, valid)
        if sees is not None:
            chosen = torch.cat([sees[name].expand(n, -1) for name, n in zip(names, lengths, strict=True)])
            chosen = chosen[None, None]
            mask = chosen if mask is None else mask & chosen
        hidden, _ = self(
            torch.cat(parts, 1),
            places,
            self._spread_out(own, lengths),
            step_size=None if sizes is None else self._spread_out(sizes, lengths),
            mask=mask,
            cache=cache,
            **memory,
        )
        return {
            name: self.head(name)(part, x[name], own[name])
            for name, part in zip(names, hidden.split(lengths, 1), strict=True)
        }

    @staticmethod
    def _may(b: int, length: int, cache: Cache | None, valid: Tensor | None) -> Tensor | None:
        """Everyone looks at all that is real; no mask when all is."""
        if cache is None and valid is None:
            return None
        fresh = torch.ones(b, length, dtype=torch.bool) if valid is None else valid
        seen = fresh if cache is None else torch.cat([cache.valid, fresh], 1)
        return seen[:, None, None, :].expand(b, 1, length, -1)

    @staticmethod
    def _spread_out(values: Mapping[str, Tensor], lengths: list[int]) -> Tensor:
        """`(b, 1)` of one modality as it is; of several, each repeated over its tokens."""
        if len(values) == 1:
            return next(iter(values.values()))
        return torch.cat([v.expand(-1, n) for v, n in zip(values.values(), lengths, strict=True)], 1)

    def pair(
        self, noisy: Tensor, clean: Tensor, doc: Tensor, block: Tensor, **memory: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """One pass over [noisy ; clean]: hidden states of both streams, `(b, l, d)` each."""
        position = torch.arange(clean.shape[1], device=clean.device, dtype=torch.float32).repeat(2)[None]
        both = self.embed("text", torch.cat([noisy, clean], 1))
        hidden, _ = self(both, position.expand(both.shape[0], -1), mask=paired(doc, block)[:, None], **memory)
        return hidden.chunk(2, 1)

    def plain(self, clean: Tensor, doc: Tensor, **memory: Tensor | None) -> Tensor:
        """Causal hidden states of packed documents, for training and scoring without a noisy stream."""
        position = torch.arange(clean.shape[1], device=clean.device, dtype=torch.float32)[None].expand_as(
            clean
        )
        return self(self.embed("text", clean), position, mask=causal(doc)[:, None], **memory)[0]

    def shares(self) -> dict[str, int]:
        """Parameters of the trunk and of each head."""
        count = {"trunk": sum(p.numel() for p in self.trunk.parameters())}
        return count | {name: sum(p.numel() for p in head.parameters()) for name, head in self.heads.items()}
