"""How pictures are painted: a caption is read into the cache, then 64 noisy tokens become clean.

Shapes: b pictures, 64 tokens, 64 channels. The caption goes through the trunk's own text stream; guidance
evaluates with and without it in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.conditioning import NOTHING, Cache, Conditioning
from ..core.guidance import pinned
from ..core.loop import Denoise, State, iterate
from ..core.options import choice, real, settle, whole
from ..core.options import seed as checked_seed
from ..core.process import Gaussian, Schedule, falling, linear, rectified
from ..core.rng import Rng
from ..core.samplers.continuous import ddim, dpmpp_2m, flow_update, heun, single
from ..core.trace import FlowTrace
from ..energy.constraints import tilted
from ..energy.potential import Energy
from ..nn.config import CHANNELS, PLACES
from ..nn.heads.image import ImageHead
from ..nn.network import UnifiedScoreNetwork
from ..text.sampling import pad_left
from ..text.tokenizer import KINDS, SEP, TextTokenizer

STYLES = ("noto", "flat", "fluent", "twemoji")
PROCESS = Gaussian(linear, rectified)
NULL_PROMPT = [KINDS["text"], SEP]
STEPS = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "heun": heun}
SAMPLERS = ("auto", *STEPS)
DEFAULT_GUIDANCE = 3.0  # the cfg_scale that shortcuts have learned
TOKENS = PLACES["image"]
POWER = 1.0  # variance of a number of a token, about


@dataclass(frozen=True)
class ImageSampling:
    """How pictures are sampled: `steps` of the flow; `shift` above 1 spends more of them on noise. The
    sampler "auto" takes shortcut steps when they are few and the network
    has learned them, else it is dpmpp_2m.

    Raises:
        ValueError: a value out of its range.
    """

    steps: int = 16
    cfg_scale: float = DEFAULT_GUIDANCE
    sampler: str = "auto"
    shift: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        settle(
            self,
            steps=whole(self.steps, "steps", 1, 1000),
            cfg_scale=real(self.cfg_scale, "cfg_scale", 0, 20, advice="1 is off"),
            sampler=choice(self.sampler, "sampler", SAMPLERS),
            shift=real(self.shift, "shift", 0.1, 10),
            seed=checked_seed(self.seed),
        )


def caption_tokens(tokenizer: TextTokenizer, caption: str, style: str = "") -> list[int]:
    """The prompt of a picture, as the text stream reads it; without a style the network chooses one."""
    asked = f"{style}: {caption}" if style else caption
    return [KINDS["text"], *tokenizer.encode(asked), SEP]


class Caption(NamedTuple):
    """Captions that were read: the cache, the position of what comes after each, `(b, 1)`, their hidden
    states `(b, m, d)`, and their pooled embedding `(b, 1, d)`.
    """

    cache: Cache
    after: Tensor
    hidden: Tensor
    pooled: Tensor

    def rows(self, index: Tensor) -> Caption:
        """Some of them, perhaps more than once."""
        return Caption(self.cache.rows(index), *(part[index] for part in self[1:]))

    @property
    def conditioning(self) -> Conditioning:
        """All ways into the trunk at once: tokens already read, entries of cross-attention, and a vector that
        is added to every token of the picture.
        """
        return Conditioning(
            self.cache, entries=self.hidden, entries_mask=self.cache.valid, added={0: self.pooled}
        )


def encode_captions(network: UnifiedScoreNetwork, known: Sequence[list[int]]) -> Caption:
    """Reads captions in the text stream."""
    head = network.heads["image"]
    assert isinstance(head, ImageHead)
    tokens, valid = pad_left(known, network.device)
    position = (valid.cumsum(1) - 1).clamp(min=0).float()
    hidden, cache = network.prefill(tokens, position, valid)
    return Caption(cache, position[:, -1:] + 1, hidden, head.condition(hidden, valid))


def positions_after(after: Tensor) -> Tensor:
    """Positions of a picture's tokens on the clock of its caption, row by row: `(b, 1)` -> `(b, 64)`."""
    return after + torch.arange(TOKENS, device=after.device)[None]


def image_step_size(
    network: UnifiedScoreNetwork, steps: int, cfg_scale: float, negative: Sequence[int] | None = None
) -> float:
    """Size of the shortcuts that so few steps of a picture take, 0: none. They were learned with guidance
    away from no prompt inside, so they serve neither without guidance nor away from another prompt.
    """
    return 0.0 if cfg_scale == 1 or negative is not None else network.shortcut_step_size(steps)


