"""Facts about the network and the machine, and the checks of an installation."""

from __future__ import annotations

import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .. import _native
from ..engine import ArrowEngine
from ..face.weights import FACE
from ..image.autoencoder import ImageAutoencoder
from ..nn.config import CHANNELS, PRESETS, SHAPES, NetworkConfig
from ..nn.network import UnifiedScoreNetwork
from ..speech.g2p import SYMBOLS
from ..speech.g2p_network import G2PNetwork
from ..speech.postfilter import Postfilter
from ..speech.weights import SPEECH
from ..text.weights import load_model
from ..weights.format.parquet import WeightsFile, WeightsFiles
from ..weights.layout import weights_files
from ..weights.metadata import read_metadata
from ..weights.quant.arrowquant import shapes
from ..weights.quant.grouped import GROUP
from ..weights.quant.packed import linears
from ..weights.shipped import SHIPPED, model_folder


def parameters(config: NetworkConfig, modalities: Iterable[str] = ("text",)) -> dict[str, int]:
    """Parameter counts of a network of this shape, counted on tensors without storage."""
    with torch.device("meta"):
        return UnifiedScoreNetwork(config, modalities).shares()


def codecs(modalities: Iterable[str]) -> dict[str, int]:
    """Parameters of what stands between a modality's tokens and its files."""
    with torch.device("meta"):
        count = {
            "image": sum(p.numel() for p in ImageAutoencoder().parameters()),
            "audio": sum(math.prod(shape) for shape in SPEECH.values())
            + sum(p.numel() for net in (G2PNetwork(len(SYMBOLS)), Postfilter()) for p in net.parameters()),
            "avatar": sum(math.prod(shape) for shape in FACE.values()),
        }
    return {f"{name} codec": count[name] for name in modalities if name in count}


def resident_mb() -> float:
    """The most memory that this process has held, MB."""
    import resource  # not on every system

    status = Path("/proc/self/status")
    if status.exists():  # elsewhere a child begins with what its parent held
        peak = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        assert peak is not None
        return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@torch.no_grad()
def modality_costs(folder: Path | None = None, runs: int = 5) -> dict[str, float]:
    """Milliseconds of one evaluation of 64 tokens of each modality, and what the process takes, MB."""
    engine = ArrowEngine.load(folder)
    network, lines = engine.network, {}
    evaluate: Callable[[], Any]
    for name in network.heads:
        if name == "text":
            tokens = torch.zeros(1, 64, dtype=torch.int64)
            evaluate = partial(network.plain, tokens, torch.ones_like(tokens))
        else:
            x, t, position = torch.zeros(1, 64, CHANNELS[name]), torch.ones(1), torch.arange(64.0)[None]
            evaluate = partial(network.flow, {name: x}, {name: t}, {name: position})
        times = []
        for _ in range(runs + 1):
            began = time.perf_counter()
            evaluate()
            times.append(time.perf_counter() - began)
        lines[f"64 tokens of {name}, ms"] = 1000 * statistics.median(times[1:])
    return lines | {"memory of the process, MB": resident_mb()}


def network_report(folder: Path | None = None) -> dict[str, Any]:
    """What `bowstring show` prints."""
    folder = model_folder(folder)
    metadata = read_metadata(folder)
    config = metadata.config
    shares, plumbing = parameters(config, metadata.modalities), codecs(metadata.modalities)
    total = sum(shares.values())
    lines: dict[str, Any] = {
        "model_type": metadata.model_type,
        "modalities": ", ".join(metadata.modalities),
        "quantization": f"{metadata.quantization.method}, {metadata.bits} bits",
    }
    lines |= {
        "width x depth x heads": f"{config.width} x {config.depth} x {config.attention_heads}",
        "vocabulary": config.vocab,
    }
    lines |= {f"parameters, {name}": count for name, count in shares.items()} | {
        "parameters, all": total,
        "trunk_share": shares["trunk"] / total,
    }
    lines |= {f"parameters, {name}": count for name, count in plumbing.items()}
    lines["total_share"] = shares["trunk"] / (total + sum(plumbing.values()))  # codecs included
    lines["file, MB"] = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    return lines | {
        f"preset {name}": f"{sum(parameters(preset).values()) / 1e6:,.0f} M parameters"
        for name, preset in PRESETS.items()
    }


