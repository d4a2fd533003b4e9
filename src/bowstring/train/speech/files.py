"""Files of utterances, laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.numpy import load_file, save_file

from .flow import TrainingUtterance, pack_utterances, unpack_utterances


def save_utterances(path: Path, utterances: Sequence[TrainingUtterance]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(pack_utterances(utterances), path)


def load_utterances(path: Path) -> list[TrainingUtterance]:
    """All of a file."""
    return unpack_utterances(load_file(path))
