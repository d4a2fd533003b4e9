"""A plain face drawn from its shapes, so that a person can look: pictures, strips, GIFs and films.

Shapes: 52 numbers a frame, pictures `(side, side, 3)` bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..core.files import output, write
from ..core.options import on_host, shown, whole
from .animate import FRAME
from .portrait import LARGEST, Landmarks, Portrait
from .shapes import SHAPES
from .video import AVAILABLE, NO_FILMS, to_mp4

SKIN, LINE, LIP, INSIDE, TEETH, TONGUE = "#f2c9a1", "#5b3a29", "#b5544a", "#5a1f22", "#ffffff", "#d9706a"
PAPER, HAIR, IRIS = "#eef2f6", "#5b3a29", "#3d6b8e"
PICTURE = 0.04  # seconds of one picture of a GIF or film
At = Callable[[float, float], tuple[float, float]]
ENDINGS = (".gif", ".mp4", ".png")
FINE = 3  # pictures are drawn this much larger and then made small


def drawn_face(shapes: np.ndarray, side: int = 256) -> np.ndarray:
    """One frame `(52,)` as a picture."""
    value = {name: float(v) for name, v in zip(SHAPES, shapes, strict=True)}
    s = side * FINE
    image = Image.new("RGB", (s, s), PAPER)
    pen = ImageDraw.Draw(image)
    at: At = lambda x, y: (x * s, y * s)  # noqa: E731
    jaw = value["jawOpen"]
    pen.ellipse([*at(0.16, 0.06), *at(0.84, 0.72)], fill=HAIR)
    pen.ellipse([*at(0.2, 0.12), *at(0.8, 0.9 + 0.05 * jaw)], fill=SKIN, outline=LINE, width=s // 160)
    for sign, name in ((1, "Left"), (-1, "Right")):  # it looks at us: its left is our right
        _eye(pen, at, value, 0.5 + sign * 0.14, name)
        brow = (
            0.335
            - 0.05 * max(value["browInnerUp"], value[f"browOuterUp{name}"])
            + 0.03 * value[f"browDown{name}"]
        )
        x = 0.5 + sign * 0.14
        pen.line(
            [*at(x - 0.075, brow + 0.008), *at(x, brow - 0.012), *at(x + 0.075, brow + 0.008)], HAIR, s // 60
        )
    pen.line([*at(0.5, 0.47), *at(0.475, 0.58), *at(0.51, 0.585)], LINE, s // 130)
    _mouth(pen, at, value, s)
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


def _eye(pen: ImageDraw.ImageDraw, at: At, value: dict[str, float], x: float, name: str) -> None:
    height = 0.042 * (1 - value[f"eyeBlink{name}"]) * (1 + 0.4 * value[f"eyeWide{name}"])
    if height < 0.008:
        pen.line([*at(x - 0.065, 0.43), *at(x + 0.065, 0.43)], LINE, 6)
        return
    box = [*at(x - 0.065, 0.43 - height), *at(x + 0.065, 0.43 + height)]
    pen.ellipse(box, fill="white", outline=LINE, width=4)
    r = min(0.03, height * 0.95)
    pen.ellipse([*at(x - r, 0.43 - r), *at(x + r, 0.43 + r)], fill=IRIS)
    pen.ellipse([*at(x - r / 2, 0.43 - r / 2), *at(x + r / 2, 0.43 + r / 2)], fill="black")


def _mouth(pen: ImageDraw.ImageDraw, at: At, value: dict[str, float], s: int) -> None:
    narrow = 0.5 * value["mouthPucker"] + 0.3 * value["mouthFunnel"]
    wide = 0.3 * value["mouthStretchLeft"] + 0.35 * value["mouthSmileLeft"]
    half = 0.115 * (1 - narrow + wide)
    press = max(value["mouthPressLeft"], value["mouthClose"])
    gap = 0.15 * value["jawOpen"] * (1 - 0.9 * press)
    upper = gap * 0.35 + 0.02 * value["mouthUpperUpLeft"] * (1 - press)
    lower = gap * 0.65 + 0.025 * value["mouthLowerDownLeft"] * (1 - press)
    lip = 0.02 + 0.014 * (value["mouthPucker"] + value["mouthFunnel"]) - 0.01 * value["mouthRollLower"]
    y, corner = 0.7, -0.03 * value["mouthSmileLeft"]
    across = np.linspace(-1, 1, 41)
    arch = np.sqrt(np.clip(1 - across**2, 0, 1))
    ring = lambda up, down: [  # noqa: E731
        *[at(0.5 + half * u, y - up * a + corner * u * u) for u, a in zip(across, arch, strict=True)],
        *[
            at(0.5 + half * u, y + down * a + corner * u * u)
            for u, a in zip(across[::-1], arch[::-1], strict=True)
        ],
    ]
    pen.polygon(ring(upper + lip, lower + lip), fill=LIP)
    if upper + lower > 0.004:
        pen.polygon(ring(upper, lower), fill=INSIDE)
        if upper > 0.012:
            pen.polygon(ring(upper, -max(upper - 0.014, 0)), fill=TEETH)
        if value["tongueOut"] > 0.1 or lower > 0.04:
            pen.ellipse(
                [*at(0.5 - half * 0.5, y + lower * 0.45), *at(0.5 + half * 0.5, y + lower * 0.98)],
                fill=TONGUE,
            )
    else:
        pen.line(
            [p for u, a in zip(across, arch, strict=True) for p in at(0.5 + half * u, y + corner * u * u)],
            INSIDE,
            s // 200,
        )


def posed(shapes: np.ndarray, side: int, portrait: Portrait | None) -> np.ndarray:
    """One frame `(52,)` of a portrait, of its own size, or of the plain face."""
    return drawn_face(shapes, side) if portrait is None else portrait.posed(shapes)


def strip(face: np.ndarray, count: int = 8, side: int = 160, portrait: Portrait | None = None) -> np.ndarray:
    """`count` moments of a motion `(f, 52)` beside each other."""
    at = np.linspace(0, len(face) - 1, count).round().astype(int)
    return np.concatenate([posed(face[i], side, portrait) for i in at], 1)


def moving(face: np.ndarray, side: int = 256, portrait: Portrait | None = None) -> Iterator[np.ndarray]:
    """A motion as 25 pictures a second, the nearest rate that a GIF can say exactly."""
    moments = np.arange(0, len(face) * FRAME, PICTURE)
    for i in np.minimum((moments / FRAME).astype(int), len(face) - 1):
        yield posed(face[i], side, portrait)


def to_gif(
    face: np.ndarray,
    side: int = 256,
    metadata: Mapping[str, Any] | None = None,
    portrait: Portrait | None = None,
) -> bytes:
    """A motion as a GIF; metadata is JSON in its comment."""
    frames = map(Image.fromarray, moving(face, side, portrait))
    if portrait is None:
        pictures = [one.quantize(64) for one in frames]
    else:  # one palette, so that what is still does not flicker
        palette = Image.fromarray(strip(face, portrait=portrait)).quantize(256)
        pictures = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in frames]
    file = io.BytesIO()
    pictures[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 * PICTURE),
        loop=0,
        comment=json.dumps(dict(metadata or {}), sort_keys=True),
    )
    return file.getvalue()


def as_face(value: Any) -> np.ndarray:
    """A motion `(f, 52)` from an array, a tensor or a list.

    Raises:
        TypeError: no numbers. ValueError: another shape, or numbers that are not finite.
    """
    array = np.asarray(on_host(value))
    if array.dtype.kind not in "buif":
        raise TypeError(f"the face is {shown(value)}; expected an array (frames, {len(SHAPES)})")
    if array.ndim != 2 or array.shape[1] != len(SHAPES) or not len(array):
        raise ValueError(f"the face has shape {array.shape}; expected (frames, {len(SHAPES)})")
    if not np.isfinite(array).all():
        raise ValueError("the face has numbers that are not finite; expected 0 to 1")
    return array


def as_portrait(value: Any, landmarks: Landmarks | str | None, side: int = 256) -> Portrait | None:
    """A portrait from anything that is a picture of a face, or none.

    Raises:
        ValueError: landmarks of nothing, or see `Portrait`.
    """
    if value is None and landmarks is not None:
        raise ValueError("landmarks are of a portrait, and there is none; give the picture, too")
    if isinstance(value, Portrait) and landmarks is not None:
        raise ValueError("the portrait has landmarks already; leave out one of them")
    return value if value is None or isinstance(value, Portrait) else Portrait(value, landmarks, side)


def avatar_output(path: Path | str, side: int) -> tuple[Path, int]:
    """A file that a face can be drawn into and the side of its pictures, checked before the work."""
    path, side = output(path, ENDINGS), whole(side, "side", 16, LARGEST)
    if path.suffix.lower() == ".mp4":
        if side % 2:
            raise ValueError(f"side is {side}; a film needs an even number of pixels")
        if not AVAILABLE:
            raise ImportError(NO_FILMS)
    return path, side


def render_avatar(
    face: np.ndarray,
    path: Path | str,
    side: int = 256,
    audio: np.ndarray | None = None,
    *,
    portrait: Any = None,
    landmarks: Landmarks | str | None = None,
) -> Path:
    """Draws a motion `(f, 52)` into a file: .mp4 moves and speaks `audio`, `(s,)` at 24 kHz; .gif moves; .png
    is a strip of moments.

    Args:
        portrait: a picture of a face that moves in place of the plain one, or a `Portrait`, which has a size.
        landmarks: where its eyes and mouth are; see `Landmarks`.

    Raises:
        ImportError: a film without the package av.
        ValueError: another ending, an odd side of a film, an array that is no motion, or no portrait.
    """
    path, side = avatar_output(path, side)
    face, portrait = as_face(face), as_portrait(portrait, landmarks, side)
    ending = path.suffix.lower()
    if ending == ".mp4":
        write(path, to_mp4(moving(face, side, portrait), round(1 / PICTURE), audio))
    elif ending == ".gif":
        write(path, to_gif(face, side, portrait=portrait))
    else:
        file = io.BytesIO()
        Image.fromarray(strip(face, side=side, portrait=portrait)).save(file, "PNG")
        write(path, file.getvalue())
    return path
