"""Vectors that mean something: a small tower over words, in numpy.

Word pieces have entries of few numbers; pre-norm layers of attention and SwiGLU mix them; the mean of the
last hidden states is mapped to a unit vector. Texts that mean the same lie near each other. A matrix is kept
in INT8 with one scale a row. Shapes: b texts, l tokens, e entry, d width, h heads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..core.files import replacing
from ..core.options import texts as checked_texts
from ..weights.format.parquet import Tensor, WeightsFile, write
from ..weights.shipped import ENCODER_FOLDER
from .record import Embedder

WEIGHTS, TOKENIZER = "encoder.parquet", "tokenizer.json"
EPS = 1e-6
TOKENS_AT_ONCE = 8192
NEAR = 0.96  # cosine that at most a millionth of pairs of different glosses or utterances reach
LARGEST = 1 << 16  # of any size in a file


@dataclass(frozen=True)
class Sizes:
    """Sizes of a tower: pieces it knows, numbers of an entry, width, layers, heads, numbers inside the
    SwiGLU, tokens it reads at once, numbers of a vector."""

    vocab: int
    entry: int = 112
    width: int = 192
    depth: int = 3
    attention_heads: int = 6
    ffn_hidden: int = 256
    context: int = 128
    out: int = 384

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or not 0 < value <= LARGEST:
                raise ValueError(f"{name} is {value!r}; expected a whole number from 1 to {LARGEST}")
        if self.width % self.attention_heads:
            raise ValueError(f"a width of {self.width} does not divide into {self.attention_heads} heads")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight by its name."""
        d = self.width
        layer = {
            "norm": (d,),
            "mixed": (3 * d, d),
            "attended": (d, d),
            "ffn_norm": (d,),
            "ffn_in": (2 * self.ffn_hidden, d),
            "ffn_out": (d, self.ffn_hidden),
        }
        layers = {f"layers.{i}.{name}": shape for i in range(self.depth) for name, shape in layer.items()}
        return {
            "entries": (self.vocab, self.entry),
            "widened": (d, self.entry),
            "places": (self.context, d),
            **layers,
            "out": (self.out, d),
        }


