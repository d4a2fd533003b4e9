"""How fast are the kernels, a network of 24 x 1024 and the weights file, against rivals in one run?

Contenders take turns within every round; medians are compared. Ratios are of times, rival over ours.
"""

from __future__ import annotations

import copy
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _native
from ..core.loop import last
from ..nn.config import SHAPES
from ..nn.network import UnifiedScoreNetwork
from ..nn.trunk import Trunk
from ..text.sampling import Sampling, sample_text
from ..text.tokenizer import KINDS, PAD
from ..text.weights import load_model
from ..weights.layout import weights_files
from ..weights.quant.arrowquant import ArrowQuant
from ..weights.quant.packed import matrices, random_network
from ..weights.shipped import EDGE_TEXT, SHIPPED
from .likelihood import bits_per_byte, bits_ratio, held_texts, nats_of, score_causal, score_sampler
from .loading import loading
from .results import Measured, Measurement, Setting, announce
from .rivals.kernels import Ggml, dynamic_int8, rivals
from .rivals.turns import medians_in_turns, ratio_of_turns, seconds_in_turns
from .text import FP16_TEXT, corpora

MatrixShape = tuple[int, int]
Table = list[dict[str, Any]]  # k, n, m and seconds of every contender

MATRIX_SHAPES: tuple[MatrixShape, ...] = (  # inputs, outputs
    (768, 3072), (3072, 768), (1024, 3072), (1024, 4096), (4096, 1024), (4096, 4096))  # fmt: skip
