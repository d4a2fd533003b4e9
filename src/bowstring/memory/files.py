"""Files as entries: texts and PDF files in pieces, pictures and recordings whole."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.options import listed
from . import chunks, pdf

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
ENDINGS = (*chunks.ENDINGS, ".pdf", *PICTURES, *SOUNDS)
LARGEST = 64 << 20  # bytes of a PDF file, a picture or a recording


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """Fields of the entries that a file makes.

    A picture is found by the prompt that it was made with, else by its name; a recording by its name, which
    is its key, too, so that a newer one takes its place.

    Raises:
        ValueError: another kind of file, or a damaged one. OSError: it cannot be read. ImportError: its
        reader is not installed.
    """
    kind = path.suffix.lower()
    if kind in chunks.ENDINGS:
        yield from chunks.chunks(path)
    elif kind == ".pdf":
        yield from pdf.entries(path, whole(path))
    elif kind in PICTURES:
        data = whole(path)
        yield {"text": prompt_of(data, path) or said(path), "picture": data, "source": str(path)}
    elif kind in SOUNDS:
        data = sound(path)
        yield {"text": said(path), "voice": data, "key": path.stem, "source": str(path)}
    else:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected {listed(ENDINGS)}")


def said(path: Path) -> str:
    """A file's name as words.

    >>> said(Path("red_fox-2.png"))
    'red fox 2'
    """
    return " ".join(re.findall(r"[^\W_]+", path.stem)) or path.name


def whole(path: Path) -> bytes:
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes; expected {LARGEST:,} at most")
    return path.read_bytes()


def prompt_of(data: bytes, path: Path) -> str | None:
    """The prompt that a picture carries, if it does.

    Raises:
        ValueError: no picture.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            carried = picture.info.get("bowstring", "")
            picture.verify()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path} is no picture that can be read: {error}") from None
    try:
        found = json.loads(carried or "null")
    except (TypeError, ValueError, RecursionError):
        return None
    prompt = found.get("prompt") if isinstance(found, dict) else None
    return prompt if isinstance(prompt, str) and prompt.strip() else None


def sound(path: Path) -> bytes:
    """The bytes of a recording.

    Raises:
        ValueError: no recording.
    """
    import soundfile

    data = whole(path)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames > 0:
                return data
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path} is no recording that can be read: {error}") from None
    raise ValueError(f"{path} has no sound in it")
