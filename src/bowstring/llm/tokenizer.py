"""Tokenizers of open models, from tokenizer.json or from a GGUF file. Special tokens never come from a user's
text.

Byte-level BPE as GPT-2's and its kin; a GGUF file that was made with another kind is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from ..core.files import write as write_file
from ..text.tokenizer import BYTES

LARGEST = 64 << 20
SPECIAL = "special_tokens.json"  # beside a tokenizer.json of ours
DIGITS_ONE, DIGITS_THREE = r"\p{N}", r"\p{N}{1,3}"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
SPLITS = {  # how the pre-tokenizers that GGUF names cut text
    "gpt-2": (GPT2,),
    "smollm": (DIGITS_ONE, GPT2),
    "qwen2": (WORDS + DIGITS_ONE + TAIL,),
    "llama-bpe": (WORDS + DIGITS_THREE + TAIL,),
}
CONTROL, USER_DEFINED = 3, 4
SPOKEN = ("<tool_call>", "</tool_call>")  # special in some models; they are what a call is known by


def listed(metadata: Mapping[str, Any], name: str) -> Iterable[Any]:
    """
    Raises:
        ValueError: the metadata lack this list.
    """
    found = metadata.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise ValueError(f"the metadata lack the list tokenizer.ggml.{name}")
    return found


class ModelTokenizer:
    """special: ids of special tokens by name; text that looks like one is plain text."""

    def __init__(self, tokenizer: Tokenizer, special: Mapping[str, int]) -> None:
        self._tokenizer, self.special = tokenizer, dict(special)
        self._names = {number: name for name, number in special.items()}

    @classmethod
    def load(cls, path: Path) -> ModelTokenizer:
        """From a tokenizer.json; its special tokens are unhooked and kept by name. Where `save` has put them
        beside it, the file is read by the library alone, which is faster.

        Raises:
            ValueError: it is too large or no tokenizer.
        """
        if (beside := path.with_name(SPECIAL)).exists():
            return cls.saved(path, beside)
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path} has {path.stat().st_size} bytes; expected at most {LARGEST}")
        try:
            return cls.from_json(json.loads(path.read_bytes()))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path} is no tokenizer: {error}") from None

    @classmethod
    def saved(cls, path: Path, beside: Path) -> ModelTokenizer:
        """What `save` has written.

        Raises:
            ValueError: one of the files is none of these.
        """
        if max(path.stat().st_size, beside.stat().st_size) > LARGEST:
            raise ValueError(f"{path} or {beside} has more than {LARGEST} bytes")
        try:
            said = json.loads(beside.read_bytes())
            return cls(Tokenizer.from_file(str(path)), {str(name): int(i) for name, i in said.items()})
        except Exception as error:  # the library raises plain Exception
            raise ValueError(f"{path} with {beside.name} is no tokenizer: {error}") from None

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> ModelTokenizer:
        added = said.get("added_tokens", [])
        special = {str(one["content"]): int(one["id"]) for one in added if one.get("special")}
        kept = [one for one in added if not one.get("special")]
        try:
            tokenizer = Tokenizer.from_str(json.dumps(said | {"added_tokens": kept, "post_processor": None}))
        except Exception as error:  # the library raises plain Exception
            raise ValueError(str(error)) from None
        return cls(tokenizer, special)

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any]) -> ModelTokenizer:
        """
        Raises:
            ValueError: a kind of tokenizer that is not known, or lists that do not fit each other.
        """
        kind, cut = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "gpt-2")
        if kind != "gpt2" or not isinstance(cut, str) or cut not in SPLITS:
            raise ValueError(
                f"the tokenizer is {kind!r}, cut as {cut!r}; known are 'gpt2' cut as {', '.join(SPLITS)}"
            )
        tokens = [str(token) for token in listed(metadata, "tokens")]
        merges = [tuple(str(merge).split(" ", 1)) for merge in listed(metadata, "merges")]
        kinds = (
            [*listed(metadata, "token_type")]
            if "tokenizer.ggml.token_type" in metadata
            else [1] * len(tokens)
        )
        if len(set(tokens)) != len(tokens) or len(kinds) != len(tokens):
            raise ValueError("the tokenizer's lists do not fit each other")
        numbers = {token: i for i, token in enumerate(tokens)}
        lost = [
            m
            for m in merges
            if len(m) != 2 or m[0] not in numbers or m[1] not in numbers or "".join(m) not in numbers
        ]
        if lost:
            raise ValueError(f"{len(lost)} merges make no token, {lost[0]} first")
        tokenizer = Tokenizer(models.BPE(numbers, merges))  # type: ignore[arg-type]  # the stubs want a list
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                *(pre_tokenizers.Split(Regex(one), "isolated") for one in SPLITS[cut]),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        plain = [
            AddedToken(t, normalized=False) for t, k in zip(tokens, kinds, strict=True) if k == USER_DEFINED
        ]
        if plain:
            tokenizer.add_tokens(plain)
        special = {
            token: i for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == CONTROL
        }
        return cls(tokenizer, special)

    def save(self, path: Path) -> None:
        """Writes a tokenizer.json without special tokens, and these beside it."""
        write_file(path.with_name(SPECIAL), json.dumps(self.special, ensure_ascii=False).encode())
        write_file(path, self._tokenizer.to_str().encode())

    @property
    def vocab(self) -> int:
        """One more than the largest id."""
        return max(self._tokenizer.get_vocab_size(), *(i + 1 for i in self.special.values()), 1)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; what looks like a special token is no special token."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def to_bytes(self, token: int) -> bytes:
        """The bytes of one token, which may be a part of a character; a special token has none, unless it
        marks a call.
        """
        if token in self._names:
            return self._names[token].encode() if self._names[token] in SPOKEN else b""
        piece = self._tokenizer.id_to_token(token)
        if piece is None:
            return b""
        try:
            return bytes(BYTES[mark] for mark in piece)
        except KeyError:  # a word that was added as it is
            return piece.encode()

    def decode(self, tokens: Iterable[int]) -> str:
        """Special tokens are left out; bytes that are no UTF-8 become U+FFFD."""
        kept = [token for token in tokens if token not in self._names]
        return self._tokenizer.decode(kept, skip_special_tokens=False)
