"""What a model needs beside its network to be heard and seen: codecs of speech and face, its own voice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..codec.face import AVATAR_CHANNELS, SHAPE_COUNT, TOKEN_FRAMES, FaceCodec
from ..codec.speech import FRAMES
from ..codec.tokens import AUDIO_CHANNELS, ROW, SpeechCodec
from ..net.speech import EXPECTED_FEATURES, VOICE
from .parquet import Tensor, WeightsFile, write

# what may lie beside the network
BESIDE = ("image.parquet", "speech.parquet", "postfilter.parquet", "face.parquet")
SPEECH = {
    "mean": (FRAMES * ROW,),
    "basis": (AUDIO_CHANNELS, FRAMES * ROW),
    "scale": (AUDIO_CHANNELS,),
    "voice": (VOICE,),
    "expected": (EXPECTED_FEATURES, AUDIO_CHANNELS),
}
FACE = {
    "mean": (TOKEN_FRAMES * SHAPE_COUNT,),
    "basis": (AVATAR_CHANNELS, TOKEN_FRAMES * SHAPE_COUNT),
    "scale": (AVATAR_CHANNELS,),
    "expected": (EXPECTED_FEATURES, AVATAR_CHANNELS),
}


def carry_over(before: Path, after: Path) -> None:
    """Copies what lies beside the network of one model into the folder of another."""
    for path in (before / name for name in BESIDE):
        if path.exists():
            shutil.copy(path, after / path.name)


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, ((name, Tensor.of(array.astype(np.float32))) for name, array in arrays.items()), {})


def load(path: Path, shapes: Mapping[str, tuple[int, ...]], without: str) -> dict[str, np.ndarray]:
    """Arrays of exactly these shapes.

    Raises:
        FileNotFoundError: there is no file; `without` says what cannot be done then.
        ValueError: the file holds other arrays than these.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this model {without} without it")
    file = WeightsFile(path)
    found = {name: file.entries[name].shape for name in file}
    if found != shapes:
        raise ValueError(f"{path} holds {found}; expected {shapes}")
    return {name: np.array(file[name], np.float32) for name in shapes}


def save_speech(path: Path, codec: SpeechCodec, expected: np.ndarray, voice: np.ndarray) -> None:
    """Writes the codec, the table of what is expected, and the model's own voice."""
    arrays = {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}
    save(path, arrays | {"voice": voice, "expected": expected})


def load_speech(path: Path) -> tuple[SpeechCodec, np.ndarray, np.ndarray]:
    """Codec, table and voice; see `load`."""
    a = load(path, SPEECH, "cannot be heard")
    return SpeechCodec(a["mean"], a["basis"], a["scale"]), a["expected"], a["voice"]


def save_face(path: Path, codec: FaceCodec, expected: np.ndarray) -> None:
    """Writes the codec and the table of what is expected."""
    arrays = {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}
    save(path, arrays | {"expected": expected})


def load_face(path: Path) -> tuple[FaceCodec, np.ndarray]:
    """Codec and table; see `load`."""
    a = load(path, FACE, "has no face that can be seen")
    return FaceCodec(a["mean"], a["basis"], a["scale"]), a["expected"]
