"""Text to token ids and back: byte-level BPE, lossless, with eight reserved ids that no text can produce.

This module knows nothing of torch or of networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # trainings go on from bundles without it
    from tokenizers import Tokenizer

from ..core.files import replacing

PAD, MASK, TEXT, CODE, SEP, EOS, SUFFIX, MIDDLE = range(8)
SPECIAL_TOKENS = (
    "<|null|>",
    "<|mask|>",
    "<|text|>",
    "<|code|>",
    "<|body|>",
    "<|end|>",
    "<|suffix|>",
    "<|middle|>",
)
KINDS = {"text": TEXT, "code": CODE}


def _alphabet() -> dict[str, int]:
    """The byte that each character of byte-level BPE stands for: printable ones for themselves, the others
    for characters from 256 on (Radford et al. 2019).
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTES = _alphabet()


class TextTokenizer:
    """Byte-level BPE: `decode(encode(s)) == s` for every string that UTF-8 can hold."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        for i, name in enumerate(SPECIAL_TOKENS):
            if tokenizer.id_to_token(i) != name:
                raise ValueError(
                    f"tokenizer has {tokenizer.id_to_token(i)!r} as token {i}; expected {name!r}. Train "
                    "it with TextTokenizer.train"
                )

    @classmethod
    def train(cls, texts: Iterable[str], vocab: int = 4096) -> TextTokenizer:
        """Learns the merges; the reserved ids come first."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls.from_json(tokenizer.to_str())

    @classmethod
    def from_json(cls, text: str) -> TextTokenizer:
        """Reads a tokenizer; its reserved names are unhooked, so that "<|end|>" in a text is just text."""
        from tokenizers import Tokenizer

        data = json.loads(text)
        data["added_tokens"] = []
        return cls(Tokenizer.from_str(json.dumps(data)))

    @classmethod
    def load(cls, path: Path) -> TextTokenizer:
        return cls.from_json(path.read_text("utf-8"))

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return self._tokenizer.to_str()

    def save(self, path: Path) -> None:
        with replacing(path) as partial:
            partial.write_text(self._tokenizer.to_str(), "utf-8")

    @property
    def vocab(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def decode(self, tokens: Iterable[int]) -> str:
        """Reserved ids are left out; bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode([token for token in tokens if token >= len(SPECIAL_TOKENS)])

    @cached_property
    def _bytes(self) -> list[bytes]:
        """The bytes of every token, none for reserved ones."""
        ids = range(len(SPECIAL_TOKENS), self.vocab)
        spelled = [bytes(BYTES[c] for c in str(self._tokenizer.id_to_token(i))) for i in ids]
        return [b""] * len(SPECIAL_TOKENS) + spelled

    def to_bytes(self, tokens: Iterable[int]) -> bytes:
        """What tokens say in UTF-8, perhaps with half a character at an end; reserved ids say nothing."""
        return b"".join(map(self._bytes.__getitem__, tokens))

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """Each token on its own, for display; a mask is a light block, other reserved ids are empty."""
        return ["\u2591" if token == MASK else self.decode([token]) for token in tokens]
