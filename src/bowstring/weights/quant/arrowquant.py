"""ArrowQuant: weights of 2 or 4 bits times INT8 activations.

w[n, k] = level(code[n, k]) * group_scale[n, k // 64] * scale[n]; levels are -3, -1, 1, 3 or -8..7, group
scales are integers 0..255, so that everything up to one last multiplication is exact in integers. Shapes:
n outputs, k inputs, g groups of 64 inputs, m rows of activations. The packed bytes are those that the
kernels read.
"""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ... import _native

GROUP = 64
BLOCK = 16
FACTORS = {2: (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 4: (0.7, 0.8, 0.85, 0.9, 0.95, 1.0)}
TOP = {2: 3.0, 4: 8.0}  # the largest level
PARTS = ("lines", "group_scales", "scales")  # arrays of a packed matrix
MOST_INPUTS = 129 * GROUP  # beyond it a 32-bit sum could overflow


def levels(codes: np.ndarray, bits: int) -> np.ndarray:
    """Signed integers that codes stand for."""
    wide = codes.astype(np.int32)
    return 2 * wide - 3 if bits == 2 else wide - 8


def nearest(ratio: np.ndarray, bits: int) -> np.ndarray:
    """Codes of the levels nearest to w / scale."""
    if bits == 2:
        return np.clip(np.rint((ratio + 3) / 2), 0, 3).astype(np.uint8)
    return np.clip(np.rint(ratio) + 8, 0, 15).astype(np.uint8)


def grouped(x: np.ndarray) -> np.ndarray:
    """`(..., k)` -> `(..., g, 64)`, padded with zeros."""
    pad = -x.shape[-1] % GROUP
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, pad)])
    return x.reshape(*x.shape[:-1], -1, GROUP)


@dataclass(frozen=True)
class ArrowQuant:
    """A matrix `(n, k)` in packed form.

    lines: `(blocks, bytes)` uint8, see native/src/layout.rs. group_scales: `(blocks, g, 16)` uint8.
    scales: `(n,)`.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    bits: int
    shape: tuple[int, int]
    lines: np.ndarray
    group_scales: np.ndarray
    scales: np.ndarray

    def __post_init__(self) -> None:
        n, k = self.shape
        if self.bits not in (2, 4) or not (n > 0 and 0 < k <= MOST_INPUTS):
            raise ValueError(
                f"{self.bits} bits and shape {self.shape}: expected 2 or 4 bits, at most {MOST_INPUTS} inputs"
            )
        wanted = shapes(self.bits, self.shape)
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}; a {self.bits}-bit matrix {self.shape} has "
                    f"{dtype} {shape}"
                )
            # what kernels hold the addresses of must not change: views that cannot be written
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __deepcopy__(self, memo: dict[int, Any]) -> ArrowQuant:
        """Itself: nothing in it can change."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowQuant, (self.bits, self.shape, self.lines, self.group_scales, self.scales)

    @classmethod
    def quantise(cls, w: np.ndarray, bits: int, importance: np.ndarray | None = None) -> ArrowQuant:
        """Quantises `(n, k)` reals with scales found by least squares.

        Args:
            importance: `(k,)` weights of the inputs' squared errors, for example the mean square of each
            input in
                use; None weighs all alike.
        """
        w = np.asarray(w, np.float32)
        groups = grouped(w)
        weight = grouped(
            np.ones(w.shape[1], np.float32) if importance is None else np.asarray(importance, np.float32)
        )
        return cls.with_scales(w, best_scales(groups, weight, bits), bits)

    @classmethod
    def with_scales(cls, w: np.ndarray, scale: np.ndarray, bits: int) -> ArrowQuant:
        """Rounds `(n, k)` reals with given scales `(n, g)`, which become integers times one real per
        output.
        """
        scales = scale.max(1) / 255
        safe = np.where(scales > 0, scales, 1)[:, None]
        steps = np.rint(scale / safe).astype(np.uint8)
        actual = steps * safe
        codes = nearest(grouped(w) / np.where(actual > 0, actual, 1)[..., None], bits)
        return cls.pack(codes.reshape(len(w), -1)[:, : w.shape[1]], bits, steps, scales.astype(np.float32))

    @classmethod
    def random(cls, shape: tuple[int, int], bits: int, rng: np.random.Generator) -> ArrowQuant:
        """Random codes, drawn in packed form, with variance about 1 / k."""
        n, k = shape
        arrays = {name: (dtype, size) for name, (dtype, size) in shapes(bits, shape).items()}
        lines = rng.integers(0, 256, arrays["lines"][1], np.uint8)
        group_scales = rng.integers(96, 256, arrays["group_scales"][1], np.uint8)
        spread = {2: 5**0.5, 4: 21.5**0.5}[bits]  # root mean square of a random level
        return cls(bits, shape, lines, group_scales, np.full(n, 1 / (176 * spread * k**0.5), np.float32))

    @classmethod
    def pack(cls, codes: np.ndarray, bits: int, group_scales: np.ndarray, scales: np.ndarray) -> ArrowQuant:
        """Lays out codes `(n, k)` and group scales `(n, g)`."""
        n, k = codes.shape
        rows, fields = -n % BLOCK, 8 // bits
        padded = np.pad(grouped(codes).reshape(n, -1), ((0, rows), (0, 0)))
        cells = padded.reshape(-1, BLOCK, padded.shape[1] // (4 * fields), fields, 4).transpose(0, 2, 1, 4, 3)
        shifts = (bits * np.arange(fields)).astype(np.uint8)
        lines = np.bitwise_or.reduce(cells << shifts, -1).astype(np.uint8)
        steps = (
            np.pad(group_scales, ((0, rows), (0, 0)))
            .reshape(-1, BLOCK, group_scales.shape[1])
            .transpose(0, 2, 1)
        )
        return cls(bits, (n, k), lines.reshape(len(lines), -1), np.ascontiguousarray(steps), scales)

    def unpack(self) -> tuple[np.ndarray, np.ndarray]:
        """Codes `(n, k)` and group scales `(n, g)`."""
        (n, k), fields = self.shape, 8 // self.bits
        cells = self.lines.reshape(len(self.lines), -1, BLOCK, 4)[..., None]
        fielded = cells >> (self.bits * np.arange(fields)).astype(np.uint8) & ((1 << self.bits) - 1)
        codes = fielded.transpose(0, 2, 1, 4, 3).reshape(len(self.lines) * BLOCK, -1)
        steps = self.group_scales.transpose(0, 2, 1).reshape(len(codes), -1)
        return codes[:n, :k], steps[:n]

    def dequantise(self) -> np.ndarray:
        """The matrix as FP32 `(n, k)`."""
        codes, steps = self.unpack()
        wide = np.repeat(steps, GROUP, 1)[:, : self.shape[1]].astype(np.float32)
        return levels(codes, self.bits) * wide * self.scales[:, None]

    def matmul(
        self, x: np.ndarray, bias: np.ndarray | None = None, residual: np.ndarray | None = None
    ) -> np.ndarray:
        """`x (m, k) @ w.T + bias (n,) + residual (m, n)`, FP32; x is rounded to INT8 row by row.

        Raises:
            ValueError: shapes that do not fit.
        """
        n, k = self.shape
        x = np.ascontiguousarray(x, np.float32)
        for name, array, shape in (
            ("x", x, (len(x), k)),
            ("bias", bias, (n,)),
            ("residual", residual, (len(x), n)),
        ):
            if array is not None and (array.shape != shape or array.dtype != np.float32):
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}; this matrix {self.shape} takes float32 {shape}"
                )
        library = _native.library()
        if library is None:
            return self.matmul_reference(x, bias, residual)
        out = np.empty((len(x), n), np.float32)
        more = (_native.address(array) for array in (bias, residual, out))
        _native.checked(library.bowstring_matmul(byref(self.described), _native.address(x), len(x), *more))
        return out

    @cached_property
    def described(self) -> _native.Matrix:
        """The matrix as the kernels take it; keep `self` alive while it is used."""
        parts = (
            part
            for array in (self.lines, self.group_scales, self.scales)
            for part in (_native.address(array), array.size)
        )
        return _native.Matrix(self.bits, *self.shape, *parts)

    def matmul_reference(
        self, x: np.ndarray, bias: np.ndarray | None = None, residual: np.ndarray | None = None
    ) -> np.ndarray:
        """`matmul` in numpy, to the last bit: sums of integers below 2^53 are exact in FP64."""
        values, scale = activations(x)
        codes, steps = self.unpack()
        level = grouped(levels(codes, self.bits) + 0.0)
        sums = np.einsum(
            "mgi,ngi,ng->mn",
            grouped(values.astype(np.float64)),
            level,
            steps.astype(np.float64),
            optimize=True,
        )
        with np.errstate(over="ignore", invalid="ignore"):
            out = sums.astype(np.float32) * (scale[:, None] * self.scales)
        for more in (bias, residual):
            out = out if more is None else out + more
        return out