def mixing(cfg_scale: float, step_size: float) -> float:
    """Weight of the prompt's branch over the other one, 1: the other is not needed. In shortcuts the prompt's
    branch already holds the guidance that they have learned.

    >>> mixing(3.0, 0.0), mixing(3.0, 0.25), mixing(1.0, 0.0)
    (3.0, 1.0, 1.0)
    """
    return cfg_scale / DEFAULT_GUIDANCE if step_size else cfg_scale


def image_denoiser(
    network: UnifiedScoreNetwork,
    known: Sequence[list[int]],
    cfg_scale: float,
    step_size: float = 0.0,
    negative: Sequence[int] | None = None,
    memories: Conditioning = NOTHING,
    trace: FlowTrace | None = None,
) -> Denoise:
    """The denoiser of pictures with these captions, guided by w = `cfg_scale` away from no caption, or from
    the tokens of a `negative` one; 1 is off. One pass per evaluation, which the trace notes. memories: what
    was read of them; the branch that is led away from does not see them.
    """
    cfg_scale = mixing(cfg_scale, step_size)
    guided = cfg_scale != 1
    away = NULL_PROMPT if negative is None else [*negative]
    said = encode_captions(network, [*known, *([away] * len(known) if guided else [])])
    place = {"image": positions_after(said.after)}
    conditioning = said.conditioning | seen_by(memories, len(known), len(said.after))
    if trace is not None:
        trace.read(said.hidden[: len(known)], said.cache.valid[: len(known)])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        twice = (torch.cat([x, x]), torch.cat([t, t])) if guided else (x, t)
        sizes = {"image": torch.full_like(twice[1], step_size)} if step_size else None
        x_t, at = {"image": twice[0]}, {"image": twice[1]}
        velocity, gap = network.flow(x_t, at, place, sizes, conditioning)["image"], None
        if guided:
            asked, free = velocity.chunk(2)
            gap = asked - free
            velocity = free + cfg_scale * gap
        belief = x - t[:, None, None] * velocity
        if trace is not None:
            trace.take(float(t[0]), belief, gap)
        return belief

    return denoise


def seen_by(memories: Conditioning, first: int, rows: int) -> Conditioning:
    """Memories that the first of so many rows see alone."""
    if not memories.read:
        return memories
    read = next(iter(memories.read.values()))
    number = torch.arange(rows, device=read.device)
    mask = (number < first)[:, None].expand(-1, read.shape[1])
    return memories.rows(number % first).with_(read_mask=mask)


@torch.no_grad()
def sample_images(
    network: UnifiedScoreNetwork,
    known: Sequence[list[int]],
    how: ImageSampling,
    start: Tensor | None = None,
    strength: float = 1.0,
    where: Tensor | None = None,
    first: int = 0,
    negative: Sequence[int] | None = None,
    schedule: Schedule = linear,
    memories: Conditioning = NOTHING,
    trace: FlowTrace | None = None,
    energy: Energy | None = None,
) -> Iterator[State]:
    """States from noise to pictures' tokens, the starting one first; sample number `first` + i depends on
    (seed, number) alone.

    Args:
        start: clean tokens `(b, 64, 64)` to begin from, noised to time `strength`.
        where: `(b, 64)`, True where `start` is kept (inpainting).
        negative: tokens of what guidance leads away from.
        schedule: by which the noise falls; shortcuts were learned for the linear one.
        memories: see `image_denoiser`.
        trace: notes what tells how unsure the pictures are.
        energy: of clean tokens `(b, 64, 64) -> (b,)`; beliefs are those under p(x_0) exp(-energy).
    """
    rng = Rng.of(how.seed, len(known), first, network.device)
    x = PROCESS.prior(rng.fork(1), TOKENS, CHANNELS["image"])
    if start is not None:
        start = start.to(x.device)
        x = (1 - strength) * start + strength * x
    whole = start is None and how.shift == 1 and how.sampler == "auto" and schedule is linear
    step_size = image_step_size(network, how.steps, how.cfg_scale, negative) if whole else 0.0
    denoise = image_denoiser(network, known, how.cfg_scale, step_size, negative, memories, trace)
    if energy is not None:
        denoise = tilted(denoise, energy, PROCESS, POWER)
    if where is not None and start is not None:
        denoise = pinned(denoise, start, where[..., None].to(x.device))
    u = falling(how.steps, schedule)
    times = strength * how.shift * u / (1 + (how.shift - 1) * u)
    begin = State.begin(x, float(times[0]))
    yield begin
    automatic = single(denoise, flow_update(PROCESS, step_size))
    step = automatic if how.sampler == "auto" else STEPS[how.sampler](denoise, PROCESS)
    yield from iterate(step, begin, times, rng)
