"""Voices by name: recordings that a store of memories holds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import soundfile

from ..core.options import listed
from ..memory.store import ArrowStorage

Sound = tuple[Any, int]  # samples and their rate, as `as_recording` takes them


def voice_named(store: ArrowStorage | None, voice: Any) -> Any:
    """What a voice means: a name that a store knows becomes its recording; paths and sounds stay.

    Raises:
        ValueError: a store, and neither it nor the folder knows the name.
    """
    if store is None or not isinstance(voice, str) or is_file(voice):
        return voice
    for memory in store.list({"key": voice, "part": "voice"}, 1):
        return recording_of(store.get(memory.id).parts["voice"])
    names = [one.key for one in store.list({"part": "voice"}, 20) if one.key]
    known = f"; here are {listed(sorted(names))}" if names else ""
    raise ValueError(
        f"no voice {voice!r} is remembered and there is no such file{known}. "
        f"Try: bowstring remember recording.wav --key {voice}"
    )


def is_file(name: str) -> bool:
    """Whether a text names a file; one that is too long for a name does not."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def recording_of(part: Any) -> Sound:
    """A recording from the bytes of its file, or from samples at 24 kHz."""
    if isinstance(part, bytes):
        return soundfile.read(io.BytesIO(part), dtype="float32")
    return part, 24_000