def shapes(bits: int, shape: tuple[int, int]) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """dtype and shape of the three arrays of a packed matrix."""
    blocks, groups = -(-shape[0] // BLOCK), -(-shape[1] // GROUP)
    return {
        "lines": (np.dtype(np.uint8), (blocks, groups * GROUP * BLOCK * bits // 8)),
        "group_scales": (np.dtype(np.uint8), (blocks, groups, BLOCK)),
        "scales": (np.dtype(np.float32), (shape[0],)),
    }


def best_scales(groups: np.ndarray, weight: np.ndarray, bits: int) -> np.ndarray:
    """Scales `(n, g)` of `(n, g, 64)` weights: codes and scale by turns from several starts."""
    largest = np.abs(groups).max(-1) / TOP[bits]
    best, lowest = largest, np.full(largest.shape, np.inf, np.float32)
    for factor in FACTORS[bits]:
        scale = largest * factor
        for _ in range(3):
            level = levels(nearest(groups / np.where(scale > 0, scale, 1)[..., None], bits), bits).astype(
                np.float32
            )
            over, under = (groups * level * weight).sum(-1), (level**2 * weight).sum(-1)
            scale = np.where(under > 0, over / np.maximum(under, 1e-30), 0).clip(min=0)
        error = ((groups - level * scale[..., None]) ** 2 * weight).sum(-1)
        best, lowest = np.where(error < lowest, scale, best), np.minimum(error, lowest)
    return best


def activations(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """INT8 values and the scale of each row: max |x| / 127, rounded to nearest even; a row that is not finite
    has scale NaN.
    """
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        largest = np.abs(x).max(-1)
        finite = np.isfinite(largest)
        inverse = np.where(finite & (largest > 0), np.float32(127) / largest, np.float32(0))
        inverse = np.where(np.isfinite(inverse), inverse, np.float32(0))
        values = np.where(finite[:, None], np.rint(x * inverse[:, None]), 0)
    scale = np.where(finite, largest / np.float32(127), np.float32(np.nan))
    return values.astype(np.int8), scale.astype(np.float32)
