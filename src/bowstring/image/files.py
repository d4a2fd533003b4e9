"""The one way in and out for pictures: files, PIL images and arrays become bytes as a viewer shows them, and
files carry how they were made. Nothing here knows of torch.

Pictures are `(h, w, 3)` bytes, masks `(h, w)` booleans.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from ..core.files import as_path, output, write
from ..core.options import on_host, shown

LARGEST_SIDE = 8192
LARGEST_FILE = 1 << 26  # bytes
KEY = "bowstring"
ENDINGS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
FOREIGN = {  # what the beginning of a file says that is not read here
    b"<svg": "SVG", b"<?xml": "SVG or another XML", b"%PDF": "PDF", b"II*\0": "TIFF", b"MM\0*": "TIFF",
    b"ftyphe": "HEIC", b"ftypmi": "HEIC", b"ftypav": "AVIF", b"<!DOC": "HTML", b"<html": "HTML",
    b"version https://git-lfs": "Git LFS pointer",
}  # fmt: skip
EDGE = 1e-3  # how far beyond 0..1 rounding may take a float


def to_png(image: np.ndarray, metadata: Mapping[str, Any]) -> bytes:
    """A PNG file with metadata as JSON in the text field "bowstring"; equal arguments give equal bytes.

    >>> read_picture_metadata(to_png(np.zeros((2, 2, 3), np.uint8), {"seed": 7}))
    {'seed': 7}
    """
    note, file = PngImagePlugin.PngInfo(), io.BytesIO()
    note.add_itxt(KEY, json.dumps(dict(metadata), sort_keys=True))
    Image.fromarray(image).save(file, "PNG", pnginfo=note)
    return file.getvalue()


def to_jpeg(image: np.ndarray, metadata: Mapping[str, Any]) -> bytes:
    """A JPEG file with metadata as JSON in its comment; equal arguments give equal bytes."""
    file = io.BytesIO()
    note = f"{KEY} {json.dumps(dict(metadata), sort_keys=True)}"
    Image.fromarray(image).save(file, "JPEG", quality=95, subsampling=0, comment=note)
    return file.getvalue()


def save_picture(path: Path | str, image: np.ndarray, metadata: Mapping[str, Any]) -> None:
    """Writes a picture whole or not at all, as PNG or JPEG by the ending of the path.

    Raises:
        ValueError: another ending. OSError: it cannot be written.
    """
    path = output(path, ENDINGS)
    write(path, (to_jpeg if path.suffix.lower() in (".jpg", ".jpeg") else to_png)(image, metadata))


def read_picture_metadata(data: bytes) -> dict[str, Any]:
    """What `to_png` or `to_jpeg` wrote beside the picture, or nothing."""
    with Image.open(io.BytesIO(data)) as picture:
        comment = picture.info.get("comment", b"")
        text = getattr(picture, "text", {}).get(KEY, "")
    if not text and isinstance(comment, bytes) and comment.startswith(KEY.encode() + b" "):
        text = comment.split(b" ", 1)[1].decode()
    return json.loads(text) if text else {}


def as_picture(value: Any, name: str = "the picture") -> np.ndarray:
    """A picture `(h, w, 3)` from a file, a PIL image, or an array or tensor of bytes or of 0..1.

    Files are turned as their camera was held, transparency becomes white, 16 bits become 8. Arrays are grey
    `(h, w)` or have 1 to 4 channels in front or behind.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: nothing that can be a picture. ValueError: damaged, too large, or out of range.
    """
    return np.asarray(_on_paper(_loaded(value, name), 255))


def as_mask(value: Any, name: str = "the mask") -> np.ndarray:
    """A mask `(h, w)`, true where something is to be painted: where it is true, 1, or bright.

    It comes as `as_picture` takes it; what is transparent is not to be painted.
    """
    if isinstance(value, str | os.PathLike | bytes | bytearray | Image.Image) or hasattr(value, "read"):
        plane = np.asarray(_on_paper(_loaded(value, name), 0).convert("L"))
        return plane > (0 if plane.max() == 1 else 127)  # some programs write a mask as 0 and 1
    numbers = _planes(_numbers(value, name), name)
    alpha = numbers[..., -1] if numbers.shape[2] in (2, 4) else None
    colour = numbers[..., : 3 if numbers.shape[2] > 2 else 1].astype(np.float64).mean(2)
    full = _full(numbers, name)
    bright = colour > (0 if numbers.dtype.kind in "bui" and colour.max(initial=0) <= 1 else full * 0.499)
    return bright if alpha is None else bright & (alpha > full * 0.499)


def read_picture(path: Path | str) -> np.ndarray:
    """A picture file as an array; see `as_picture`."""
    return as_picture(as_path(path))


def squared(image: np.ndarray, side: int) -> np.ndarray:
    """The picture scaled to fit a white square."""
    size, corner = _place(image.shape[:2], side)
    paper = Image.new("RGB", (side, side), "white")
    paper.paste(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), corner)
    return np.asarray(paper)


def squared_mask(mask: np.ndarray, side: int, like: tuple[int, int]) -> np.ndarray:
    """The mask placed in a square exactly as `squared` places its picture of shape `like`; every pixel of it
    counts, however small it becomes.

    Raises:
        ValueError: it has another shape than its picture, or nothing is to be painted.
    """
    h, w = mask.shape
    if abs(h * like[1] - w * like[0]) > max(h, w, *like):  # more than a pixel of rounding
        raise ValueError(
            f"the mask is {w} x {h} and its picture {like[1]} x {like[0]}; expected the same size, or the "
            "same shape"
        )
    if not mask.any():
        raise ValueError("the mask is empty: nothing is to be painted; white is painted anew, black is kept")
    size, (left, top) = _place(like, side)
    inside = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    out = np.zeros((side, side), bool)
    out[top : top + size[1], left : left + size[0]] = np.asarray(inside) > 0
    return out


def _place(shape: tuple[int, ...], side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of a picture scaled to fit a square, and where its left upper corner lies."""
    h, w = shape
    scale = side / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return size, ((side - size[0]) // 2, (side - size[1]) // 2)


def _loaded(value: Any, name: str) -> Image.Image:
    """Anything that can be a picture as a PIL image of mode RGB or RGBA, upright."""
    if isinstance(value, Image.Image):
        return _upright(value, name)
    if hasattr(value, "read"):  # an open file
        value = value.read()
    if isinstance(value, bytes | bytearray):
        return _opened(io.BytesIO(value), bytes(value[:512]), len(value), name)
    if isinstance(value, str | os.PathLike):
        path = as_path(value)
        if not path.exists():
            raise FileNotFoundError(f"there is no picture {path}")
        if not path.is_file():
            raise ValueError(f"{path} is no file; expected a picture")
        with path.open("rb") as file:
            return _opened(file, file.read(512), path.stat().st_size, str(path))
    planes = _as_bytes(_planes(_numbers(value, name), name), name)
    return _colours(Image.fromarray(planes[..., 0] if planes.shape[2] == 1 else planes))


def _opened(file: Any, head: bytes, size: int, name: str) -> Image.Image:
    """A picture file; its size is checked before any pixel is read."""
    if size > LARGEST_FILE:
        raise ValueError(f"{name} has {size:,} bytes; expected at most {LARGEST_FILE:,}")
    expected = f"expected PNG, JPEG, WebP, GIF or BMP{_foreign(head)}"
    file.seek(0)
    try:
        picture = Image.open(file, formats=FORMATS)
    except Exception as error:  # a decoder of a damaged file fails in many ways
        raise ValueError(f"{name} is no picture that can be read; {expected}: {error}") from None
    if max(picture.size) > LARGEST_SIDE:
        raise ValueError(
            f"{name} is {picture.width} x {picture.height}; expected at most {LARGEST_SIDE} along a side"
        )
    try:
        picture.load()
        return _upright(picture, name)
    except Exception as error:
        raise ValueError(f"{name} is damaged: {error}") from None


def _foreign(head: bytes) -> str:
    """The name of a format that is not read here, if the beginning of a file has one."""
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    for mark, what in FOREIGN.items():
        if start.startswith(mark) or start[4:].startswith(mark):
            return f" (this is {what}; save it as PNG)"
    return ""


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """As a viewer shows it, in mode RGB or RGBA: turned, in the colours of sRGB, with 8 bits a channel."""
    try:
        return _colours(_turned(picture))
    except (ValueError, OSError) as error:
        raise ValueError(f"{name} has pixels of mode {picture.mode} that cannot be read: {error}") from None


def _turned(picture: Image.Image) -> Image.Image:
    """As the camera was held; a damaged note about that is passed over, as viewers do."""
    try:
        return ImageOps.exif_transpose(picture)
    except (ValueError, OSError, SyntaxError, KeyError, TypeError, struct.error):
        return picture


def _colours(picture: Image.Image) -> Image.Image:
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _deep(picture)
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "RGBA", "L", "CMYK"):
        picture = _in_srgb(picture, profile)
    if picture.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
        picture = picture.convert("RGB")
    has_alpha = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    return picture.convert("RGBA" if has_alpha else "RGB")


