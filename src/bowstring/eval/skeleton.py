"""How fast are the kernels, the 350 M network and the weights file, against rivals in one run?

Every contender takes its turn in each round; medians are compared. Ratios are of times, rival over ours.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _native
from ..core.process import uniform
from ..core.rng import Rng
from ..core.samplers.masked import confidence, invert_cdf
from ..nn.config import SHAPES
from ..nn.network import UnifiedScoreNetwork
from ..nn.trunk import Trunk
from ..text.sampling import Sampling, reveal_places
from ..text.tokenizer import MASK
from ..text.weights import load_model
from ..weights.convert import to_safetensors
from ..weights.format.parquet import Tensor as Stored
from ..weights.format.parquet import write
from ..weights.quant.arrowquant import ArrowQuant
from ..weights.quant.packed import matrices, random_network
from ..weights.shipped import model_folder
from .likelihood import by_length, held_out, score_causal, score_sampler
from .rivals.kernels import Ggml, dynamic_int8, rivals
from .text import corpora

SIZES = ((768, 3072), (3072, 768), (1024, 3072), (1024, 4096), (4096, 1024), (4096, 4096))  # inputs, outputs
ROWS = (1, 16, 32, 64, 128)
AVX2 = {"BOWSTRING_ISA": "avx2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def medians(runs: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taking turns; each has a warm-up of its own."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        run()
        for _ in range(rounds):
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def use_threads(count: int) -> None:
    torch.set_num_threads(count)
    _native.set_threads(count)


def products(threads: int, rounds: int, sizes: tuple[tuple[int, int], ...] = SIZES) -> list[dict[str, Any]]:
    """Milliseconds of every contender for every size and number of rows."""
    use_threads(threads)
    rng, out = np.random.default_rng(0), []
    for k, n in sizes:
        w = rng.normal(size=(n, k)).astype(np.float32)
        quants = {bits: ArrowQuant.quantise(w, bits) for bits in (2, 4)}
        for m in ROWS:
            x = rng.normal(size=(m, k)).astype(np.float32)
            ours = {f"W{bits}A8": lambda q=q, x=x: q.matmul(x) for bits, q in quants.items()}
            times = medians(ours | dict(rivals(w, x, threads)), rounds if m < 64 else max(3, rounds // 3))
            out.append(
                {"k": k, "n": n, "m": m, "threads": threads, "ms": {a: 1e3 * b for a, b in times.items()}}
            )
    return out


def scaling(rounds: int) -> float:
    """One thread's time over that of all, median over sizes, before rivals have woken their threads."""
    rng, ratios = np.random.default_rng(0), []
    for k, n in SIZES[2:4] + SIZES[5:]:
        quant = ArrowQuant.quantise(rng.normal(size=(n, k)).astype(np.float32), 2)
        for m in ROWS[2:]:
            x, times = rng.normal(size=(m, k)).astype(np.float32), []
            for threads in (1, os.cpu_count() or 1):
                use_threads(threads)
                times.append(medians({"ours": partial(quant.matmul, x)}, rounds)["ours"])
            ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def ratio(table: list[dict[str, Any]], rival: str, m: int, ours: str = "W2A8") -> float:
    """Geometric mean over sizes of rival's time over ours; a rival given by its beginning: the best such."""
    logs = []
    for row in table:
        found = [ms for name, ms in row["ms"].items() if name.startswith(rival)]
        if row["m"] == m and found:
            logs.append(math.log(min(found) / row["ms"][ours]))
    return math.exp(statistics.fmean(logs)) if logs else math.nan


def elsewhere(environment: dict[str, str], rounds: int) -> dict[str, Any]:
    """The table of products in a process whose libraries are told to stay within AVX2."""
    code = "import json; from bowstring.eval.skeleton import products, SIZES; "
    code += f"print(json.dumps(products(1, {rounds}, SIZES[2:4] + SIZES[5:])))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"fault": done.stderr.strip().splitlines()[-1:]}
    table = json.loads(done.stdout)
    return {
        "fp32_m32": ratio(table, "torch FP32", 32),
        "fp32_m128": ratio(table, "torch FP32", 128),
        "fbgemm": {str(m): ratio(table, "torch INT8", m) for m in ROWS},
        "ggml_q2_K": {str(m): ratio(table, "ggml q2_K", m) for m in ROWS},
    }


