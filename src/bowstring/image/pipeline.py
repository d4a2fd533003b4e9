"""ImagePipeline: prompts and pictures in, pictures out, with the autoencoder at both ends.

Pictures are `(512, 512, 3)` bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.calibration import Calibrator
from ..core.cancel import Cancel, stoppable
from ..core.conditioning import NOTHING, Conditioning
from ..core.loop import State
from ..core.options import choice, real, settle, text, whole
from ..core.process import Schedule, linear
from ..core.threads import one_thread
from ..core.trace import FlowTrace
from ..energy.potential import Energy
from ..energy.steering import Judge
from ..nn.network import UnifiedScoreNetwork
from ..text.tokenizer import TextTokenizer
from .autoencoder import GRID, INSIDE, OUTSIDE, ImageAutoencoder, ImageDecoder
from .doubt import of_picture, of_places
from .files import as_mask, as_picture, squared, squared_mask
from .result import ImageResult
from .sampling import STYLES, ImageSampling, caption_tokens, sample_images

CELL = OUTSIDE // GRID  # pixels of a token along a side
SMALLEST = 16  # pixels along a side
MOST = 64  # pictures at once


class ImageOptions(TypedDict, total=False):
    """Options of `ArrowEngine.image` beside the prompt and n, for type checkers."""

    style: str
    negative_prompt: str
    start: Any
    mask: Any
    strength: float
    size: int
    steps: int
    cfg_scale: float
    sampler: str
    shift: float
    seed: int
    num_inference_steps: int | None
    guidance_scale: float | None
    adapters: Mapping[str, float] | None
    memory_guided: bool
    write_back: bool
    energies: Sequence[tuple[Energy, float]]
    constraints: Sequence[Judge]
    valid: Judge | None
    retries: int
    candidates: int
    cancel: Cancel | None


@dataclass(frozen=True)
class ImageInputs:
    """What is to be painted; see `ArrowEngine.image`.

    Raises:
        TypeError: a value of the wrong kind. ValueError: one out of its range.
    """

    prompt: str
    style: str = ""
    negative_prompt: str = ""
    start: Any = None
    mask: Any = None
    strength: float = 0.7
    size: int = OUTSIDE

    def __post_init__(self) -> None:
        large = f"pictures have {OUTSIDE} pixels a side at most; enlarge them afterwards"
        settle(
            self,
            prompt=text(self.prompt, "the prompt", blank=False),
            style=checked_style(self.style),
            negative_prompt=text(self.negative_prompt, "negative_prompt"),
            strength=real(
                self.strength, "strength", above=0, high=1, advice="0 would change nothing, 1 is all new"
            ),
            size=whole(self.size, "size", SMALLEST, OUTSIDE, advice=large),
        )


def checked_style(style: Any) -> str:
    """One of the styles, or none."""
    return "" if style is None or style == "" else choice(style, "style", STYLES)


@dataclass(frozen=True)
class ImageFrame:
    """One moment of painting: the picture as it is expected to become, as tokens `(64, 64)`."""

    expected: Tensor
    nfe: int
    share: float


def expected(before: State, after: State, share: float) -> ImageFrame:
    """What the picture is expected to become: the line of its last step, drawn to the end."""
    old, now = (s.x["image"] if isinstance(s.x, Mapping) else s.x for s in (before, after))
    t, s = before.t[0].item(), after.t[0].item()
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
        self,
        network: UnifiedScoreNetwork,
        tokenizer: TextTokenizer,
        decoder: ImageDecoder,
        load: Callable[[], ImageAutoencoder],
        schedule: Schedule = linear,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Noise falls by the schedule; `load` gives the whole autoencoder once a picture is read; the
        calibrator tells how unsure pictures are.
        """
        self.network, self.tokenizer, self.decoder = network, tokenizer, decoder
        self.load, self.schedule = load, schedule
        self.calibrator = Calibrator() if calibrator is None else calibrator

    @property
    def autoencoder(self) -> ImageAutoencoder:
        """Both directions; from then on they draw, too."""
        if not isinstance(self.decoder, ImageAutoencoder):
            self.decoder = self.load()
        return self.decoder

    def stream(
        self,
        what: ImageInputs,
        sampling: ImageSampling,
        n: int = 1,
        cancel: Cancel | None = None,
        notes: tuple[str, ...] = (),
        memories: Conditioning = NOTHING,
        energy: Energy | None = None,
    ) -> Iterator[ImageFrame | ImageResult]:
        """Yields a frame of the first picture after each step, then the n results, which carry the notes.
        Memories that were read guide all of them, and an energy of their tokens tilts them.

        Raises:
            ValueError: a mask without its picture, one that does not fit it, or a size or a negative prompt
            that cannot be had with the rest. Cancelled: it was asked to stop.
        """
        n = whole(n, "n", 1, MOST)
        large, fresh = self._given(what)
        if what.negative_prompt and sampling.cfg_scale <= 1:
            raise ValueError(
                f"cfg_scale is {sampling.cfg_scale:g}, which guides away from nothing; a negative prompt "
                "needs it above 1"
            )
        begin = None if large is None else self._tokens_of(large, n)
        where = None if fresh is None else ~touched(fresh).flatten().expand(n, -1)
        strength = 1.0 if large is None or fresh is not None else what.strength
        tokens = caption_tokens(self.tokenizer, what.prompt, what.style)
        away = caption_tokens(self.tokenizer, what.negative_prompt) if what.negative_prompt else None
        trace = FlowTrace()
        states = sample_images(
            self.network,
            [tokens] * n,
            sampling,
            begin,
            strength,
            where,
            negative=away,
            schedule=self.schedule,
            memories=memories,
            trace=trace,
            energy=energy,
        )
        settings = {"prompt": what.prompt, "style": what.style, **asdict(sampling)}
        settings |= {"negative_prompt": what.negative_prompt} if what.negative_prompt else {}
        settings |= {} if large is None else {"strength": strength, "inpainting": fresh is not None}
        for made in self._watch(stoppable(states, cancel), settings, large, fresh, trace):
            yield made if isinstance(made, ImageFrame) else _finished(made, what.size, notes)

    def _given(self, what: ImageInputs) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The picture to begin from and where it is painted anew, `(512, 512, ...)`, if they are there."""
        if what.start is None:
            if what.mask is not None:
                raise ValueError("a mask says where a picture is painted anew; give the picture, too")
            return None, None
        picture = as_picture(what.start, "start")
        large = squared(picture, OUTSIDE)
        if what.mask is None:
            return large, None
        if what.size != OUTSIDE:
            raise ValueError(
                f"size is {what.size}, which would change the pixels that a mask keeps; expected {OUTSIDE}"
            )
        return large, squared_mask(as_mask(what.mask, "the mask"), OUTSIDE, picture.shape[:2])

    @torch.no_grad()
    @one_thread()
    def _tokens_of(self, large: np.ndarray, n: int) -> Tensor:
        """Tokens `(n, 64, 64)` of a picture."""
        pixels = as_tensor(squared(large, INSIDE)).to(self.network.device)
        return self.autoencoder.encode(pixels).expand(n, -1, -1)

    def _watch(
        self,
        states: Iterator[Any],
        settings: dict[str, Any],
        large: np.ndarray | None,
        fresh: np.ndarray | None,
        trace: FlowTrace,
    ) -> Iterator[ImageFrame | ImageResult]:
        seconds: list[float] = []
        before, clock, total = None, time.perf_counter(), settings["steps"]
        for state in states:
            if before is not None:
                seconds.append(time.perf_counter() - clock)
                yield expected(before, state, len(seconds) / total)
            before, clock = state, time.perf_counter()
        assert before is not None
        for number, tokens in enumerate(before.x):
            clock = time.perf_counter()
            image = self.picture(tokens)
            if fresh is not None and large is not None:
                image = np.where(fresh[..., None], image, large)
            spent = (*seconds, time.perf_counter() - clock)
            own = settings if len(before.x) == 1 else settings | {"number": number}
            made = ImageResult(image, int(before.nfe[number]), spent, own)
            doubt, places = (of(trace, number, self.calibrator) for of in (of_picture, of_places))
            yield replace(made, uncertainty=doubt, places=places)  # type: ignore[arg-type]

    @torch.no_grad()
    @one_thread()
    def picture(self, tokens: Tensor) -> np.ndarray:
        """Tokens `(64, 64)` as a picture."""
        return as_bytes(self.decoder.decode(tokens[None])[0])


def _finished(made: ImageResult, size: int, notes: tuple[str, ...]) -> ImageResult:
    """In the size that was asked for, with notes."""
    if size == OUTSIDE:
        return replace(made, notes=notes)
    small = np.asarray(made.pil.resize((size, size), Image.Resampling.LANCZOS))
    return replace(made, image=small, settings=made.settings | {"size": size}, notes=notes)


def touched(fresh: np.ndarray) -> Tensor:
    """Which tokens hold a pixel that is painted anew, `(8, 8)`."""
    return torch.from_numpy(fresh.reshape(GRID, CELL, GRID, CELL).any((1, 3)))
