"""What a decoder is: its sizes, how positions turn, how it writes.

This module knows no files: families.py reads configurations of others into it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

MOST = {"width": 1 << 16, "layers": 1024, "heads": 1024, "ffn": 1 << 18, "vocab": 1 << 20, "context": 1 << 24}
LONGEST_BLOCK = 4096
LANES = 16  # the width of a head is a multiple of it
KINDS = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class Rope:
    """Rotary positions. kind: "default", "linear" (positions divided by `factor`), "llama3" or "yarn" (low
    frequencies divided, high ones kept, those between blended: by how often they turn in the `original`
    context, or along the head between the places of those that turn `fast` and `slow` times; Peng et al.
    2023, arXiv 2309.00071). whole: these places are rounded outwards. amplitude: of sine and cosine.
    interleaved: pairs lie side by side, not half a head apart.
    """

    theta: float = 10_000.0
    interleaved: bool = False
    kind: str = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    fast: float = 32.0
    slow: float = 1.0
    whole: bool = True
    amplitude: float = 1.0

    def frequencies(self, head: int) -> np.ndarray:
        """Radians a position, `(head / 2,)` FP64.

        Raises:
            ValueError: a kind that is not known.
        """
        plain = self.theta ** (-np.arange(0, head, 2) / head)
        if self.kind == "default":
            return plain
        if self.kind == "linear":
            return plain / self.factor
        if self.kind not in KINDS:
            raise ValueError(f"rope type {self.kind!r} is not known; expected one of {', '.join(KINDS)}")
        kept = self._between(head) if self.kind == "yarn" else self._by_turns(plain)
        return (1 - kept) * plain / self.factor + kept * plain

    def _by_turns(self, plain: np.ndarray) -> np.ndarray:
        turns = self.original * plain / (2 * math.pi)
        return np.clip((turns - self.low) / (self.high - self.low), 0, 1)

    def _between(self, head: int) -> np.ndarray:
        places = [
            head * math.log(self.original / (2 * math.pi * turns)) / (2 * math.log(self.theta))
            for turns in (self.fast, self.slow)
        ]
        if self.whole:
            places = [math.floor(places[0]), math.ceil(places[1])]
        low, high = max(places[0], 0), min(places[1], head - 1)
        return 1 - np.clip((np.arange(head // 2) - low) / (high - low or 0.001), 0, 1)


@dataclass(frozen=True)
class Blocks:
    """How a block-diffusion model writes: tokens of `size` at a time, masks being `mask`.

    shifted: the logits of a place tell the token behind it. threshold: confidence from which a token stays.
    """

    size: int
    mask: int
    shifted: bool = False
    threshold: float = 0.9


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and kind of a decoder.

    centred: norms take the mean off. gelu: one matrix and GELU instead of SwiGLU. canvas: the mask of a model
    that fills its whole text at once, every place seeing every other.

    Raises:
        ValueError: sizes that do not fit each other, or that no model has.
    """

    family: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    ffn: int
    vocab: int
    context: int
    epsilon: float
    rope: Rope = Rope()
    qkv_bias: bool = False
    qk_norm: bool = False
    tied: bool = False
    stops: tuple[int, ...] = ()
    blocks: Blocks | None = None
    centred: bool = False
    gelu: bool = False
    canvas: int | None = None

    def __post_init__(self) -> None:
        for name, most in MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 1 to {most}")
        if not 1 <= self.kv_heads <= self.heads or self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} heads of keys")
        if self.head < LANES or self.head % LANES or self.head > 1024:
            raise ValueError(f"a head has {self.head} numbers; expected a multiple of {LANES} up to 1024")
        if not (self.rope.theta > 1 and self.rope.factor >= 1 and self.rope.high > self.rope.low):
            raise ValueError(
                f"rope turns with theta {self.rope.theta} and factor {self.rope.factor}; expected above 1"
            )
        if not (self.rope.fast >= self.rope.slow > 0 and self.rope.original > 0 and self.rope.amplitude > 0):
            raise ValueError(
                f"{self.rope} cannot turn; expected positive numbers, and no more slow than fast turns"
            )
        if not 0 < self.epsilon < 1:
            raise ValueError(f"the norms' epsilon is {self.epsilon}; expected a small positive number")
        if self.blocks is not None and not (
            1 <= self.blocks.size <= LONGEST_BLOCK and 0 <= self.blocks.mask < self.vocab
        ):
            raise ValueError(
                f"blocks are {self.blocks}; expected 1 to {LONGEST_BLOCK} tokens and a mask of the vocabulary"
            )

        if self.canvas is not None and (self.blocks is not None or not 0 <= self.canvas < self.vocab):
            raise ValueError(
                f"the canvas has mask {self.canvas}; expected one of the vocabulary and no blocks"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> DecoderConfig:
        """
        Raises:
            ValueError: keys that are unknown or missing, or values that do not fit.
        """
        known = {field.name for field in fields(cls)}
        if unknown := set(said) - known:
            raise ValueError(f"unknown keys {sorted(unknown)}; known are {sorted(known)}")
        try:
            rope = Rope(**said.get("rope", {}))
            blocks = None if said.get("blocks") is None else Blocks(**said["blocks"])
            rest = {name: value for name, value in said.items() if name not in ("rope", "blocks", "stops")}
            return cls(**rest, rope=rope, blocks=blocks, stops=tuple(said.get("stops", ())))
        except TypeError as error:
            raise ValueError(f"the decoder's configuration does not fit: {error}") from None
