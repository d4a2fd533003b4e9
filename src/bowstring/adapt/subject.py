"""What a prompt is about, as a unit vector: what it means, and beside it the words that make it one of its
domain. An encoder of meaning knows no new names, and new domains are full of them.

Every word has a direction that its letters decide; a rare word is longer. Shapes: p prompts, d numbers of a
meaning.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..memory.embed import encode as meanings
from ..memory.embed import normalised, shipped_encoder

WORDS = 384  # numbers of the part of the words
SHARE = 0.6  # of the words in the square of a vector
COMMON = 300  # pieces of the encoder's vocabulary, the commonest first, that tell nothing
UNKNOWN, PIECE = 4.4, 2.2  # length of a word of two pieces without its second, and of every further piece
LEAST = 0.05


def encode(prompts: Sequence[str]) -> np.ndarray:
    """Unit vectors `(p, d + WORDS)`."""
    words = normalised(np.stack([words_of(one) for one in prompts]))
    return normalised(np.concatenate([(1 - SHARE) ** 0.5 * meanings(prompts), SHARE**0.5 * words], 1))


def words_of(prompt: str) -> np.ndarray:
    """The sum of a prompt's words, each once, `(WORDS,)`."""
    total = np.zeros(WORDS, np.float32)
    for word in dict.fromkeys(re.findall(r"\w+", prompt.lower())):
        total += weight(word) * direction(word)
    return total


@lru_cache(maxsize=1 << 14)
def weight(word: str) -> float:
    """How much a word tells: the logarithm of its place in the vocabulary, more where it is put together of
    pieces.
    """
    pieces = shipped_encoder().pieces(word)[1:]
    if len(pieces) > 1:
        return UNKNOWN + PIECE * (len(pieces) - 1)
    return max(LEAST, float(np.log(max(pieces, default=1) / COMMON)))


def direction(word: str) -> np.ndarray:
    """Signs that a word's letters decide, nearly at a right angle to those of any other word, `(WORDS,)`."""
    drawn = np.frombuffer(hashlib.shake_256(word.encode()).digest(WORDS // 8), np.uint8)
    return np.unpackbits(drawn).astype(np.float32) * 2 - 1