def _deep(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits or of floats, which PIL would cut at 255, as 8 bits."""
    values = np.asarray(picture).astype(np.float64)
    deep = 1 if picture.mode == "F" else 65535
    full = 255 if picture.mode in ("I", "F") and 1 < values.max(initial=0) <= 255 else deep
    grey = Image.fromarray((values * (255 / full)).clip(0, 255).round().astype(np.uint8))
    hidden = picture.info.get("transparency")
    if not isinstance(hidden, int):
        return grey.convert("RGB")
    grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey.convert("RGBA")


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """Colours of another space, a phone's for example, as sRGB; a profile that does not fit is left out."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        found = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError):
        return picture
    return picture if found is None else found


def _on_paper(picture: Image.Image, shade: int) -> Image.Image:
    """The picture on paper of a grey, as mode RGB."""
    if picture.mode != "RGBA":
        return picture
    paper = Image.new("RGBA", picture.size, (shade, shade, shade, 255))
    paper.alpha_composite(picture)
    return paper.convert("RGB")


def _numbers(value: Any, name: str) -> np.ndarray:
    """Arrays of numpy and torch, and lists, as an array of numbers."""
    value = on_host(value)
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} is a list whose rows differ in length; expected (h, w) or (h, w, 3)"
        ) from None
    if array.dtype.kind not in "buif" or array.ndim == 0:
        raise TypeError(
            f"{name} is {shown(value)}; expected a path, a PIL image, or an array of bytes or of 0..1"
        )
    return array


