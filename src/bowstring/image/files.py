"""Pictures as files and arrays: PNG that carries how it was made; nothing here knows of torch.

Arrays are `(h, w, 3)` bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

LARGEST_SIDE = 8192
LARGEST_FILE = 1 << 26  # bytes
KEY = "bowstring"


def to_png(image: np.ndarray, said: Mapping[str, Any]) -> bytes:
    """A PNG file with `said` as JSON in the text field "bowstring"; equal arguments give equal bytes.

    >>> read_png_facts(to_png(np.zeros((2, 2, 3), np.uint8), {"seed": 7}))
    {'seed': 7}
    """
    facts, file = PngImagePlugin.PngInfo(), io.BytesIO()
    facts.add_itxt(KEY, json.dumps(dict(said), sort_keys=True))
    Image.fromarray(image).save(file, "PNG", pnginfo=facts)
    return file.getvalue()


def read_png_facts(data: bytes) -> dict[str, Any]:
    """What `to_png` was told, or nothing."""
    facts = getattr(Image.open(io.BytesIO(data)), "text", {})
    return json.loads(facts[KEY]) if KEY in facts else {}


def read_picture(path: Path | str) -> np.ndarray:
    """A picture file as an array; transparency becomes white. The size is checked before pixels are read.

    Raises:
        FileNotFoundError: there is none.
        ValueError: no picture, or one that is too large.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no picture {path}")
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes; expected at most {LARGEST_FILE:,}")
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP")) as picture:
            if max(picture.size) > LARGEST_SIDE:
                raise ValueError(
                    f"{path} is {picture.width} x {picture.height}; expected at most "
                    f"{LARGEST_SIDE} along a side"
                )
            whole = picture.convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(
            f"{path} is no picture that can be read (PNG, JPEG, WebP, GIF, BMP): {error}"
        ) from None
    paper = Image.new("RGBA", whole.size, (255, 255, 255, 255))
    paper.alpha_composite(whole)
    return np.asarray(paper.convert("RGB"))


def squared(image: np.ndarray, side: int) -> np.ndarray:
    """The picture scaled to fit a white square."""
    h, w = image.shape[:2]
    scale = side / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    paper = Image.new("RGB", (side, side), "white")
    scaled = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    paper.paste(scaled, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(paper)
