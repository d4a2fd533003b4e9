"""Matrices of 2, 4 or 8 bits in groups of 32 with an FP16 scale and perhaps an FP16 minimum.

w[n, k] = scale[n, k // 32] * (code[n, k] - zero) + minimum[n, k // 32]; zero is 2, 8 or 128 where there
are no minima, else 0. That is what GGUF's Q4_0, Q4_1 and Q8_0 hold, so they are repacked without
a change of any number. Shapes: n outputs, k inputs, g groups, m rows of activations. The packed bytes are
those that the kernels read, see native/src/grouped/mod.rs.
"""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ... import _native

GROUP = 32
GROUPED = 1  # this kind of matrix, for the kernels
BLOCK = 16


@dataclass(frozen=True)
class GroupedMatrix:
    """lines: `(blocks, g, 64 bits)` uint8. scales, minima: `(blocks, g, 16)` float16.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    bits: int
    shape: tuple[int, int]
    lines: np.ndarray
    scales: np.ndarray
    minima: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, k = self.shape
        if self.bits not in (2, 4, 8) or n < 1 or k < 1 or k % GROUP:
            raise ValueError(
                f"{self.bits} bits and shape {self.shape}: expected 2, 4 or 8 bits and inputs in whole "
                f"groups of {GROUP}"
            )
        for name, (dtype, shape) in part_shapes(self.bits, self.shape).items():
            array = getattr(self, name)
            if (name == "minima" and array is None) or (array.dtype == dtype and array.shape == shape):
                continue
            raise ValueError(
                f"{name} is {array.dtype} {array.shape}; a {self.bits}-bit matrix {self.shape} has "
                f"{dtype} {shape}"
            )

    @property
    def zero(self) -> int:
        return 0 if self.minima is not None else 1 << self.bits - 1

    @classmethod
    def pack(
        cls, codes: np.ndarray, bits: int, scales: np.ndarray, minima: np.ndarray | None = None
    ) -> GroupedMatrix:
        """Lays out codes `(n, k)` and the scales and minima `(n, g)` of their groups."""
        n, k = codes.shape
        fields, rows = 8 // bits, -n % BLOCK
        padded = np.pad(codes, ((0, rows), (0, 0)))
        cells = padded.reshape(-1, BLOCK, k // GROUP, GROUP // (4 * fields), fields, 4).transpose(
            0, 2, 3, 1, 5, 4
        )
        shifts = (bits * np.arange(fields)).astype(np.uint8)
        lines = np.bitwise_or.reduce(cells << shifts, -1).astype(np.uint8)

        def blocked(part: np.ndarray) -> np.ndarray:
            whole = np.pad(part.astype(np.float16), ((0, rows), (0, 0)))
            return np.ascontiguousarray(whole.reshape(-1, BLOCK, k // GROUP).transpose(0, 2, 1))

        return cls(
            bits,
            (n, k),
            np.ascontiguousarray(lines.reshape(len(lines), k // GROUP, -1)),
            blocked(scales),
            None if minima is None else blocked(minima),
        )

    @classmethod
    def quantise(cls, w: np.ndarray, bits: int) -> GroupedMatrix:
        """Rounds `(n, k)` reals: 8 bits between the group's extremes of size; fewer between its least and
        largest number, or nearer, scale and minimum then refitted by least squares.
        """
        n, k = w.shape
        groups = np.asarray(w, np.float32).reshape(n, k // GROUP, GROUP)
        if bits == 8:
            scale = half(np.abs(groups).max(-1) / 127)
            codes = np.rint(groups / nonzero(scale)[..., None]).clip(-127, 127) + 128
            return cls.pack(codes.reshape(n, k).astype(np.uint8), 8, scale)
        codes, scale, minimum = affine(groups, (1 << bits) - 1)
        return cls.pack(codes.reshape(n, k).astype(np.uint8), bits, scale, minimum)

    def unpack(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Codes `(n, k)`, scales and minima `(n, g)`."""
        (n, k), fields = self.shape, 8 // self.bits
        lines = self.lines.reshape(len(self.lines), k // GROUP, GROUP // (4 * fields), BLOCK, 4)[..., None]
        fielded = lines >> (self.bits * np.arange(fields)).astype(np.uint8) & ((1 << self.bits) - 1)
        codes = fielded.transpose(0, 3, 1, 2, 5, 4).reshape(-1, k)[:n]

        def rows(part: np.ndarray) -> np.ndarray:
            return part.transpose(0, 2, 1).reshape(-1, k // GROUP)[:n]

        return codes, rows(self.scales), None if self.minima is None else rows(self.minima)

    def dequantise(self) -> np.ndarray:
        """The matrix as FP32 `(n, k)`."""
        codes, scales, minima = self.unpack()
        wide = np.repeat(scales.astype(np.float32), GROUP, 1)
        values = wide * (codes.astype(np.float32) - np.float32(self.zero))
        return values if minima is None else values + np.repeat(minima.astype(np.float32), GROUP, 1)

    def rows(self, tokens: np.ndarray) -> np.ndarray:
        """Some rows `(m,)` as FP32 `(m, k)`, as an embedding's.

        Raises:
            ValueError: a row that the matrix does not have.
        """
        tokens = np.ascontiguousarray(tokens, np.uint32)
        if tokens.size and int(tokens.max()) >= self.shape[0]:
            raise ValueError(f"row {int(tokens.max())} of a matrix of {self.shape[0]} rows")
        if (library := _native.library()) is None:
            return self.dequantise()[tokens]
        out = np.empty((len(tokens), self.shape[1]), np.float32)
        arrays = (_native.address(tokens), len(tokens), _native.address(out))
        _native.checked(library.bowstring_grouped_rows(byref(self.described), *arrays))
        return out

    @cached_property
    def described(self) -> _native.Weights:
        """The matrix as the kernels take it; valid while this object lives."""
        minima = self.minima
        return _native.Weights(
            GROUPED,
            self.bits,
            *self.shape,
            _native.address(self.lines),
            self.lines.size,
            _native.address(self.scales),
            self.scales.size,
            _native.address(minima),
            0 if minima is None else minima.size,
        )

    def __deepcopy__(self, memo: dict[int, object]) -> GroupedMatrix:
        """Itself: nothing changes it."""
        return self

    def matmul(self, x: np.ndarray, bias: np.ndarray | None = None, planes: int = 1) -> np.ndarray:
        """`x (m, k) @ w.T + bias (n,)`, FP32; x is rounded to one or two planes of INT8 in groups of 32.

        Raises:
            ValueError: shapes that do not fit.
        """
        x = np.ascontiguousarray(x, np.float32)
        if x.ndim != 2 or x.shape[1] != self.shape[1] or (bias is not None and bias.shape != self.shape[:1]):
            raise ValueError(f"x is {x.shape}, the matrix {self.shape}; expected (m, {self.shape[1]})")
        if (library := _native.library()) is None:
            return self.matmul_reference(x, bias, planes)
        bias = None if bias is None else np.ascontiguousarray(bias, np.float32)
        out = np.empty((len(x), self.shape[0]), np.float32)
        arrays = (_native.address(x), len(x), planes, _native.address(bias), _native.address(out))
        _native.checked(library.bowstring_grouped_matmul(byref(self.described), *arrays))
        return out

    def matmul_reference(self, x: np.ndarray, bias: np.ndarray | None = None, planes: int = 1) -> np.ndarray:
        """`matmul` in numpy: whole numbers within a group, then FP64."""
        values, x_scales = activations(x, planes)
        codes, scales, minima = self.unpack()
        n = self.shape[0]
        exact = np.einsum(
            "mgk,ngk->mng",
            values.astype(np.int64),
            codes.reshape(n, -1, GROUP).astype(np.int64) - self.zero,
        )
        out = np.einsum("mng,ng,mg->mn", exact, scales.astype(np.float64), x_scales.astype(np.float64))
        if minima is not None:
            sums = values.astype(np.int64).sum(-1) * x_scales.astype(np.float64)
            out += sums @ minima.astype(np.float64).T
        return (out if bias is None else out + bias).astype(np.float32)


def part_shapes(bits: int, shape: tuple[int, int]) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Type and shape of every array of a packed matrix."""
    blocks, groups = -(-shape[0] // BLOCK), shape[1] // GROUP
    scales = (np.float16, (blocks, groups, BLOCK))
    return {
        "lines": (np.uint8, (blocks, groups, GROUP * BLOCK * bits // 8)),
        "scales": scales,
        "minima": scales,
    }


def activations(x: np.ndarray, planes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers `(m, g, 32)` and scales `(m, g)` of rows `(m, k)`: INT8, or with two planes 254 times
    that and what it leaves, INT8 too.
    """
    groups = np.asarray(x, np.float32).reshape(len(x), -1, GROUP)
    largest = np.abs(groups).max(-1)
    inverse = np.where(
        largest > 1e-30, np.float32(127) / np.maximum(largest, np.float32(1e-30)), np.float32(0)
    )
    scaled = groups * inverse[..., None]
    values, scales = np.rint(scaled), largest / np.float32(127)
    if planes == 1:
        return values.astype(np.int8), scales
    rest = np.rint((scaled - values) * np.float32(254))
    return 254 * values.astype(np.int64) + rest.astype(np.int64), scales / np.float32(254)


def half(x: np.ndarray) -> np.ndarray:
    """What FP16 keeps of x, as FP32."""
    return x.astype(np.float16).astype(np.float32)


def nonzero(x: np.ndarray) -> np.ndarray:
    return np.where(x == 0, 1, x)


def fitted(groups: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and minimum of each group `(n, g)` that leave the least squared error, given its codes `(n, g,
    32)`.
    """
    mean_c, mean_w = codes.mean(-1), groups.mean(-1)
    spread = np.square(codes - mean_c[..., None]).mean(-1)
    along = ((codes - mean_c[..., None]) * (groups - mean_w[..., None])).mean(-1)
    scale = half(along / np.maximum(spread, 1e-12))
    return scale, half(mean_w - scale * mean_c)


def affine(groups: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes from 0 to `most`, scale and minimum of each group `(n, g, 32)`. With few codes the outermost
    numbers may lie beyond the grid: of several widths the one with the least squared error counts.
    """
    low, high = groups.min(-1), groups.max(-1)
    middle, width = (low + high) / 2, (high - low) / 2
    best: list[np.ndarray] = []
    for share in (1.0, 0.85, 0.7, 0.55) if most < 15 else (1.0,):
        scale, minimum = half(2 * share * width / most), half(middle - share * width)
        codes = nearest_codes(groups, scale, minimum, most)
        for _ in range(2):
            scale, minimum = fitted(groups, codes)
            codes = nearest_codes(groups, scale, minimum, most)
        error = np.square(scale[..., None] * codes + minimum[..., None] - groups).sum(-1)
        found = [error, codes, scale, minimum]
        better = error < best[0] if best else np.ones(error.shape, bool)
        best = [
            np.where(better[..., None] if new.ndim == 3 else better, new, old)
            for new, old in zip(found, best or found, strict=True)
        ]
    return best[1], best[2], best[3]


def nearest_codes(groups: np.ndarray, scale: np.ndarray, minimum: np.ndarray, most: int) -> np.ndarray:
    return np.rint((groups - minimum[..., None]) / nonzero(scale)[..., None]).clip(0, most)
