"""The speech codec's numbers and a model's own voice, a file beside the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..codec.speech import FRAMES
from ..codec.tokens import AUDIO_CHANNELS, ROW, SpeechCodec
from ..net.speech import VOICE
from .parquet import Tensor, WeightsFile, write

SHAPES = {
    "mean": (FRAMES * ROW,),
    "basis": (AUDIO_CHANNELS, FRAMES * ROW),
    "scale": (AUDIO_CHANNELS,),
    "voice": (VOICE,),
}


def save_speech(path: Path, codec: SpeechCodec, voice: np.ndarray) -> None:
    """Writes codec and voice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale, "voice": voice}
    write(path, ((name, Tensor.of(array.astype(np.float32))) for name, array in arrays.items()), {})


def load_speech(path: Path) -> tuple[SpeechCodec, np.ndarray]:
    """Codec and voice.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file holds other arrays than these.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this model's speech cannot be heard without it")
    file = WeightsFile(path)
    found = {name: file.entries[name].shape for name in file}
    if found != SHAPES:
        raise ValueError(f"{path} holds {found}; expected {SHAPES}")
    parts = {name: np.array(file[name], np.float32) for name in SHAPES}
    return SpeechCodec(parts["mean"], parts["basis"], parts["scale"]), parts["voice"]