@torch.no_grad()
def few_steps(network: UnifiedScoreNetwork, length: int, steps: int = 4) -> None:
    """A blank page of `length` tokens unmasked in `steps`; logits only where a mask still stands."""
    x = torch.full((1, length), MASK)
    position, rng, times = torch.arange(length)[None].float(), Rng.of(0, 1), uniform(steps)
    for k in range(steps):
        hidden, _ = network(network.embed("text", x), position)
        masked = x == MASK
        belief = network.heads["text"](hidden[masked])[None].softmax(-1)
        here = reveal_places(
            confidence, belief, masked[masked][None], times[k : k + 1], times[k + 1 : k + 2], rng
        )
        tokens = invert_cdf(belief, rng.at(torch.tensor([k])).uniform(belief.shape[1]))
        x[masked] = torch.where(here[0], tokens[0], MASK)


def large(rounds: int) -> dict[str, float]:
    """The 24 x 1024 network: four steps at several lengths, and one forward against torch."""
    config = SHAPES["24x1024"]
    network = random_network(config, 2)
    use_threads(os.cpu_count() or 1)
    torch.set_num_threads(1)  # the kernels have threads of their own
    steps = {f"ms_350m_{n}": lambda n=n: few_steps(network, n) for n in (32, 64, 96, 128)}
    out = {name: 1e3 * seconds for name, seconds in medians(steps, rounds).items()}
    x, position, t = torch.randn(1, 32, config.width), torch.arange(32.0)[None], torch.zeros(1, 1)
    rival = Trunk(config).eval().requires_grad_(requires_grad=False)
    small = dynamic_int8(rival)

    def forward(trunk: torch.nn.Module) -> Callable[[], Tensor]:
        @torch.no_grad()
        def run() -> Tensor:
            return trunk(x, position, t)[0]

        return run

    times = medians({"ours": forward(network.trunk)}, rounds)
    use_threads(os.cpu_count() or 1)
    times |= medians({"fp32": forward(rival), "int8": forward(small)}, rounds)
    out |= {f"forward_vs_{name}_32": times[name] / times["ours"] for name in ("fp32", "int8")}
    out["forward_ms_32"] = 1e3 * times["ours"]
    out["parameters_350m"] = sum(p.numel() for p in rival.parameters())
    out["packed_mb_350m"] = (
        sum(m.lines.nbytes + m.group_scales.nbytes for m in matrices(network).values()) / 1e6
    )
    return out


MAPPING = """
import json, sys, time
def private():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(l.split()[1]) for l in lines if l.startswith("Private")) / 1024
def resident():
    with open("/proc/self/status") as lines:
        return next(int(l.split()[1]) for l in lines if l.startswith("VmRSS")) / 1024
kind, path = sys.argv[1:]
import numpy
if kind.startswith("bowstring"):
    from pathlib import Path
    from bowstring.weights.parquet import WeightsFile
elif kind == "safetensors":
    from safetensors.numpy import load_file
else:
    import pyarrow.parquet
before, seen, began = private(), resident(), time.perf_counter()
if kind == "bowstring":
    file = WeightsFile(Path(path)); held = [file.raw(name, verify=False) for name in file]
elif kind == "bowstring, verified":
    file = WeightsFile(Path(path)); held = [file[name] for name in file]
elif kind == "safetensors":
    held = load_file(path)
else:
    held = pyarrow.parquet.read_table(path, memory_map=True)
print(json.dumps({"ms": 1e3 * (time.perf_counter() - began), "private_mb": private() - before, "rss_mb":
resident() - seen}))
"""


