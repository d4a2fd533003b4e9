"""UnifiedScoreNetwork: one trunk, small heads, and the mask rule that trains two ways of writing at once.

Shapes: b sequences, l positions, v tokens. Text has no time of its own: a masked token says itself that it
is noise, and the best denoiser of a masked process does not depend on t (Ou et al. 2024, arXiv 2406.03736).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ..core.conditioning import NOTHING, Cache, Conditioning, visible
from .config import CHANNELS, FEW, PLACES, NetworkConfig
from .heads.continuous import ContinuousHead
from .heads.image import ImageHead
from .heads.speech import SpeechHead
from .heads.text import TextHead
from .trunk import Trunk

P = ParamSpec("P")
R = TypeVar("R")


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


def known_head(modality: str, config: NetworkConfig) -> ContinuousHead:
    """A fresh head of one of the real-valued modalities.

    Raises:
        ValueError: a modality that does not exist.
    """
    if modality not in CHANNELS:
        raise ValueError(f"unknown modality {modality!r}; real-valued ones are {[*CHANNELS]}")
    shape = CHANNELS[modality], config.width
    match modality:
        case "audio":
            return SpeechHead(*shape, config.speaker, draws=bool(config.duration_flow))
        case "image":
            return ImageHead(*shape, PLACES[modality])
        case _:
            return ContinuousHead(*shape)


def _with_its_threads(
    method: Callable[Concatenate[UnifiedScoreNetwork, P], R],
) -> Callable[Concatenate[UnifiedScoreNetwork, P], R]:
    """A pass under the network's own rule of how many threads torch may use."""

    @wraps(method)
    def limited(network: UnifiedScoreNetwork, *args: P.args, **options: P.kwargs) -> R:
        with network.threads():
            return method(network, *args, **options)

    return limited


