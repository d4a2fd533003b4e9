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
SLICE = 1024  # samples that are handed over at a time


def to_mp4(
    pictures: Iterable[np.ndarray],
    pictures_a_second: int,
    audio: np.ndarray | None = None,
    rate: int = 24_000,
    said: Mapping[str, Any] | None = None,
) -> bytes:
    """A film of one or more pictures `(h, w, 3)` of bytes, h and w even, and mono sound `(s,)` in -1..1;
    `said` is JSON in its comment.

    Raises:
        ImportError: the package av is not installed.
    """
    if not AVAILABLE:
        raise ImportError('a film needs the package av: pip install "bowstring[video]"')
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as film:
        film.metadata["comment"] = json.dumps(dict(said or {}), sort_keys=True)
        seen = film.add_stream("libx264", pictures_a_second, options={"crf": "20", "threads": "1"})
        seen.pix_fmt = "yuv420p"
        heard = None if audio is None else film.add_stream("aac", rate, layout="mono")
        left = iter(pictures)
        first = next(left)
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
