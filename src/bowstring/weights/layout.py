"""Which file of a model folder holds what, now and before."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

METADATA = "metadata.json"
TRUNK = "shared_transformer.parquet"
TOKENIZER = "tokenizer/tokenizer.json"
ENCODER, DECODER = "vae/encoder.parquet", "vae/decoder.parquet"
SPEECH, FACE, POSTFILTER = "codecs/speech.parquet", "codecs/face.parquet", "codecs/postfilter.parquet"
SPEAKER = "codecs/speaker.parquet"  # what tells voices apart
MEMORY = "memory/projector.parquet"  # how memories reach this trunk
CALIBRATION = "calibration.json"  # what tells how unsure results are
CODECS = (ENCODER, DECODER, SPEECH, FACE, POSTFILTER, SPEAKER)
BEFORE = {
    TRUNK: "network.parquet",  # with all heads in it
    TOKENIZER: "tokenizer.json",
    ENCODER: "image.parquet",
    DECODER: "image.parquet",
    SPEECH: "speech.parquet",
    FACE: "face.parquet",
    POSTFILTER: "postfilter.parquet",
}


def head(modality: str) -> str:
    """The file of a head."""
    return f"heads/{modality}_head.parquet"


def find(folder: Path, name: str) -> Path:
    """Where a file of the layout lies; where an older version put it if it is there alone. Models that lie
    side by side may share the tokenizer beside them.
    """
    path, others = folder / name, [folder / BEFORE.get(name, name)]
    if name == TOKENIZER:
        others.append(folder.parent / name)
    return path if path.exists() else next((one for one in others if one.exists()), path)


def network_files(folder: Path, modalities: Iterable[str]) -> list[Path]:
    """The files of trunk and heads; one of an older version holds them all."""
    trunk = find(folder, TRUNK)
    return [trunk] if trunk.name == BEFORE[TRUNK] else [trunk, *(folder / head(one) for one in modalities)]


def weights_files(folder: Path) -> list[Path]:
    """Every file of weights in a folder, in order."""
    return sorted(folder.rglob("*.parquet"))


def carry_over(before: Path, after: Path, names: Iterable[str] = (*CODECS, MEMORY)) -> None:
    """Copies what lies beside a network, all by default, of one model into the folder of another."""
    for name in names:
        if (path := find(before, name)).exists():
            target = after / path.relative_to(before)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
