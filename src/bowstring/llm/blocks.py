"""Types of numbers in GGUF files: how many values a block holds, its bytes, and what they say.

Every function maps blocks `(..., bytes)` uint8 to values `(..., n)` FP32. Source: ggml's block layouts
(ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Values = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """A type: `values` numbers lie in `bytes` bytes."""

    name: str
    values: int
    bytes: int
    values_of: Values


def halves(blocks: np.ndarray, at: int) -> np.ndarray:
    """The FP16 number at a byte of each block, `(..., 1)`."""
    return np.ascontiguousarray(blocks[..., at : at + 2]).view(np.float16).astype(np.float32)


def nibbles(packed: np.ndarray) -> np.ndarray:
    """Low halves of all bytes, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], -1)


def f32(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view(np.float32)


def f16(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)


def bf16(blocks: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(blocks).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def q4_0(blocks: np.ndarray) -> np.ndarray:
    return halves(blocks, 0) * (nibbles(blocks[..., 2:]).astype(np.float32) - 8)


def q4_1(blocks: np.ndarray) -> np.ndarray:
    return halves(blocks, 0) * nibbles(blocks[..., 4:]).astype(np.float32) + halves(blocks, 2)


def fifth_bits(blocks: np.ndarray, at: int) -> np.ndarray:
    """The 32 high bits of five-bit codes, each as 0 or 16."""
    return np.unpackbits(np.ascontiguousarray(blocks[..., at : at + 4]), -1, bitorder="little") << 4


def q5_0(blocks: np.ndarray) -> np.ndarray:
    codes = nibbles(blocks[..., 6:]) | fifth_bits(blocks, 2)
    return halves(blocks, 0) * (codes.astype(np.float32) - 16)


def q5_1(blocks: np.ndarray) -> np.ndarray:
    codes = nibbles(blocks[..., 8:]) | fifth_bits(blocks, 4)
    return halves(blocks, 0) * codes.astype(np.float32) + halves(blocks, 2)


def q8_0(blocks: np.ndarray) -> np.ndarray:
    return halves(blocks, 0) * np.ascontiguousarray(blocks[..., 2:]).view(np.int8).astype(np.float32)


def six_bits(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight scales and eight minima of six bits from twelve bytes, `(..., 8)` each."""
    low, high, mixed = packed[..., :4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([low & 63, mixed & 15 | low >> 6 << 4], -1)
    minima = np.concatenate([high & 63, mixed >> 4 | high >> 6 << 4], -1)
    return scales.astype(np.float32), minima.astype(np.float32)


def scaled(codes: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Codes `(..., 8, 32)` with the two levels of scales of Q4_K and Q5_K."""
    scales, minima = six_bits(blocks[..., 4:16])
    scale, minimum = halves(blocks, 0) * scales, halves(blocks, 2) * minima
    return (scale[..., None] * codes.astype(np.float32) - minimum[..., None]).reshape(*blocks.shape[:-1], 256)


def pairs(packed: np.ndarray) -> np.ndarray:
    """128 bytes as codes `(..., 8, 32)`: of every 32 bytes the low halves, then the high ones."""
    runs = packed.reshape(*packed.shape[:-1], 4, 1, 32)
    return np.concatenate([runs & 15, runs >> 4], -2).reshape(*packed.shape[:-1], 8, 32)


def q4_k(blocks: np.ndarray) -> np.ndarray:
    return scaled(pairs(blocks[..., 16:]), blocks)


def q5_k(blocks: np.ndarray) -> np.ndarray:
    high = blocks[..., None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return scaled(pairs(blocks[..., 48:]) | high << 4, blocks)


def q6_k(blocks: np.ndarray) -> np.ndarray:
    """Two halves of 128 values: 64 bytes of low bits, 32 of high ones; a signed scale for every 16."""
    low = blocks[..., :128].reshape(*blocks.shape[:-1], 2, 1, 64)
    low = np.concatenate([low & 15, low >> 4], -2).reshape(*blocks.shape[:-1], 2, 4, 32)
    high = blocks[..., 128:192].reshape(*blocks.shape[:-1], 2, 1, 32)
    high = high >> (2 * np.arange(4, dtype=np.uint8))[:, None] & 3
    codes = (low | high << 4).astype(np.float32).reshape(*blocks.shape[:-1], 16, 16) - 32
    scales = np.ascontiguousarray(blocks[..., 192:208]).view(np.int8).astype(np.float32)
    return ((halves(blocks, 208) * scales)[..., None] * codes).reshape(*blocks.shape[:-1], 256)


BLOCKS = {
    0: Kind("F32", 1, 4, f32),
    1: Kind("F16", 1, 2, f16),
    2: Kind("Q4_0", 32, 18, q4_0),
    3: Kind("Q4_1", 32, 20, q4_1),
    6: Kind("Q5_0", 32, 22, q5_0),
    7: Kind("Q5_1", 32, 24, q5_1),
    8: Kind("Q8_0", 32, 34, q8_0),
    12: Kind("Q4_K", 256, 144, q4_k),
    13: Kind("Q5_K", 256, 176, q5_k),
    14: Kind("Q6_K", 256, 210, q6_k),
    30: Kind("BF16", 1, 2, bf16),
}
