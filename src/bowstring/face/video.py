"""Moving pictures with sound, as MP4: H.264 and AAC by the package av, which the extra `video` brings."""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

AVAILABLE = importlib.util.find_spec("av") is not None
NO_FILMS = 'a film needs the package av: pip install "bowstring[video]"'
SLICE = 1024  # samples that are handed over at a time


def to_mp4(
    pictures: Iterable[np.ndarray],
    pictures_a_second: int,
    audio: np.ndarray | None = None,
    rate: int = 24_000,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """A film of one or more pictures `(h, w, 3)` of bytes, h and w even, and mono sound `(s,)` in -1..1;
    metadata is JSON in its comment.

    Raises:
        ImportError: the package av is not installed. ValueError: no pictures, or an odd height or width.
    """
    if not AVAILABLE:
        raise ImportError(NO_FILMS)
    import av

    left = iter(pictures)
    first = next(left, None)
    if first is None or first.shape[0] % 2 or first.shape[1] % 2:
        found = "no pictures" if first is None else f"pictures of {first.shape[1]} x {first.shape[0]}"
        raise ValueError(f"there are {found}; a film needs some, of an even width and height")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as film:
        film.metadata["comment"] = json.dumps(dict(metadata or {}), sort_keys=True)
        seen = film.add_stream("libx264", pictures_a_second, options={"crf": "20", "threads": "1"})
        seen.pix_fmt = "yuv420p"
        heard = None if audio is None else film.add_stream("aac", rate, layout="mono")
        seen.height, seen.width = first.shape[:2]
        for picture in itertools.chain([first], left):
            film.mux(seen.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        film.mux(seen.encode())
        if heard is not None and audio is not None:
            for at in range(0, len(audio), SLICE):
                part = np.ascontiguousarray(audio[None, at : at + SLICE], np.float32)
                frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
                film.mux(heard.encode(frame))
            film.mux(heard.encode())
    return file.getvalue()