class UnifiedScoreNetwork(nn.Module):
    """The whole network."""

    def __init__(self, config: NetworkConfig, modalities: Iterable[str] = ("text",)) -> None:
        """Text is always there; the other `modalities` get a head each.

        Raises:
            ValueError: a modality that does not exist.
        """
        super().__init__()
        self.config = config
        self.counted = threading.local()
        self.threads: Callable[[], AbstractContextManager[None]] = nullcontext  # around a pass
        self.bends = NOTHING  # deltas and branches of every pass
        self.trunk = Trunk(config)
        self.heads = nn.ModuleDict({"text": TextHead(config)})
        for name in modalities:
            if name != "text":
                self.add_head(name)

    @property
    def device(self) -> torch.device:
        """Where its parameters lie, and what it is given has to lie."""
        return self.trunk.norm.device

    def add_head(self, modality: str, head: ContinuousHead | None = None) -> ContinuousHead:
        """A new modality is a new head, its own embedding in it; the trunk stays as it is.

        Args:
            head: what turns values of a modality that is not among the known ones into tokens and back.
        """
        self.heads[modality] = known_head(modality, self.config) if head is None else head
        return self.heads[modality]  # type: ignore[return-value]

    def bent(self, conditioning: Conditioning) -> UnifiedScoreNetwork:
        """The same network, sharing all parameters, whose every pass these deltas and branches bend, too.

        Raises:
            ValueError: a layer or map that the trunk does not have, or matrices of another size.
        """
        self.trunk.check(conditioning)
        other = copy.copy(self)
        other.bends = conditioning.bends_on(self.device)
        return other

    def embed(self, modality: str, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Values of one modality as trunk tokens; reals have a time."""
        head = self.head(modality)
        return head.embed(x) if t is None else head.embed(x, t)  # type: ignore[operator]

    def shortcut_step_size(self, steps: int) -> float:
        """Size of each of so few steps if this network has learned shortcuts, else 0: the many-step limit."""
        learned = bool(self.trunk.modulation.step_size.weight.any())
        return 1 / steps if learned and steps <= FEW else 0.0

    def head(self, name: str) -> nn.Module:
        """The head of a modality; what follows a slash tells several streams of one modality apart."""
        return self.heads[name.partition("/")[0]]

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        t: Tensor | None = None,
        step_size: Tensor | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        """One counted pass through the trunk; see `Trunk.forward`."""
        self.counted.forwards = self.forwards + 1
        conditioning = conditioning if self.bends is NOTHING else conditioning | self.bends
        return self.trunk(x, position, x.new_zeros(1, 1) if t is None else t, step_size, conditioning)

    @property
    def forwards(self) -> int:
        """Passes through the trunk that the calling thread has made."""
        return getattr(self.counted, "forwards", 0)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"counted": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"counted": threading.local()})

    @_with_its_threads
    def prefill(
        self,
        tokens: Tensor,
        position: Tensor,
        valid: Tensor,
        conditioning: Conditioning = NOTHING,
    ) -> tuple[Tensor, Cache]:
        """Reads clean text causally: hidden states of its tokens, and the cache with them appended.

        Args:
            valid: `(b, l)`, False at padding.
        """
        length, cache = tokens.shape[1], conditioning.cache
        n = 0 if cache is None else cache.length
        order = torch.arange(n + length, device=tokens.device)
        here = n + order[:length, None]
        # padding sees itself: a softmax needs one key
        mask = visible(cache, valid) & (order <= here) | (order == here)
        given = conditioning.with_(mask=mask)
        hidden, layers = self(self.embed("text", tokens), position, conditioning=given)
        return hidden, Cache(layers, valid if cache is None else torch.cat([cache.valid, valid], 1))

    @_with_its_threads
    def block_hidden(
        self,
        tokens: Tensor,
        position: Tensor,
        conditioning: Conditioning,
        step_size: Tensor | None = None,
    ) -> Tensor:
        """Hidden states of a noisy block that sees the cache and all of itself; the cache stays."""
        mask = visible(conditioning.cache, torch.ones_like(tokens, dtype=torch.bool))
        given = conditioning.with_(mask=mask)
        return self(self.embed("text", tokens), position, step_size=step_size, conditioning=given)[0]

    @_with_its_threads
    def logits(self, hidden: Tensor) -> Tensor:
        """What the text head says of hidden states, `(b, l, d) -> (b, l, v)`, in FP32."""
        return self.heads["text"](hidden).float()

    def flow(
        self,
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        position: Mapping[str, Tensor],
        step_size: Mapping[str, Tensor] | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> dict[str, Tensor]:
        """Velocities of several real-valued modalities from one pass. Without a mask, all see each other and
        what is real of the cache.

        Args:
            x, t, position: by modality, `(b, l, c)`, `(b,)` and `(b|1, l)`; step_size as t, None is the
                many-step limit. "image/free" is a second image, handled by the head of "image".
            conditioning: of all tokens, the modalities one after the other.
        """
        return self.flow_and_read(x, t, position, step_size, conditioning)[0]

    @_with_its_threads
    def flow_and_read(
        self,
        x: Mapping[str, Tensor],
        t: Mapping[str, Tensor],
        position: Mapping[str, Tensor],
        step_size: Mapping[str, Tensor] | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> tuple[dict[str, Tensor], tuple[tuple[Tensor, Tensor], ...]]:
        """As `flow`, and keys and values of all rows, joined with the cached ones. x may hold "text", token
        ids `(b, l)` at time 0, of which hidden states `(b, l, d)` come back.
        """
        names = [*x]
        b, lengths = len(x[names[0]]), [x[name].shape[1] for name in names]
        own = {name: t[name].view(b, 1) for name in names}
        sizes = None if step_size is None else {name: step_size[name].view(b, 1) for name in names}
        cache = conditioning.cache
        if conditioning.mask is None and cache is not None:
            fresh = cache.valid.new_ones(b, sum(lengths))
            conditioning = conditioning.with_(mask=visible(cache, fresh))
        hidden, layers = self(
            torch.cat(
                [self.embed(name, x[name], None if name == "text" else own[name]) for name in names], 1
            ),
            torch.cat([position[name].expand(b, -1) for name in names], 1),
            self._per_token(own, lengths),
            None if sizes is None else self._per_token(sizes, lengths),
            conditioning,
        )
        parts = zip(names, hidden.split(lengths, 1), strict=True)
        return {
            name: part if name == "text" else self.head(name)(part, x[name], own[name])
            for name, part in parts
        }, layers

    @staticmethod
    def _per_token(values: Mapping[str, Tensor], lengths: list[int]) -> Tensor:
        """`(b, 1)` of one modality as it is; of several, each repeated over its tokens."""
        if len(values) == 1:
            return next(iter(values.values()))
        return torch.cat([v.expand(-1, n) for v, n in zip(values.values(), lengths, strict=True)], 1)

    def pair(
        self,
        noisy: Tensor,
        clean: Tensor,
        doc: Tensor,
        block: Tensor,
        step_size: Tensor | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> tuple[Tensor, Tensor]:
        """One pass over [noisy ; clean]: hidden states of both streams, `(b, l, d)` each."""
        position = torch.arange(clean.shape[1], device=clean.device, dtype=torch.float32).repeat(2)[None]
        both = self.embed("text", torch.cat([noisy, clean], 1))
        given = conditioning.with_(mask=paired(doc, block)[:, None])
        hidden, _ = self(both, position, step_size=step_size, conditioning=given)
        return hidden.chunk(2, 1)

    def plain(self, clean: Tensor, doc: Tensor, conditioning: Conditioning = NOTHING) -> Tensor:
        """Causal hidden states of packed documents, for training and scoring without a noisy stream."""
        position = torch.arange(clean.shape[1], device=clean.device, dtype=torch.float32)[None]
        given = conditioning.with_(mask=causal(doc)[:, None])
        return self(self.embed("text", clean), position, conditioning=given)[0]

    def shares(self) -> dict[str, int]:
        """Parameters of the trunk and of each head."""
        count = {"trunk": sum(p.numel() for p in self.trunk.parameters())}
        return count | {name: sum(p.numel() for p in head.parameters()) for name, head in self.heads.items()}
