"""Byte-level BPE in plain Python, for prompts where the library of tokenizers is not at hand; it spells every
text as that does (Sennrich et al. 2016; the pieces are those of Radford et al. 2019).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ..text.tokenizer import BYTES

CHARACTERS = {byte: character for character, byte in BYTES.items()}
CONTRACTION = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
PIECE = re.compile(r"_?L+|_?N+|_?o+|[_s]+(?![^_s])|[_s]+")  # over kinds of characters, see `kind`


class Encoding(NamedTuple):
    ids: list[int]


def kind(character: str) -> str:
    """What a character counts as: the space itself, other space, a letter, a number, or something else."""
    if character == " ":
        return "_"
    if character.isspace() and not "\x1c" <= character <= "\x1f":
        return "s"
    major = unicodedata.category(character)[0]
    return major if major in "LN" else "o"


def pieces(text: str) -> Iterator[str]:
    """What is spelled on its own.

    >>> list(pieces("I'll  go, twice!"))
    ['I', "'ll", ' ', ' go', ',', ' twice', '!']
    """
    kinds, at = "".join(map(kind, text)), 0
    while at < len(text):
        found = CONTRACTION.match(text, at) or PIECE.match(kinds, at)
        assert found is not None
        yield text[at : found.end()]
        at = found.end()


class BPE:
    """What `TextTokenizer` needs of a tokenizer."""

    def __init__(self, vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
        self.vocab, self.names = vocab, {i: name for name, i in vocab.items()}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}

    @classmethod
    def load(cls, path: Path) -> BPE:
        """From the file that tokenizers write."""
        model = json.loads(path.read_text("utf-8"))["model"]
        return cls(
            model["vocab"], [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]]
        )

    def get_vocab_size(self) -> int:
        return len(self.vocab)

    def id_to_token(self, token: int) -> str | None:
        return self.names.get(token)

    def encode(self, text: str) -> Encoding:
        return Encoding([token for piece in pieces(text) for token in self.spelled(piece)])

    def spelled(self, piece: str) -> list[int]:
        """Tokens of a piece: the pair that was merged first in training is joined first."""
        parts = [CHARACTERS[byte] for byte in piece.encode()]
        while len(parts) > 1:
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in pairwise(parts)]
            best = min(ranks)
            if best == len(self.ranks):
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [self.vocab[part] for part in parts]
