"""Fields as pictures and files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..core.files import output, write

FIELD_ENDINGS = (".png", ".npy")  # a picture, or the numbers
# dark blue, blue, paper, red, dark red; equal steps in lightness on both sides
ANCHORS = np.array([[18, 38, 92], [86, 134, 190], [244, 241, 234], [205, 104, 88], [110, 20, 34]], np.float64)


def diverging_colours(x: Tensor, limit: float | None = None) -> np.ndarray:
    """`(h, w)` to `(h, w, 3)` bytes; `limit` (default: the 99.5 % quantile of |x|) has the darkest
    colours.
    """
    limit = limit or float(x.abs().flatten().quantile(0.995)) or 1.0
    place = ((x.double().numpy() / limit).clip(-1, 1) + 1) * (len(ANCHORS) - 1) / 2
    axis = np.arange(len(ANCHORS))
    return np.stack([np.interp(place, axis, ANCHORS[:, c]) for c in range(3)], -1).astype(np.uint8)


def field_grid(
    x: Tensor, columns: int = 0, scale: int = 1, gap: int = 4, centre: float | None = None
) -> Image.Image:
    """Fields `(n, h, w)` beside each other, all with the same colours, `scale` pixels per site.

    Args:
        centre: the value that is neither red nor blue; 0 by default.
    """
    n, h, w = x.shape
    columns = columns or min(n, 4)
    x = x - (centre or 0.0)
    limit = float(x.abs().flatten()[:: max(1, x.numel() // 1_000_000)].quantile(0.995)) or 1.0
    rows = -(-n // columns)
    high, wide = scale * h + gap, scale * w + gap
    canvas = np.full((rows * high - gap, columns * wide - gap, 3), 255, np.uint8)
    for i in range(n):
        cell = diverging_colours(x[i], limit).repeat(scale, 0).repeat(scale, 1)
        top, left = i // columns * high, i % columns * wide
        canvas[top : top + scale * h, left : left + scale * w] = cell
    return Image.fromarray(canvas)


def write_fields(path: Path | str, x: Tensor, settings: dict[str, Any]) -> None:
    """Writes fields as a picture or as numbers, by the path's ending; a picture carries its settings.

    Raises:
        ValueError: another ending. OSError: it cannot be written.
    """
    path, file = output(path, FIELD_ENDINGS), io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(file, x.cpu().numpy(), allow_pickle=False)
    else:
        note = PngInfo()
        note.add_text("bowstring", json.dumps(settings))
        scale = max(1, 256 // x.shape[1])
        centre = 1.0 if settings.get("family") == "heat" else None
        field_grid(x, scale=scale, centre=centre).save(file, "PNG", pnginfo=note)
    write(path, file.getvalue())
