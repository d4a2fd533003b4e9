"""Arrays that lie in a file in 8 or 4 bits and are used as FP32: rows of whatever shape, in groups of 32.

An array `(n, ...)` is stored as the `GroupedMatrix` of its n rows, the last group of each filled up with
zeros: `name.lines`, `name.scales` and, of 4 bits, `name.minima`. Its shape is known to whoever reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping

import numpy as np

from ..format.parquet import Tensor, WeightsFile, WeightsFiles
from .grouped import BLOCK, GROUP, GroupedMatrix

Stored = WeightsFile | WeightsFiles
GROUPED_PARTS = ("lines", "scales", "minima")
FEW = 8  # bits of what is not packed: they cost nothing that could be measured, 4 do


def rounded(array: np.ndarray, bits: int = FEW) -> GroupedMatrix:
    """An array `(n, ...)` in few bits."""
    rows = np.asarray(array, np.float32).reshape(len(array), -1)
    return GroupedMatrix.quantise(np.pad(rows, ((0, 0), (0, -rows.shape[1] % GROUP))), bits)


def restored(matrix: GroupedMatrix, shape: tuple[int, ...]) -> np.ndarray:
    """The array of this shape, FP32."""
    rows = matrix.rows(np.arange(shape[0]))
    return np.ascontiguousarray(rows[:, : math.prod(shape[1:])]).reshape(shape)


def kept_in_8_bits(array: np.ndarray) -> GroupedMatrix | None:
    """The few bits that are this array to the bit, if there are any: it was rounded before. The first row is
    looked at before the others; nothing but zeros was never rounded.
    """
    if not array.any():
        return None
    for some in (array[:1], array):
        if not np.isfinite(some).all() or not np.array_equal(restored(rounded(some), some.shape), some):
            return None
    return rounded(array)


def few_bit_parts(name: str, matrix: GroupedMatrix) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a file has for an array in few bits."""
    for part in GROUPED_PARTS:
        if (array := getattr(matrix, part)) is not None:
            yield f"{name}.{part}", Tensor.of(array)


def few_bit_tensors(
    arrays: Mapping[str, np.ndarray], bits_of: Callable[[str], int] = lambda name: FEW
) -> Iterator[tuple[str, Tensor]]:
    """What a file has for arrays: vectors in FP32, the rest in so few bits as is said of their names."""
    for name, array in arrays.items():
        if array.ndim > 1:
            yield from few_bit_parts(name, rounded(array, bits_of(name)))
        else:
            yield name, Tensor.of(array.astype(np.float32))


def in_few_bits(arrays: Stored, without: Container[str] = ()) -> list[str]:
    """Names of the arrays that files have in few bits; tensors of `without` belong to something else."""
    lines = f".{GROUPED_PARTS[0]}"
    return [name.removesuffix(lines) for name in arrays if name.endswith(lines) and name not in without]


def read_array(arrays: Stored, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of this shape as FP32, whichever way it is stored.

    Raises:
        ValueError: it lies there in few bits that do not fit the shape.
    """
    if name in arrays.entries:
        return np.array(arrays[name], np.float32)
    found = {part: f"{name}.{part}" for part in GROUPED_PARTS if f"{name}.{part}" in arrays.entries}
    if len(shape) < 2 or not {"lines", "scales"} <= found.keys():
        raise ValueError(f"{arrays.path} has {sorted(found.values())} for {name!r} of shape {shape}")
    bits = 8 * arrays.entries[found["lines"]].shape[-1] // (GROUP * BLOCK)
    whole = shape[0], -(-math.prod(shape[1:]) // GROUP) * GROUP
    try:
        return restored(GroupedMatrix(bits, whole, **{k: arrays[v] for k, v in found.items()}), shape)
    except ValueError as error:
        raise ValueError(f"{arrays.path}, {name}: {error}") from None
