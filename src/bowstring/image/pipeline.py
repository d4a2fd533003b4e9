"""ImagePipeline: prompts and pictures in, pictures out, with the autoencoder at both ends.

Pictures are `(512, 512, 3)` bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.loop import State
from ..core.options import choice, real
from ..nn.network import UnifiedScoreNetwork
from ..text.tokenizer import TextTokenizer
from .autoencoder import GRID, INSIDE, OUTSIDE, ImageAutoencoder
from .files import as_mask, as_picture, save_picture, squared, squared_mask
from .sampling import STYLES, ImageSampling, caption_tokens, sample_images

CELL = OUTSIDE // GRID  # pixels of a token along a side


@dataclass(frozen=True)
class ImageResult:
    """A picture and how it was made. seconds: of each step, then of the decoder."""

    image: np.ndarray
    nfe: int
    seconds: tuple[float, ...]
    settings: dict[str, Any]

    def save(self, path: Path | str) -> None:
        """Writes a PNG or JPEG that carries prompt, seed and settings."""
        save_picture(path, self.image, self.settings)

    def __rich__(self) -> str:
        side = f"{self.image.shape[1]} x {self.image.shape[0]}"
        return f"{side} pixels, {self.nfe} evaluations, {sum(self.seconds):.2f} s"


@dataclass(frozen=True)
class ImageFrame:
    """One moment of painting: the picture as it is expected to become, as tokens `(64, 64)`."""

    expected: Tensor
    nfe: int
    share: float


def expected(before: State, after: State, share: float) -> ImageFrame:
    """What the picture is expected to become: the line of its last step, drawn to the end."""
    old, now = (s.x["image"] if isinstance(s.x, Mapping) else s.x for s in (before, after))
    (t,), (s,) = before.t.tolist(), after.t.tolist()
    return ImageFrame(now[0] - s * (now[0] - old[0]) / (s - t), int(after.nfe[0]), share)


def as_tensor(image: np.ndarray) -> Tensor:
    """`(h, w, 3)` bytes -> `(1, 3, h, w)` in -1..1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def as_bytes(pixels: Tensor) -> np.ndarray:
    """`(3, h, w)` in -1..1 -> `(h, w, 3)` bytes."""
    levels = ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).contiguous().cpu().numpy()


class ImagePipeline:
    """Paints with a network that has an image head."""

    def __init__(
        self, network: UnifiedScoreNetwork, tokenizer: TextTokenizer, autoencoder: ImageAutoencoder
    ) -> None:
        self.network, self.tokenizer, self.autoencoder = network, tokenizer, autoencoder

    def stream(
        self,
        prompt: str,
        style: str = "",
        start: Any = None,
        mask: Any = None,
        strength: float = 0.7,
        **how: Any,
    ) -> Iterator[ImageFrame | ImageResult]:
        """Yields a frame after each step, then the result. See `ArrowEngine.image`."""
        if style:
            style = choice(style, "style", STYLES)
        strength = real(strength, "strength", above=0, high=1, advice="0 would change nothing, 1 is all new")
        if mask is not None and start is None:
            raise ValueError("a mask says where a picture is painted anew; give the picture, too")
        known = {field.name for field in fields(ImageSampling)}
        if unknown := set(how) - known:
            raise TypeError(f"unknown options {sorted(unknown)}; known are {sorted(known)}")
        painting = ImageSampling(**how)
        given = None if start is None else as_picture(start, "start")
        large = None if given is None else squared(given, OUTSIDE)
        fresh = None
        if mask is not None and given is not None:
            fresh = squared_mask(as_mask(mask, "the mask"), OUTSIDE, given.shape[:2])
        begin = None
        if large is not None:
            begin = self.autoencoder.encode(as_tensor(squared(large, INSIDE)).to(self.network.device))
        where = None if fresh is None else ~touched(fresh).flatten()[None]
        strength = 1.0 if start is None or mask is not None else strength
        tokens = caption_tokens(self.tokenizer, prompt, style)
        states = sample_images(self.network, [tokens], painting, begin, strength, where)
        settings = {"prompt": prompt, "style": style, **asdict(painting)}
        settings |= {} if start is None else {"strength": strength, "inpainting": mask is not None}
        yield from self._watch(states, settings, large, fresh)

    def _watch(
        self,
        states: Iterator[Any],
        settings: dict[str, Any],
        large: np.ndarray | None,
        fresh: np.ndarray | None,
    ) -> Iterator[ImageFrame | ImageResult]:
        seconds: list[float] = []
        before, clock, total = None, time.perf_counter(), settings["steps"]
        for state in states:
            if before is not None:
                seconds.append(time.perf_counter() - clock)
                yield expected(before, state, len(seconds) / total)
            before, clock = state, time.perf_counter()
        assert before is not None
        image = self.picture(before.x[0])
        if fresh is not None and large is not None:
            image = np.where(fresh[..., None], image, large)
        seconds.append(time.perf_counter() - clock)
        yield ImageResult(image, int(before.nfe[0]), tuple(seconds), settings)

    @torch.no_grad()
    def picture(self, tokens: Tensor) -> np.ndarray:
        """Tokens `(64, 64)` as a picture."""
        return as_bytes(self.autoencoder.decode(tokens[None])[0])


def touched(fresh: np.ndarray) -> Tensor:
    """Which tokens hold a pixel that is painted anew, `(8, 8)`."""
    return torch.from_numpy(fresh.reshape(GRID, CELL, GRID, CELL).any((1, 3)))
