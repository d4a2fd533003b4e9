"""Other people's matrix products on the same weights and activations, each as a function without arguments.

A rival that is not installed is left out with its reason; `pip install ".[bench]"` brings all of them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Product = Callable[[], Any]


def torch_fp32(w: np.ndarray, x: np.ndarray) -> Product:
    """torch FP32, which is MKL on x86."""
    weight, rows = torch.from_numpy(w), torch.from_numpy(x)
    return lambda: torch.nn.functional.linear(rows, weight)


def dynamic_int8(module: nn.Module) -> nn.Module:
    """torch dynamic INT8 with the fbgemm engine."""
    torch.backends.quantized.engine = "fbgemm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of its successor, which is no part of torch
        return torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)


def torch_int8(w: np.ndarray, x: np.ndarray) -> Product:
    linear = nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight = nn.Parameter(torch.from_numpy(w), requires_grad=False)
    small, rows = dynamic_int8(nn.Sequential(linear)), torch.from_numpy(x)
    return lambda: small(rows)


def _session(nodes: list[Any], constants: dict[str, np.ndarray], shape: tuple[int, int], threads: int) -> Any:
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    (n, k), real = shape, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", real, [None, k])],
        [helper.make_tensor_value_info("y", real, [None, n])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def onnx_int8(w: np.ndarray, x: np.ndarray, threads: int) -> Product:
    """ONNX Runtime's dynamically quantised product, fused into one node, with one scale per output."""
    from onnx import helper

    scale = (np.abs(w).max(1) / 127).astype(np.float32)
    codes = np.rint(w / scale[:, None]).astype(np.int8).T.copy()
    node = helper.make_node("DynamicQuantizeMatMul", ["x", "w", "s", "z"], ["y"], domain="com.microsoft")
    constants = {"w": codes, "s": scale, "z": np.zeros(len(scale), np.int8)}
    session = _session([node], constants, (w.shape[0], w.shape[1]), threads)
    return lambda: session.run(None, {"x": x})


def onnx_nbits(w: np.ndarray, x: np.ndarray, bits: int, threads: int) -> Product:
    """ONNX Runtime's MatMulNBits in blocks of 64, INT8 activations allowed (accuracy level 4)."""
    from onnx import helper

    n, k = w.shape
    groups = w.reshape(n, k // 64, 64)
    middle, top = 1 << bits - 1, (1 << bits - 1) - 0.5
    scale = (np.abs(groups).max(-1) / top).astype(np.float32)
    codes = np.clip(np.rint(groups / np.maximum(scale, 1e-12)[..., None]) + middle, 0, (1 << bits) - 1)
    fields = codes.astype(np.uint8).reshape(n, k // 64, -1, 8 // bits)
    packed = np.bitwise_or.reduce(fields << (bits * np.arange(8 // bits)).astype(np.uint8), -1).astype(
        np.uint8
    )
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        K=k,
        N=n,
        bits=bits,
        block_size=64,
        accuracy_level=4,
    )
    session = _session([node], {"w": packed, "s": scale.reshape(-1)}, (n, k), threads)
    return lambda: session.run(None, {"x": x})


class _Parameters(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


GGML = {"q2_K": 10, "q4_0": 2, "q4_K": 12}


@dataclass
class Ggml:
    """ggml's own product out of the libraries that the pywhispercpp wheel carries."""

    base: ctypes.CDLL
    cpu: ctypes.CDLL
    kept: list[Any] = field(default_factory=list)

    @classmethod
    def find(cls) -> Ggml | None:
        spec = importlib.util.find_spec("_pywhispercpp")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / "pywhispercpp.libs"
        found = {}
        for name in ("libgomp", "libggml-base", "libggml-cpu"):
            paths = sorted(folder.glob(f"{name}*"))
            if not paths:
                return None
            found[name] = ctypes.CDLL(str(paths[0]), mode=ctypes.RTLD_GLOBAL)
        base, cpu = found["libggml-base"], found["libggml-cpu"]
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        for name, result, arguments in (
            ("ggml_init", pointer, [_Parameters]),
            ("ggml_new_tensor_2d", pointer, [pointer, ctypes.c_int, number, number]),
            ("ggml_mul_mat", pointer, [pointer, pointer, pointer]),
            ("ggml_new_graph", pointer, [pointer]),
            ("ggml_build_forward_expand", None, [pointer, pointer]),
            ("ggml_get_data", pointer, [pointer]),
            (
                "ggml_quantize_chunk",
                ctypes.c_size_t,
                [ctypes.c_int, pointer, pointer, *[number] * 3, pointer],
            ),
        ):
            function = getattr(base, name)
            function.restype, function.argtypes = result, arguments
        cpu.ggml_graph_compute_with_ctx.argtypes = [pointer, pointer, ctypes.c_int]
        return cls(base, cpu)

    def features(self) -> list[str]:
        names = ("avx2", "avx512", "avx512_vnni", "avx_vnni")
        return [name for name in names if getattr(self.cpu, f"ggml_cpu_has_{name}")()]

    def product(self, w: np.ndarray, x: np.ndarray, kind: str, threads: int) -> Product:
        (n, k), m, base = w.shape, len(x), self.base
        context = base.ggml_init(_Parameters(2 * n * k + 8 * m * (n + k) + (64 << 20), None, False))
        weight = base.ggml_new_tensor_2d(context, GGML[kind], k, n)
        rows = base.ggml_new_tensor_2d(context, 0, k, m)
        base.ggml_quantize_chunk(GGML[kind], w.ctypes.data, base.ggml_get_data(weight), 0, n, k, None)
        ctypes.memmove(base.ggml_get_data(rows), x.ctypes.data, x.nbytes)
        result = base.ggml_mul_mat(context, weight, rows)
        graph = base.ggml_new_graph(context)
        base.ggml_build_forward_expand(graph, result)
        self.kept.append(context)
        spare = base.ggml_init(_Parameters(8 * m * (n + k) + (16 << 20), None, False))

        def run() -> np.ndarray:
            self.cpu.ggml_graph_compute_with_ctx(spare, graph, threads)
            address = base.ggml_get_data(result)
            return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), (m, n))

        return run


def rivals(w: np.ndarray, x: np.ndarray, threads: int) -> Iterator[tuple[str, Product]]:
    """(name, product) of every rival that is installed."""
    yield "torch FP32", torch_fp32(w, x)
    yield "torch INT8 (fbgemm)", torch_int8(w, x)
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        yield "ONNX Runtime INT8", onnx_int8(w, x, threads)
        for bits in (4, 2):
            yield f"ONNX Runtime {bits} bits", onnx_nbits(w, x, bits, threads)
    if (ggml := Ggml.find()) is not None:
        for kind in GGML:
            yield f"ggml {kind}", ggml.product(w, x, kind, threads)