def mapping(rounds: int) -> dict[str, dict[str, float]]:
    """Loading 200 MB in fresh processes: time, private memory and resident memory that it took."""
    rng, out = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "w.parquet", Path(folder) / "w.safetensors"
        write(
            path,
            ((f"layer.{i}", Stored.of(rng.integers(0, 256, 2_000_000, np.uint8))) for i in range(100)),
            {},
        )
        to_safetensors(path, other)
        for kind in ("bowstring", "bowstring, verified", "safetensors", "pyarrow"):
            runs = []
            for _ in range(rounds):
                command = [sys.executable, "-c", MAPPING, kind, str(other if kind == "safetensors" else path)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if not done.returncode:
                    runs.append(json.loads(done.stdout))
            if runs:
                out[kind] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return out


@torch.no_grad()
def quality(data: Path, count: int) -> dict[str, Any]:
    """Bits per byte of the shipped text model at each precision, reading and sampling."""
    documents, _ = corpora(data)
    tests = [document for document in documents if document.split == "test"]
    out: dict[str, Any] = {}
    for name in ("text", "text-int4", "text-int2"):
        folder = model_folder(name)
        if not (folder / "metadata.json").exists():
            continue
        network, codec, metadata = load_model(folder)
        held = held_out(tests, codec, metadata.context, count)
        scores = {"ar": score_causal(network), "exact": score_sampler(network, Sampling(), metadata.context)}
        bits = {mode: by_length(score, held)[("all", "byte")] for mode, score in scores.items()}
        out[name] = bits | {"file_mb": (folder / "network.parquet").stat().st_size / 1e6}
    return out


def measure(*, quick: bool, data: Path, baseline: Path, model: Path | None) -> dict[str, Any]:
    """Everything the README says about speed and small weights. `baseline` and `model` are not used."""
    load_before, rounds = os.getloadavg()[0], 5 if quick else 15
    cores = os.cpu_count() or 1
    scaled = scaling(rounds)
    one = products(1, rounds, SIZES[2:4] + SIZES[5:] if quick else SIZES)
    two = products(cores, rounds, SIZES[2:4] + SIZES[5:] if quick else SIZES)
    ggml, kinds = Ggml.find(), [row for row in one if row["m"] >= 16]
    found, bits = mapping(3 if quick else 7), quality(data, 20 if quick else 60)
    base = bits.get("text", {})
    ratios = {
        name: max(bits[name][mode] / base[mode] for mode in ("ar", "exact")) if name in bits else math.nan
        for name in ("text-int4", "text-int2")
    }
    return {
        "w2a8_vs_fp32_m32": ratio(one, "torch FP32", 32),
        "w2a8_vs_fp32_m128": ratio(one, "torch FP32", 128),
        "w2a8_vs_fbgemm_m16_128": min(ratio(one, "torch INT8", m) for m in ROWS[1:]),
        "w2a8_vs_fbgemm_m1": ratio(one, "torch INT8", 1),
        "w2a8_vs_ggml2": min(ratio(kinds, "ggml q2_K", m) for m in ROWS[1:]),
        "w2a8_vs_ort_int8": min(ratio(one, "ONNX Runtime INT8", m) for m in ROWS[1:]),
        "w2a8_vs_ort_2_bits": min(ratio(one, "ONNX Runtime 2", m) for m in ROWS[1:]),
        "w4a8_vs_ort_4_bits": min(ratio(one, "ONNX Runtime 4", m, "W4A8") for m in ROWS[1:]),
        "scaling_2_threads": scaled,
        **large(rounds),
        "map_200mb_ms": found["bowstring"]["ms"],
        "map_private_mb": found["bowstring"]["private_mb"],
        "mapping": found,
        "int4_bpb_ratio": ratios["text-int4"],
        "int2_bpb_ratio": ratios["text-int2"],
        "edge_file_mb": bits.get("text-int2", {}).get("file_mb", math.nan),
        "bits_per_byte": bits,
        "within_avx2": elsewhere(AVX2, rounds) if _native.isa() == "avx512vnni" else {},
        "instructions": {"ours": _native.isa(), "ggml": ggml.features() if ggml else []},
        "products": one + two,
        "machine": {"cores": cores, "load_before": load_before, "load_after": os.getloadavg()[0]},
    }