class TextEncoder:
    """Unit vectors of texts."""

    def __init__(self, sizes: Sizes, weights: Mapping[str, np.ndarray], tokenizer: Tokenizer) -> None:
        """
        Raises:
            ValueError: a weight is missing or has another shape.
        """
        for name, shape in sizes.shapes().items():
            if name not in weights or weights[name].shape != shape:
                raise ValueError(f"{name} is missing or not {shape}; is it another encoder's file?")
        self.sizes, self.weights, self.tokenizer = sizes, dict(weights), tokenizer

    @classmethod
    def load(cls, folder: Path = ENCODER_FOLDER) -> TextEncoder:
        """
        Raises:
            ValueError: a damaged file, or one of other sizes.
        """
        file = WeightsFile(folder / WEIGHTS)
        file.verify()
        try:
            sizes = Sizes(**file.metadata)
        except TypeError:
            raise ValueError(f"{file.path} does not say the sizes of an encoder") from None
        weights = {name: unpacked(file, name) for name in sizes.shapes()}
        return cls(sizes, weights, Tokenizer.from_file(str(folder / TOKENIZER)))

    def save(self, folder: Path) -> None:
        """Writes the encoder with its matrices in INT8."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = [part for name, one in self.weights.items() for part in packed(name, one)]
        write(folder / WEIGHTS, stored, asdict(self.sizes))
        with replacing(folder / TOKENIZER) as partial:
            partial.write_text(self.tokenizer.to_str(), "utf-8")

    def __call__(self, sentences: str | Sequence[str]) -> np.ndarray:
        """`(384,)` for a string, `(n, 384)` for several. Of a text longer than the context all windows count,
        each token as much as another.

        Raises:
            TypeError: not text. ValueError: no text.
        """
        several = checked_texts(sentences, "sentences")
        if not several:
            raise ValueError("there are no texts to encode; give a string or a list of strings")
        rows, size = [self.pieces(text) for text in several], self.sizes.context
        windows = [(i, row[k : k + size]) for i, row in enumerate(rows) for k in range(0, len(row), size)]
        sums = np.zeros((len(rows), self.sizes.width), np.float32)
        for part in by_length([len(window) for _, window in windows], TOKENS_AT_ONCE):
            owners = [windows[i][0] for i in part]
            np.add.at(sums, owners, self.summed([windows[i][1] for i in part]))
        means = sums / np.array([[len(row)] for row in rows], np.float32)
        vectors = normalised(means @ self.weights["out"].T)
        return vectors[0] if isinstance(sentences, str) else vectors

    def pieces(self, text: str) -> list[int]:
        """Ids of a text's word pieces, after one that every text begins with."""
        return [*self.tokenizer.encode(text).ids]

    def summed(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """Sums of the last hidden states of rows of ids, `(b, d)`."""
        tokens, valid = padded(rows)
        w = self.weights
        x = w["entries"][tokens] @ w["widened"].T + w["places"][: tokens.shape[1]]
        for i in range(self.sizes.depth):
            x = x + self.attention(rms(x, w[f"layers.{i}.norm"]), valid, f"layers.{i}.")
            gate, inner = np.split(rms(x, w[f"layers.{i}.ffn_norm"]) @ w[f"layers.{i}.ffn_in"].T, 2, -1)
            x = x + (gate / (1 + np.exp(-gate)) * inner) @ w[f"layers.{i}.ffn_out"].T
        return np.asarray((x * valid[..., None]).sum(1))

    def attention(self, x: np.ndarray, valid: np.ndarray, layer: str) -> np.ndarray:
        b, length, d = x.shape
        heads = self.sizes.attention_heads
        mixed = (x @ self.weights[f"{layer}mixed"].T).reshape(b, length, 3, heads, d // heads)
        query, key, value = mixed.transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2) * np.float32((d // heads) ** -0.5)
        scores = np.where(valid[:, None, None], scores, np.float32(-np.inf))
        share = np.exp(scores - scores.max(-1, keepdims=True))
        seen = (share / share.sum(-1, keepdims=True)) @ value
        seen = seen.transpose(0, 2, 1, 3).reshape(b, length, d)
        return np.asarray(seen @ self.weights[f"{layer}attended"].T)


def packed(name: str, weight: np.ndarray) -> list[tuple[str, Tensor]]:
    """A weight as it is stored: INT8 and a scale a row for matrices, FP32 for what is added or multiplied."""
    if weight.ndim == 1 or name == "places":
        return [(name, Tensor.of(weight.astype(np.float32)))]
    scales = np.maximum(np.abs(weight).max(1), 1e-12).astype(np.float32) / 127
    codes = np.rint(weight / scales[:, None]).astype(np.int8)
    return [(f"{name}.codes", Tensor.of(codes)), (f"{name}.scales", Tensor.of(scales))]


def unpacked(file: WeightsFile, name: str) -> np.ndarray:
    """
    Raises:
        ValueError: the file lacks it.
    """
    if name in file.entries:
        return np.array(file[name], np.float32)
    if missing := {f"{name}.codes", f"{name}.scales"} - file.entries.keys():
        raise ValueError(f"{file.path} lacks tensor {sorted(missing)[0]!r}; is it another encoder's file?")
    codes, scales = file[f"{name}.codes"], file[f"{name}.scales"]
    if codes.ndim != 2 or scales.shape != codes.shape[:1]:
        raise ValueError(f"{file.path}: {name} has {codes.shape} codes and {scales.shape} scales")
    return np.asarray(codes.astype(np.float32) * scales[:, None])


def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """RMSNorm (Zhang & Sennrich 2019)."""
    return np.asarray(x / np.sqrt(np.mean(x * x, -1, keepdims=True) + EPS) * weight)


def normalised(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12))


def padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Ids `(b, l)`, 0 where a row has ended, and which of them are there."""
    lengths = np.array([len(row) for row in rows])
    valid = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.zeros(valid.shape, np.int64)
    tokens[valid] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return tokens, valid


def by_length(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Places of rows in parts of similar length, each with at most `most` tokens, padding included.

    >>> by_length([1, 9, 2, 8], 18)
    [[0, 2], [3, 1]]
    """
    parts, part = list[list[int]](), list[int]()
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if part and lengths[i] * (len(part) + 1) > most:
            parts.append(part)
            part = []
        part.append(i)
    return [*parts, part] if part else parts


@lru_cache(maxsize=1)
def shipped_encoder() -> TextEncoder:
    return TextEncoder.load()


def encode(sentences: str | Sequence[str]) -> np.ndarray:
    """Unit vectors by the encoder that ships; it is read when first needed. See `TextEncoder`."""
    return shipped_encoder()(sentences)


@lru_cache(maxsize=1)
def default_embedder() -> Embedder:
    """What `remember` and `recall` make vectors with."""
    return embedder_of(ENCODER_FOLDER, encode)


def embedder_of(folder: Path, encode: Callable[[Sequence[str]], np.ndarray]) -> Embedder:
    """An encoder by the folder it lies in. Its hash is that of the hashes of all weights."""
    file = WeightsFile(folder / WEIGHTS)
    every = "".join(f"{name} {entry.hash}\n" for name, entry in sorted(file.entries.items()))
    name = hashlib.sha256(every.encode()).hexdigest()[:16]
    return Embedder("bowstring", name, Sizes(**file.metadata).out, encode, NEAR)