def _planes(array: np.ndarray, name: str) -> np.ndarray:
    """`(h, w)`, `(h, w, c)`, `(c, h, w)`, or one of these alone in a batch, as `(h, w, c)`."""
    planes = array[0] if array.ndim == 4 and len(array) == 1 else array
    planes = planes[..., None] if planes.ndim == 2 else planes
    if planes.ndim == 3 and planes.shape[2] > 4 and planes.shape[0] <= 4:
        planes = np.moveaxis(planes, 0, 2)
    if planes.ndim != 3 or not planes.size or planes.shape[2] > 4:
        raise ValueError(f"{name} has shape {array.shape}; expected (h, w), (h, w, 3) or (3, h, w)")
    if max(planes.shape) > LARGEST_SIDE:
        raise ValueError(f"{name} has shape {array.shape}; expected at most {LARGEST_SIDE} along a side")
    return planes


def _full(planes: np.ndarray, name: str) -> float:
    """The number that stands for full brightness: 1, 255 or 65535, by the type of the numbers.

    Raises:
        ValueError: numbers that are not between 0 and it.
    """
    low, high = float(planes.min()), float(planes.max())
    if planes.dtype.kind == "f":
        full, room = 1.0, EDGE
    else:
        full, room = {"bool": 1.0, "uint16": 65535.0}.get(planes.dtype.name, 255.0), 0.0
    if not (-room <= low and high <= full + room):
        raise ValueError(
            f"{name} has numbers from {low:g} to {high:g}; expected 0 to {full:g} for {planes.dtype}; bytes "
            "go from 0 to 255, floats from 0 to 1"
        )
    return full


def _as_bytes(planes: np.ndarray, name: str) -> np.ndarray:
    if planes.dtype == np.uint8:
        return np.ascontiguousarray(planes)
    scaled = planes.astype(np.float64) * (255 / _full(planes, name))
    return scaled.round().clip(0, 255).astype(np.uint8)