FEW_SHAPES = MATRIX_SHAPES[2:4] + MATRIX_SHAPES[5:]
ROW_COUNTS = (1, 16, 32, 64, 128)
AVX2 = {"BOWSTRING_ISA": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PROMPT = 16  # tokens before what the large network writes


def use_threads(count: int) -> None:
    torch.set_num_threads(count)
    _native.set_threads(count)


def products(threads: int, rounds: int, shapes: Sequence[MatrixShape]) -> Table:
    """Seconds of every contender for every shape and number of rows, in turns."""
    use_threads(threads)
    rng, out = np.random.default_rng(0), []
    for k, n in shapes:
        announce(f"products with {k} x {n}, {threads} threads")
        w = rng.normal(size=(n, k)).astype(np.float32)
        quants = {bits: ArrowQuant.quantise(w, bits) for bits in (2, 4)}
        for m in ROW_COUNTS:
            x = rng.normal(size=(m, k)).astype(np.float32)
            own = {f"W{bits}A8": partial(quant.matmul, x) for bits, quant in quants.items()}
            times = medians_in_turns(
                own | dict(rivals(w, x, threads)), rounds if m < 64 else max(3, rounds // 3)
            )
            out.append({"k": k, "n": n, "m": m, "threads": threads, "seconds": times})
    return out


def as_tree(table: Table) -> dict[str, dict[str, Measured]]:
    """Milliseconds by shape and contender, for the results file."""
    return {
        f"{row['k']}x{row['n']}, {row['m']} rows, {row['threads']} threads": {
            name: seconds.mapped(lambda s: 1e3 * s, lambda _: 1e3) for name, seconds in row["seconds"].items()
        }
        for row in table
    }


def speed_ratio(table: Table, rival: str, m: int, ours: str = "W2A8") -> Measured:
    """Geometric mean over shapes of rival's time over ours, its error from how shapes differ; a rival given
    by its beginning: the best such. None if it is not installed.
    """
    logs = []
    for row in table:
        found = [seconds.value for name, seconds in row["seconds"].items() if name.startswith(rival)]
        if row["m"] == m and found:
            logs.append(math.log(min(found) / row["seconds"][ours].value))
    return Measured.mean(logs).mapped(math.exp, math.exp) if logs else Measured(None, n=0)


def worst(ratios: Sequence[Measured]) -> Measured:
    """The least of several; None if there is none."""
    known = [one for one in ratios if one.value is not None]
    return min(known, key=lambda one: one.value or 0.0) if known else Measured(None, n=0)


def scaling(rounds: int) -> Measured:
    """One thread's time over that of all, by turns, over shapes and rows."""
    rng, logs = np.random.default_rng(0), []
    cores = os.cpu_count() or 1
    for k, n in FEW_SHAPES:
        quant = ArrowQuant.quantise(rng.normal(size=(n, k)).astype(np.float32), 2)
        for m in ROW_COUNTS[2:]:
            x = rng.normal(size=(m, k)).astype(np.float32)

            def product(threads: int, x: np.ndarray = x, quant: ArrowQuant = quant) -> None:
                _native.set_threads(threads)
                quant.matmul(x)

            runs = {str(threads): partial(product, threads) for threads in (1, cores)}
            times = {name: statistics.median(some) for name, some in seconds_in_turns(runs, rounds).items()}
            logs.append(math.log(times["1"] / times[str(cores)]))
    return Measured.mean(logs).mapped(math.exp, math.exp)


def kernel_numbers(one: Table, cores: int) -> dict[str, Any]:
    """Ratios over rivals with one thread; "worst" is over 16 to 128 rows."""
    most = ROW_COUNTS[1:]
    return {
        "w2a8_vs_fp32_m32": speed_ratio(one, "torch FP32", 32),
        "w2a8_vs_fp32_m128": speed_ratio(one, "torch FP32", 128),
        "w2a8_vs_fbgemm_m16_128": worst([speed_ratio(one, "torch INT8", m) for m in most]),
        "w2a8_vs_fbgemm_m1": speed_ratio(one, "torch INT8", 1),
        "w2a8_vs_ggml2": worst([speed_ratio(one, "ggml q2_K", m) for m in most]),
        "w2a8_vs_ort_int8": worst([speed_ratio(one, "ONNX Runtime INT8", m) for m in most]),
        "w2a8_vs_ort_2_bits": worst([speed_ratio(one, "ONNX Runtime 2", m) for m in most]),
        "w4a8_vs_ort_4_bits": worst([speed_ratio(one, "ONNX Runtime 4", m, "W4A8") for m in most]),
    }


def print_avx2_table(rounds: int) -> None:
    """What `within_avx2` runs in its process: ratios as JSON."""
    table = products(1, rounds, FEW_SHAPES)
    ratios = {
        "fp32_m32": speed_ratio(table, "torch FP32", 32),
        "fp32_m128": speed_ratio(table, "torch FP32", 128),
    }
    for name, rival in (("fbgemm", "torch INT8"), ("ggml_q2_K", "ggml q2_K")):
        ratios |= {f"{name}_m{m}": speed_ratio(table, rival, m) for m in ROW_COUNTS}
    print(json.dumps({name: [one.value, one.se, one.n] for name, one in ratios.items()}))


def within_avx2(rounds: int) -> dict[str, Measured]:
    """Ratios in a process whose libraries are told to stay within AVX2."""
    code = f"from bowstring.eval.skeleton import print_avx2_table; print_avx2_table({rounds})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **AVX2},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {name: Measured(*found) for name, found in json.loads(done.stdout).items()}


def parameter_counts(network: torch.nn.Module) -> tuple[int, int]:
    """Parameters that run when text is written, and those of the cross-attention, which then stand idle."""
    idle = sum(p.numel() for name, p in network.named_parameters() if ".cross." in name)
    return sum(p.numel() for p in network.parameters()) - idle, idle


def full_run(network: UnifiedScoreNetwork, how: Sampling) -> Callable[[], Any]:
    """Writes `how.max_tokens` tokens as the product does: a prompt is read, blocks are revealed and their
    keys kept. The seed is one by which a network of random weights does not end early.
    """
    head = [KINDS["code"], *range(100, 100 + PROMPT - 1)]

    def run(seed: int) -> Tensor:
        state = last(sample_text(network, [head], Sampling(**{**vars(how), "seed": seed}), 1024))
        return state.x  # type: ignore[return-value]

    seed = next(seed for seed in range(64) if not bool((run(seed) == PAD).any()))
    return partial(run, seed)


@torch.no_grad()
def large_numbers(rounds: int) -> dict[str, Any]:
    """The 24 x 1024 network of random 2-bit weights: writing in 4 steps per block of 32 at several lengths,
    and one forward against torch.
    """
    announce("the network of 24 x 1024")
    config, cores = SHAPES["24x1024"], os.cpu_count() or 1
    network = random_network(config, 2)
    use_threads(cores)
    torch.set_num_threads(1)  # the kernels have threads of their own
    lengths = {
        f"product_ms_350m_{n}": full_run(network, Sampling(block=32, steps=4, max_tokens=n))
        for n in (32, 64, 96, 128)
    }
    out: dict[str, Any] = {
        name: seconds.mapped(lambda s: 1e3 * s, lambda _: 1e3)
        for name, seconds in medians_in_turns(lengths, rounds).items()
    }
    x, position, t = torch.randn(1, 32, config.width), torch.arange(32.0)[None], torch.zeros(1, 1)
    rival = Trunk(config).eval().requires_grad_(requires_grad=False)

    def forward(trunk: torch.nn.Module, threads: int) -> Tensor:
        torch.set_num_threads(threads)
        return trunk(x, position, t)[0]

    small = copy.deepcopy(rival)
    small.layers = dynamic_int8(small.layers)  # type: ignore[assignment]
    contenders = {"ours": network.trunk, "fp32": rival, "int8": small}
    runs = {
        name: partial(forward, trunk, 1 if name == "ours" else cores) for name, trunk in contenders.items()
    }
    times = seconds_in_turns(runs, rounds)
    out |= {f"forward_vs_{name}_32": ratio_of_turns(times[name], times["ours"]) for name in ("fp32", "int8")}
    out["forward_ms_32"] = Measured.median([1e3 * seconds for seconds in times["ours"]])
    out["large_parameters_run"], out["large_parameters_idle"] = parameter_counts(UnifiedScoreNetwork(config))
    packed = sum(m.lines.nbytes + m.group_scales.nbytes for m in matrices(network).values())
    return out | {"large_packed_mb": Measured(packed / 1e6)}


@torch.no_grad()
def precision_numbers(data: Path, count: int) -> tuple[dict[str, Any], list[Path], dict[str, str]]:
    """Bits per byte of the shipped text model at each precision by source, reading and sampling, and over
    FP16's on the same texts; the files used; what is missing.
    """
    documents, missing = corpora(data)
    bits: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    base: dict[str, np.ndarray] = {}
    files: list[Path] = []
    folders = {"text": FP16_TEXT, "text-int4": SHIPPED, "text-int2": EDGE_TEXT}
    for name, folder in folders.items():
        announce(f"bits per byte of {name}")
        network, codec, metadata = load_model(folder)
        own = weights_files(folder)
        files += own
        held = held_texts(documents, codec, metadata.context, count, metadata.split_rule)
        scores = {"ar": score_causal(network), "exact": score_sampler(network, Sampling(), metadata.context)}
        nats = {mode: nats_of(score, held) for mode, score in scores.items()}
        base = base or nats
        bits[name] = {mode: bits_per_byte(held, some) for mode, some in nats.items()}
        bits[name]["file_mb"] = Measured(sum(path.stat().st_size for path in own) / 1e6)
        ratios[name] = {mode: bits_ratio(held, nats[mode], base[mode]) for mode in nats}
    numbers = {
        "bits_per_byte": bits,
        "int4_bpb_ratio": ratios["text-int4"],
        "int2_bpb_ratio": ratios["text-int2"],
        "edge_file_mb": bits["text-int2"]["file_mb"],
    }
    return numbers, files, missing


def measure_skeleton(setting: Setting) -> Measurement:
    """Everything the README says about speed and small weights; baseline and model are not used."""
    quick, cores = setting.quick, os.cpu_count() or 1
    rounds, shapes = (3, FEW_SHAPES[:1]) if quick else (15, MATRIX_SHAPES)
    announce("two threads over one")
    numbers: dict[str, Any] = {"scaling_2_threads": scaling(rounds)}
    one = products(1, rounds, shapes)
    two = products(cores, rounds, shapes)
    numbers |= kernel_numbers(one, cores) | large_numbers(rounds)
    announce("loading 200 MB")
    numbers |= loading(3 if quick else 9)
    precision, files, missing = precision_numbers(setting.data, 6 if quick else 30)
    numbers |= precision
    ggml = Ggml.find()
    numbers |= {
        "within_avx2": within_avx2(rounds) if _native.isa() == "avx512vnni" and not quick else {},
        "instructions": {
            "ours": _native.isa(),
            "ggml": " ".join(ggml.features()) if ggml else "not installed",
        },
        "products_ms": as_tree(one + two),
    }
    return Measurement(numbers, files, missing)
