"""Several decoders over one vocabulary as one: its law is the weighted mean of theirs, token by token.

Shapes: m decoders, r rows, d width, v tokens of the vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np

from .decoder import Decoder, KVCache


class MixedCache:
    """What each of the decoders has read; they read the same."""

    def __init__(self, caches: Sequence[KVCache]) -> None:
        self.caches = caches

    @property
    def length(self) -> int:
        return min(one.length for one in self.caches)

    def truncate(self, length: int) -> None:
        """Forgets all tokens from `length` on."""
        for cache in self.caches:
            cache.truncate(length)


class MixedDecoder:
    """A mixture. An evaluation is one of every decoder."""

    def __init__(self, decoders: Sequence[Decoder], weights: Sequence[float] | np.ndarray) -> None:
        """
        Raises:
            ValueError: weights that are no shares, or decoders of different vocabularies.
        """
        shares = np.asarray(weights, np.float64)
        if len(decoders) != len(shares) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
            raise ValueError(
                f"weights are {[*weights]} for {len(decoders)} decoders; expected one of each, none "
                "negative, 1 in all"
            )
        if len({one.config.vocab for one in decoders}) != 1:
            raise ValueError("the decoders have different vocabularies; a mixture needs one")
        kept = [(one, share) for one, share in zip(decoders, shares, strict=True) if share > 0]
        self.decoders = [one for one, _ in kept]
        self.weights = [float(share) for _, share in kept]
        self.config, self.planes = self.decoders[0].config, self.decoders[0].planes
        self.tilt: np.ndarray | None = None

    def _by(self, change: Callable[[Decoder], Decoder]) -> MixedDecoder:
        """The mixture of the decoders after the same change."""
        made = copy.copy(self)
        made.decoders = [change(one) for one in self.decoders]
        made.config, made.planes = made.decoders[0].config, made.decoders[0].planes
        return made

    @property
    def fine(self) -> MixedDecoder:
        """See `Decoder.fine`."""
        return self._by(lambda one: one.fine)

    def on_canvas(self, size: int) -> MixedDecoder:
        """See `Decoder.on_canvas`."""
        return self._by(lambda one: one.on_canvas(size))

    def counted_anew(self) -> MixedDecoder:
        """See `Decoder.counted_anew`."""
        return self._by(lambda one: one.counted_anew())

    def with_tilt(self, tilt: np.ndarray) -> MixedDecoder:
        """The mixture of which every token has exp(-tilt) `(v,)` of its odds."""
        made = copy.copy(self)
        made.tilt = np.asarray(tilt, np.float32)
        return made

    @property
    def forwards(self) -> int:
        """Evaluations of all of them."""
        return sum(one.forwards for one in self.decoders)

    def cache(self) -> MixedCache:
        return MixedCache([one.cache() for one in self.decoders])

    def forward(
        self,
        tokens: np.ndarray,
        cache: MixedCache,
        mask: np.ndarray | None = None,
        positions: np.ndarray | None = None,
    ) -> np.ndarray:
        """Hidden states of all decoders side by side, `(r, m d)`; see `Decoder.forward`."""
        pairs = zip(self.decoders, cache.caches, strict=True)
        return np.concatenate([one.forward(tokens, own, mask, positions) for one, own in pairs], 1)

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """Log-probabilities of the mixture, less its tilt, `(r, m d) -> (r, v)`."""
        parts = np.split(hidden, len(self.decoders), 1)
        logs = [
            log_softmax(one.logits(np.ascontiguousarray(part))) + np.log(share)
            for one, part, share in zip(self.decoders, parts, self.weights, strict=True)
        ]
        mixed = np.logaddexp.reduce(logs, 0) if len(logs) > 1 else logs[0]
        return (mixed if self.tilt is None else mixed - self.tilt).astype(np.float32)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """In FP64."""
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
