"""A model folder as text is written with it: network, tokenizer and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from ..nn.network import UnifiedScoreNetwork
from ..weights.folder import load_network, save_network
from ..weights.layout import TOKENIZER, find
from ..weights.metadata import Metadata, Settings
from .tokenizer import TextTokenizer


def save_model(
    folder: Path,
    network: UnifiedScoreNetwork,
    tokenizer: TextTokenizer,
    dtype: str = "float16",
    **settings: Unpack[Settings],
) -> None:
    """Writes a model folder; a packed network keeps its bits."""
    (folder / TOKENIZER).parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / TOKENIZER)
    save_network(folder, network, dtype, **settings)


def load_model(folder: Path) -> tuple[UnifiedScoreNetwork, TextTokenizer, Metadata]:
    """Network in evaluation mode, tokenizer and metadata of a model folder.

    Packed matrices are views of the mapped file, the rest becomes FP32.

    Raises:
        FileNotFoundError: no model lies in this folder.
        ValueError: its parts do not fit each other.
    """
    network, metadata = load_network(folder)
    tokenizer = TextTokenizer.load(find(folder, TOKENIZER))
    if tokenizer.vocab != network.config.vocab:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokenizer.vocab} tokens, the network {network.config.vocab}; "
            "they are not of one model"
        )
    return network, tokenizer, metadata
