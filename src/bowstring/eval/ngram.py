"""Unigram to 5-gram models with Witten-Bell smoothing: what counting alone reaches.

A gram of up to five tokens of at most 12 bits is one 64-bit integer, so counting is sorting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TOKEN_BITS = 12


def grams(tokens: np.ndarray, order: int) -> np.ndarray:
    """All runs of `order` tokens as integers, the last token in the low bits, `(n - order + 1,)`."""
    out = np.zeros(len(tokens) - order + 1, np.int64)
    for i in range(order):
        out = (out << TOKEN_BITS) | tokens[i : len(tokens) - order + 1 + i]
    return out


@dataclass(frozen=True)
class Level:
    """Counts of one order: grams and contexts, sorted; tokens and kinds of tokens seen after each context."""

    gram: np.ndarray
    count: np.ndarray
    context: np.ndarray
    total: np.ndarray
    kinds: np.ndarray

    @classmethod
    def of(cls, tokens: np.ndarray, order: int) -> Level:
        gram, count = np.unique(grams(tokens, order), return_counts=True)
        context, start = np.unique(gram >> TOKEN_BITS, return_index=True)
        total = np.add.reduceat(count, start)
        return cls(gram, count, context, total, np.diff([*start, len(gram)]))

    def refined(self, gram: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """P(last token | the rest) of each gram: its count plus T times the lower order, over total + T."""
        seen = _lookup(self.gram, self.count, gram)
        total = _lookup(self.context, self.total, gram >> TOKEN_BITS)
        kinds = _lookup(self.context, self.kinds, gram >> TOKEN_BITS)
        return np.where(total > 0, (seen + kinds * lower) / np.maximum(total + kinds, 1), lower)


def _lookup(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def probabilities(train: np.ndarray, test: np.ndarray, order: int, vocab: int) -> np.ndarray:
    """P of each test token given the `order` - 1 before it, `(n,)`; the first few have shorter contexts.

    Source: Witten and Bell 1991, method C, interpolated.
    """
    p = np.full(len(test), 1 / vocab)
    for n in range(1, order + 1):
        level = Level.of(train, n)
        p[n - 1 :] = level.refined(grams(test, n), p[n - 1 :])
    return p
