"""How fast do texts become tokens, beside the plain library and beside tiktoken with the same vocabulary?

One thread, one text a call; megabytes of UTF-8 a second. The texts are the help topics that come with Python,
prose and code. A rival counts only where its tokens are ours.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from pydoc_data.topics import topics

from ..llm.tokenizer import GPT2, ModelTokenizer
from ..text.tokenizer import BYTES, SPECIAL_TOKENS, TextTokenizer
from .results import Measured

Encode = Callable[[str], list[int]]
# GPT-2's cut after digits were cut off one by one, as one expression: spaces before a digit end a piece
SMOLLM = r"\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"


def plain(path: Path) -> Encode:
    """The library on a tokenizer.json as it is, its special tokens unhooked."""
    from tokenizers import Tokenizer

    said = json.loads(path.read_text("utf-8")) | {"added_tokens": []}
    tokenizer = Tokenizer.from_str(json.dumps(said))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def of_tiktoken(path: Path, pattern: str, special: Sequence[str]) -> Encode | None:
    """tiktoken with the vocabulary of a tokenizer.json, whose merges are in the order of their tokens."""
    if importlib.util.find_spec("tiktoken") is None:
        return None
    import tiktoken

    vocab = json.loads(path.read_text("utf-8"))["model"]["vocab"]
    ranks = {bytes(BYTES[c] for c in name): i for name, i in vocab.items() if name not in special}
    encoding = tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return encoding.encode_ordinary


def rates(ours: Encode, rivals: Mapping[str, Encode | None], runs: int) -> dict[str, Measured]:
    """Megabytes a second by name, taking turns; None where a rival is missing or says other tokens."""
    texts = [*topics.values()]
    wanted = [ours(text) for text in texts]
    equal = {
        name: encode
        for name, encode in rivals.items()
        if encode is not None and [encode(text) for text in texts] == wanted
    } | {"ours": ours}
    taken: dict[str, list[float]] = {name: [] for name in equal}
    size = sum(len(text.encode()) for text in texts) / 1e6
    for _ in range(runs):
        for name, encode in equal.items():
            began = time.perf_counter()
            for text in texts:
                encode(text)
            taken[name].append(size / (time.perf_counter() - began))
    absent = {name: Measured(None, n=0) for name in rivals}
    return absent | {name: Measured.median(values) for name, values in taken.items()}


def own_rates(path: Path, runs: int) -> dict[str, Measured]:
    """Of our text's vocabulary, a tokenizer.json."""
    rivals = {"tokenizers": plain(path), "tiktoken": of_tiktoken(path, GPT2, SPECIAL_TOKENS)}
    return rates(TextTokenizer.load(path).encode, rivals, runs)


def imported_rates(folder: Path, runs: int) -> dict[str, Measured]:
    """Of an imported SmolLM2's."""
    path = folder / "tokenizer.json"
    ours = ModelTokenizer.load(path)
    rivals = {"tokenizers": plain(path), "tiktoken": of_tiktoken(path, SMOLLM, [*ours.special])}
    return rates(ours.encode, rivals, runs)
