"""The one file that knows the native library: finds it, checks its version, and describes its functions.

Without it everything still works, slower, through numpy and torch; `missing()` says why. Environment:
BOWSTRING_NATIVE=0 leaves the library alone, BOWSTRING_ISA=portable|avx2|avx512vnni|neon chooses its kernels.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ABI = 11
ISAS = {"portable": 1, "avx2": 2, "avx512vnni": 3, "neon": 4}
NAME = {"darwin": "libbowstring_native.dylib", "win32": "bowstring_native.dll"}.get(
    sys.platform, "libbowstring_native.so"
)
FAULTS = {
    1: "the number of bits is neither 2 nor 4",
    2: "an array does not have the size that its shape gives, or the shape is beyond what the kernels take",
    3: "an array is missing",
    4: "this machine does not have these instructions",
}
POINTER, SIZE = ctypes.c_void_p, ctypes.c_size_t


def array_of(dtype: type, *, writeable: bool = False) -> Any:
    """An argument that takes a contiguous numpy array of this type and no other, and keeps it alive while
    the call lasts; lengths are the caller's to check.
    """
    flags = ("C_CONTIGUOUS", "WRITEABLE") if writeable else ("C_CONTIGUOUS",)
    return np.ctypeslib.ndpointer(dtype, flags=flags)  # type: ignore[arg-type]


INT64, FLOAT32 = map(array_of, (np.int64, np.float32))
OUT_INT64, OUT_FLOAT32, OUT_FLOAT64 = (
    array_of(dtype, writeable=True) for dtype in (np.int64, np.float32, np.float64)
)


class Matrix(ctypes.Structure):
    """`Matrix` of native/src/lib.rs."""

    _fields_ = (
        ("bits", ctypes.c_uint32),
        ("outputs", SIZE),
        ("inputs", SIZE),
        ("lines", POINTER),
        ("lines_length", SIZE),
        ("group_scales", POINTER),
        ("group_scales_length", SIZE),
        ("scales", POINTER),
        ("scales_length", SIZE),
    )


class Layer(ctypes.Structure):
    """`LayerRef` of native/src/lib.rs."""

    _fields_ = (
        *((name, Matrix) for name in ("qkv", "out", "up", "down", "cross_q", "cross_kv", "cross_out")),
        *((name, POINTER) for name in ("q_norm", "k_norm", "offset", "gate")),
    )


class LowRank(ctypes.Structure):
    """`LowRankRef` of native/src/lib.rs."""

    _fields_ = (
        *((name, SIZE) for name in ("layer", "map", "rank")),
        ("a", POINTER),
        ("a_length", SIZE),
        ("b", POINTER),
        ("b_length", SIZE),
        ("control", POINTER),
        ("controls", SIZE),
        ("scale", ctypes.c_float),
    )


class Trunk(ctypes.Structure):
    """`TrunkRef` of native/src/lib.rs."""

    _fields_ = (
        *((name, SIZE) for name in ("batch", "length", "past", "width", "layers", "modulations")),
        *((name, SIZE) for name in ("entries", "known", "low_ranks")),
        ("layer", ctypes.POINTER(Layer)),
        *((name, POINTER) for name in ("x", "modulation", "cos", "sin", "mask", "norm")),
        ("past_values", ctypes.POINTER(POINTER)),
        ("fresh_values", ctypes.POINTER(POINTER)),
        *((name, POINTER) for name in ("entry_values", "entry_mask")),
        ("known_values", ctypes.POINTER(POINTER)),
        ("added", ctypes.POINTER(POINTER)),
        ("low_rank", ctypes.POINTER(LowRank)),
    )


class Weights(ctypes.Structure):
    """`WeightsRef` of native/src/open.rs."""

    _fields_ = (
        ("kind", ctypes.c_uint32),
        ("bits", ctypes.c_uint32),
        *((name, SIZE) for name in ("outputs", "inputs")),
        *(
            field
            for name in ("lines", "scales", "more")
            for field in ((name, POINTER), (f"{name}_length", SIZE))
        ),
    )


class PackedBranch(ctypes.Structure):
    """`PackedBranchRef` of native/src/open.rs."""

    _fields_ = (
        ("layer", SIZE),
        ("down", Weights),
        ("up", Weights),
        ("control", POINTER),
        ("scale", ctypes.c_float),
    )


class DecoderLayer(ctypes.Structure):
    """`DecoderLayerRef` of native/src/open.rs."""

    _fields_ = (
        *((name, POINTER) for name in ("attention_norm", "attention_shift", "attention_gate")),
        *((name, Weights) for name in ("q", "k", "v", "out")),
        *((name, POINTER) for name in ("q_bias", "k_bias", "v_bias", "q_norm", "k_norm")),
        *((name, POINTER) for name in ("ffn_norm", "ffn_shift", "ffn_gate")),
        *((name, Weights) for name in ("gate", "up", "down")),
        *((name, POINTER) for name in ("gate_bias", "ffn_bias")),
    )


class DecoderShape(ctypes.Structure):
    """`DecoderShape` of native/src/open.rs."""

    _fields_ = (
        *((n, SIZE) for n in ("layers", "rows", "past", "capacity", "width", "heads", "kv_heads", "head")),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_uint32) for name in ("planes", "interleaved", "centred", "gelu")),
    )


class Shard(ctypes.Structure):
    """`ShardRef` of native/src/nearest.rs."""

    _fields_ = (
        ("rows", SIZE),
        *((name, POINTER) for name in ("exact", "values", "scales", "codes", "biases", "factors")),
        *((name, POINTER) for name in ("centre", "mask")),
    )


class Choice(ctypes.Structure):
    """`sample::Choice` of native/src/sample.rs."""

    _fields_ = (
        *((name, ctypes.c_float) for name in ("temperature", "top_p", "repetition_penalty")),
        ("top_k", SIZE),
    )


class Draw(ctypes.Structure):
    """`sample::Draw` of native/src/sample.rs."""

    _fields_ = (
        ("token", ctypes.c_uint32),
        ("probability", ctypes.c_float),
        ("entropy", ctypes.c_double),
    )


class Terms(ctypes.Structure):
    """`lattice::Terms` of native/src/lattice.rs."""

    _fields_ = tuple((name, ctypes.c_float) for name in ("near", "own", "cubic", "field"))


class Moves(ctypes.Structure):
    """`lattice::Moves` of native/src/lattice.rs."""

    _fields_ = (
        *((name, ctypes.c_float) for name in ("step_size", "jitter")),
        *((name, SIZE) for name in ("integration_steps", "cluster_updates", "sweeps")),
    )


def pointers(addresses: Sequence[int | None]) -> ctypes.Array:
    """A C array of addresses."""
    return (POINTER * len(addresses))(*addresses)


class NativeError(RuntimeError):
    """A kernel refused its arguments."""


def describe_decoder(library: ctypes.CDLL) -> None:
    """Types of the functions of native/src/open.rs."""
    grouped = ctypes.POINTER(Weights)
    library.bowstring_grouped_matmul.argtypes = [grouped, POINTER, SIZE, SIZE, POINTER, POINTER]
    library.bowstring_grouped_rows.argtypes = [grouped, POINTER, SIZE, POINTER]
    described = (ctypes.POINTER(DecoderShape), ctypes.POINTER(DecoderLayer))
    bends = (ctypes.POINTER(LowRank), SIZE, ctypes.POINTER(PackedBranch), SIZE)
    library.bowstring_decoder.argtypes = [*described, *[POINTER] * 4, *bends, POINTER]
    choice: list[Any] = [ctypes.POINTER(Choice), ctypes.c_float, ctypes.POINTER(Draw)]
    library.bowstring_sample.argtypes = [POINTER, SIZE, POINTER, SIZE, POINTER, SIZE, *choice]


@cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("BOWSTRING_NATIVE") == "0":
        return None, "switched off by BOWSTRING_NATIVE=0"
    path = Path(__file__).parent / NAME
    if not path.exists():
        return None, f"{NAME} was not built; install again on a machine with cargo to have it"
    try:
        library = ctypes.CDLL(str(path))
        library.bowstring_abi.restype = ctypes.c_uint32
        found = library.bowstring_abi()
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be loaded: {error}"
    if found != ABI:
        return None, f"{path} has interface {found}, this version wants {ABI}; install again"
    library.bowstring_set_threads.argtypes = [SIZE]
    library.bowstring_set_threads.restype = None
    library.bowstring_matmul.argtypes = [ctypes.POINTER(Matrix), POINTER, SIZE, POINTER, POINTER, POINTER]
    library.bowstring_linear.argtypes = [*[POINTER] * 3, *[SIZE] * 3, POINTER]
    library.bowstring_linear_eight.argtypes = [*[POINTER] * 4, *[SIZE] * 3, POINTER]
    library.bowstring_trunk.argtypes = [ctypes.POINTER(Trunk)]
    library.bowstring_rotate.argtypes = [FLOAT32, SIZE, SIZE, SIZE, OUT_FLOAT32]
    limits: list[Any] = [SIZE, ctypes.c_float, ctypes.c_float]
    library.bowstring_nearest.argtypes = [
        ctypes.POINTER(Shard),
        *[SIZE] * 3,
        POINTER,
        *limits,
        *[POINTER] * 3,
    ]
    library.bowstring_draw.argtypes = [FLOAT32, SIZE, SIZE, FLOAT32, ctypes.c_float, OUT_INT64]
    who: list[Any] = [ctypes.c_uint64, INT64, INT64, ctypes.c_uint32]
    library.bowstring_normals.argtypes = [*who, SIZE, SIZE, OUT_FLOAT32]
    library.bowstring_lattice.argtypes = [
        ctypes.POINTER(Terms),
        ctypes.POINTER(Moves),
        *who,
        *[SIZE] * 3,
        OUT_FLOAT32,
        OUT_FLOAT64,
    ]
    library.bowstring_digests.argtypes = [POINTER, SIZE, POINTER, POINTER, SIZE, POINTER]
    library.bowstring_row_groups.argtypes = [POINTER, SIZE, SIZE, ctypes.POINTER(SIZE), POINTER]
    describe_decoder(library)
    if wanted := os.environ.get("BOWSTRING_ISA"):
        if wanted not in ISAS or library.bowstring_choose_isa(ISAS[wanted]):
            raise NativeError(
                f"BOWSTRING_ISA is {wanted!r}: unknown, or not on this machine; try {sorted(ISAS)}"
            )
    return library, ""


@cache
def library() -> ctypes.CDLL | None:
    """The library, or None after one warning."""
    found, reason = _find()
    if found is None:
        warnings.warn(
            f"native kernels are not in use ({reason}); numpy gives the same numbers, slower", stacklevel=2
        )
    return found


def missing() -> str:
    """Why the library is not in use; empty when it is."""
    return _find()[1]


def isa() -> str:
    """Name of the instruction set in use."""
    found = library()
    names = {number: name for name, number in ISAS.items()}
    return "numpy" if found is None else names[found.bowstring_isa()]


def choose(name: str) -> None:
    """Uses this instruction set from now on.

    Raises:
        NativeError: unknown, or not on this machine.
    """
    found = library()
    if found is None or name not in ISAS or found.bowstring_choose_isa(ISAS[name]):
        raise NativeError(
            f"instruction set {name!r} is unknown or not on this machine; expected one of {sorted(ISAS)}"
        )


def set_threads(count: int) -> None:
    """Threads a kernel may use, its caller's included; 0 takes all cores."""
    if (found := library()) is not None:
        found.bowstring_set_threads(count)


def checked(code: int) -> None:
    """
    Raises:
        NativeError: the code is not 0.
    """
    if code:
        raise NativeError(FAULTS.get(code, f"unknown fault {code}"))


def address(array: np.ndarray | None) -> int | None:
    """Where an array's bytes begin.

    Raises:
        NativeError: it is not contiguous.
    """
    if array is None:
        return None
    if not array.flags.c_contiguous:
        raise NativeError("an array is not contiguous; copy it with numpy.ascontiguousarray")
    return array.ctypes.data
