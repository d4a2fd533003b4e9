"""What MiniLM says of the texts, once: vectors in chunks, each kept in a file named by its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...memory.minilm import MiniLM, minilm_folder
from ...weights.format.parquet import Tensor, WeightsFile, write
from ..optim import matrix_dtype
from ..progress import tell

CHUNK = 1024  # texts


def teacher_vectors(texts: Sequence[str], cache: Path) -> np.ndarray:
    """Unit vectors `(n, 384)` in FP16; chunks that lie in `cache` are not made again."""
    cache.mkdir(parents=True, exist_ok=True)
    teacher, parts = None, list[np.ndarray]()
    for start in range(0, len(texts), CHUNK):
        some = texts[start : start + CHUNK]
        name = hashlib.sha256("\0".join(some).encode()).hexdigest()[:16]
        path = cache / f"{name}.parquet"
        if not path.exists():
            teacher = teacher or MiniLM(minilm_folder(), matrix_dtype(torch.device("cpu")))
            write(path, [("vectors", Tensor.of(teacher(some).astype(np.float16)))], {})
            tell(f"{start + len(some):,} of {len(texts):,} texts")
        parts.append(WeightsFile(path)["vectors"])
    return np.concatenate(parts)
