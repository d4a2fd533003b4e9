"""The file beside the network that makes speech heard: the codec, the conditional mean, the own voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..nn.config import BASELINE_FEATURES, SPEAKER, VOICE
from ..weights.arrays import load_arrays, save_arrays
from .codec import AUDIO_CHANNELS, ROW, SpeechCodec
from .source_filter import FRAMES

SPEECH = {
    "mean": (FRAMES * ROW,),
    "basis": (AUDIO_CHANNELS, FRAMES * ROW),
    "scale": (AUDIO_CHANNELS,),
    "voice": (VOICE,),
    "expected": (BASELINE_FEATURES, AUDIO_CHANNELS),
}


def save_speech(path: Path, codec: SpeechCodec, expected: np.ndarray, voice: np.ndarray) -> None:
    """Writes the codec, the table of what is expected, and the model's own voice."""
    arrays = {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}
    save_arrays(path, arrays | {"voice": voice, "expected": expected})


def load_speech(path: Path) -> tuple[SpeechCodec, np.ndarray, np.ndarray]:
    """Codec, table and voice, which may have the speaker encoder's numbers; see `load_arrays`."""
    a = load_arrays(path, SPEECH, "cannot be heard", [{"voice": (VOICE + SPEAKER,)}])
    return SpeechCodec(a["mean"], a["basis"], a["scale"]), a["expected"], a["voice"]
