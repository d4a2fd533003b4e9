"""A model folder as text is written with it: network, tokenizer and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..nn.network import UnifiedScoreNetwork
from ..weights.folder import Metadata, load_network, save_network
from .tokenizer import TextTokenizer


def save_model(
    folder: Path, network: UnifiedScoreNetwork, tokenizer: TextTokenizer, dtype: str = "float16", **said: Any
) -> None:
    """Writes a model folder; a packed network keeps its bits."""
    save_network(folder, network, dtype, **said)
    tokenizer.save(folder / "tokenizer.json")


def load_model(folder: Path) -> tuple[UnifiedScoreNetwork, TextTokenizer, Metadata]:
    """Network in evaluation mode, tokenizer and metadata of a model folder.

    Packed matrices are views of the mapped file, the rest becomes FP32.

    Raises:
        FileNotFoundError: no model lies in this folder.
        ValueError: its parts do not fit each other.
    """
    network, metadata = load_network(folder)
    tokenizer = TextTokenizer.load(folder / "tokenizer.json")
    if tokenizer.vocab != network.config.vocab:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokenizer.vocab} tokens, the network {network.config.vocab}; "
            "they are not of one model"
        )
    return network, tokenizer, metadata