TIERS = {"edge": 2, "workstation": 4, "cloud": 4}  # bits of each preset
SPARE = 600e6  # bytes that Python, torch and the activations take beside the weights


def file_bytes(config: NetworkConfig, bits: int) -> int:
    """Size of a network's files: packed matrices, 8 bits for those of heads, FP16 for others of the trunk and
    FP32 for vectors.
    """
    with torch.device("meta"):
        network = UnifiedScoreNetwork(config)
    packed_names = {name: shape for name, _, _, shape in linears(network.trunk)}
    total = 0
    for name, parameter in network.named_parameters():
        if name in packed_names:
            sizes = shapes(bits, packed_names[name]).values()
            total += sum(math.prod(shape) * dtype.itemsize for dtype, shape in sizes)
        elif parameter.ndim < 2:
            total += 4 * parameter.numel()
        elif name.startswith("heads."):
            total += parameter.numel() * (GROUP + 2) // GROUP  # a byte each, and an FP16 scale a group
        else:
            total += 2 * parameter.numel()
    return total


def tier_rows() -> list[dict[str, Any]]:
    """What `bowstring tiers` prints: each preset, its size on disk, and whether this machine can run it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rows = []
    for name, config in {**PRESETS, **SHAPES}.items():
        bits = TIERS.get(name, 2)
        size, count = file_bytes(config, bits), sum(parameters(config).values())
        fits = size + SPARE < memory
        why = f"{(size + SPARE) / 1e9:.1f} GB of {memory / 1e9:.1f} GB"
        rows.append(
            {
                "preset": name,
                "parameters": count,
                "bits": bits,
                "file_mb": size / 1e6,
                "runs": fits,
                "why": why,
            }
        )
    return rows


def machine_report() -> dict[str, Any]:
    """What `bowstring doctor` prints."""
    lines: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": f"{os.getloadavg()[0]:.2f}",
    }
    for package in ("bowstring", "torch", "numpy", "tokenizers"):
        try:
            lines[package] = version(package)
        except PackageNotFoundError:
            lines[package] = "missing"
    lines["torch threads"] = torch.get_num_threads()
    lines["torch kernels"] = torch.backends.cpu.get_cpu_capability()
    lines["native kernels"] = _native.isa() if not _native.missing() else f"none: {_native.missing()}"
    lines["shipped model"] = (
        "found" if weights_files(SHIPPED) else f"missing at {SHIPPED}; install the package again"
    )
    return lines


def checks() -> Iterator[tuple[str, str | None]]:
    """(what was checked, None or what is wrong), one after the other."""
    yield (
        "every tensor of the shipped weights matches its hash",
        _fault(WeightsFiles([WeightsFile(path) for path in weights_files(SHIPPED)]).verify),
    )
    network, codec, metadata = load_model(SHIPPED)
    engine = ArrowEngine(network, codec, metadata)
    odd = "naïve \u2014 \U0001f98a\n\ttab <|end|>"
    yield (
        "the tokenizer is lossless",
        None if codec.decode(codec.encode(odd)) == odd else f"{odd!r} came back changed",
    )
    for mode in ("diffusion", "ar"):
        first, second = (
            engine.generate("a story about a fox", mode, max_tokens=48, seed=5) for _ in range(2)
        )
        yield f"mode {mode} writes", None if len(first.text) > 40 else f"only {first.text!r}"
        yield (
            f"mode {mode} repeats itself from its seed",
            None if first.tokens == second.tokens else "two runs differ",
        )
    filled = engine.infill("def add(a, b):\n", "    return c\n").text
    kept = filled.startswith("def add(a, b):\n") and filled.endswith("    return c\n")
    yield "an infill keeps prefix and suffix", None if kept else repr(filled)
    yield "a wrong prompt is refused with a sentence", _fault_missing(lambda: engine.generate(""))


def _fault(action: Any) -> str | None:
    try:
        action()
    except (ValueError, OSError) as error:
        return str(error)
    return None


def _fault_missing(action: Any) -> str | None:
    return None if _fault(action) else "it was accepted"
