"""Embedders by name, and stores opened with the one that made their vectors."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.options import choice
from .embed import default_embedder
from .record import Embedder
from .store import ArrowStorage

if TYPE_CHECKING:
    from .minilm import MiniLM

DEFAULT, MINILM = "bowstring", "minilm"
NAMES = (DEFAULT, MINILM)
MINILM_NEAR = 0.92  # cosine that at most a millionth of pairs of different glosses or utterances reach


def embedder_named(name: str) -> Embedder:
    """Ours, which ships, or MiniLM, which finds more and needs its package.

    Raises:
        ValueError: another name. FileNotFoundError: MiniLM is not installed.
    """
    return minilm_embedder() if choice(name, "embedder", NAMES) == MINILM else default_embedder()


def opened(given: ArrowStorage | Path | str, embedder: str | None = None) -> ArrowStorage:
    """A store that is open already, or the one in a folder with the embedder of that name; None is the one
    that made the vectors it holds, ours for a new store.
    """
    if isinstance(given, ArrowStorage):
        return given
    if embedder is None:
        with ArrowStorage(given) as store:
            there = store.stats()["embedder"]
        embedder = MINILM if there is not None and there["name"] == MINILM else DEFAULT
    return ArrowStorage(given, embedder_named(embedder))


@lru_cache(maxsize=1)
def minilm_embedder() -> Embedder:
    """MiniLM on torch; it is read when first needed."""
    from .minilm import WIDTH, minilm_folder

    weights = minilm_folder() / "model.safetensors"
    with weights.open("rb") as file:
        name = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return Embedder(MINILM, name, WIDTH, encode_by_minilm, MINILM_NEAR)


def encode_by_minilm(texts: list[str]) -> np.ndarray:
    return installed_minilm()(texts)


@lru_cache(maxsize=1)
def installed_minilm() -> MiniLM:
    from .minilm import MiniLM, minilm_folder

    return MiniLM(minilm_folder())
