"""Speech, face and picture at once: one evaluation a step for all of them, on one clock.

What each part of the network's one pass may look at: speech at speech, the face at both, the picture at its
caption, its unguided twin at no caption, a text that is still written at itself. So every stream is what it
would be alone, and the pass is shared.
Shapes: l tokens of 64 ms; pictures have 64 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ..core.conditioning import NOTHING, Conditioning
from ..core.loop import Denoise, State, iterate
from ..core.options import flag, real, settle, whole
from ..core.options import seed as checked_seed
from ..core.process import Schedule, linear, uniform
from ..core.rng import Rng
from ..core.samplers.continuous import flow_update, joint
from ..core.trace import FlowTrace
from ..image.sampling import (
    DEFAULT_GUIDANCE,
    NULL_PROMPT,
    TOKENS,
    Caption,
    encode_captions,
    image_step_size,
    mixing,
    positions_after,
)
from ..nn.config import CHANNELS
from ..nn.network import UnifiedScoreNetwork
from ..speech.codec import AUDIO_CHANNELS
from ..speech.sampling import PROCESS, speech_condition
from ..speech.utterance import TEMPERATURE, SpeechSampling, Utterance
from .writing import TextRows


@dataclass(frozen=True)
class JointSampling:
    """How speech, face and picture are sampled: steps of the flow, speed (2 is twice as fast), the picture's
    cfg_scale (1 is off), and whether the lips meet exactly in every p, b and m.

    Raises:
        ValueError: a value out of its range.
    """

    steps: int = 8
    speed: float = 1.0
    cfg_scale: float = DEFAULT_GUIDANCE
    seed: int = 0
    closing: bool = True

    def __post_init__(self) -> None:
        settle(
            self,
            steps=whole(self.steps, "steps", 1, 1000),
            speed=real(self.speed, "speed", 0.5, 2, advice="1 is usual, 2 twice as fast"),
            cfg_scale=real(self.cfg_scale, "cfg_scale", 0, 20, advice="1 is off"),
            seed=checked_seed(self.seed),
            closing=flag(self.closing, "closing"),
        )

    @property
    def speech(self) -> SpeechSampling:
        """How the speech is sampled."""
        return SpeechSampling(self.steps, self.speed, self.seed)


@dataclass(frozen=True)
class JointInputs:
    """What is to be made together: an utterance in a voice, with a face, perhaps a picture with a caption.

    caption: tokens of the picture's prompt; none makes no picture. negative: of what it is guided away from.
    memories: what the picture, and not its unguided twin, sees of them.
    """

    utterance: Utterance
    voice: Tensor
    face: bool = True
    caption: Sequence[int] | None = None
    negative: Sequence[int] | None = None
    memories: Conditioning = NOTHING  # that were read, for the picture


def captions(
    network: UnifiedScoreNetwork, caption: Sequence[int], negative: Sequence[int] | None = None
) -> tuple[Caption, int, int]:
    """One row that holds the caption and, after it, no caption or the negative one, with both pooled
    embeddings `(2, 1, d)`; the tokens of each.
    """
    away = NULL_PROMPT if negative is None else negative
    asked, free = (encode_captions(network, [[*tokens]]) for tokens in (caption, away))
    hidden, pooled = torch.cat([asked.hidden, free.hidden], 1), torch.cat([asked.pooled, free.pooled])
    said = Caption(asked.cache.joined(free.cache), asked.after, hidden, pooled)
    return said, asked.cache.length, free.cache.length


def attention_mask(
    lengths: Mapping[str, int], asked: int = 0, free: int = 0, device: torch.device | None = None
) -> Tensor:
    """Who looks at what, stream by stream: `(all tokens, asked + free + all tokens)`."""
    owner = ["asked"] * asked + ["free"] * free + [name for name, n in lengths.items() for _ in range(n)]
    may = {
        "audio": {"audio"},
        "avatar": {"audio", "avatar"},
        "image": {"asked", "image"},
        "image/free": {"free", "image/free"},
    }
    rows = [[one in may[name] for one in owner] for name, n in lengths.items() for _ in range(n)]
    return torch.tensor(rows, device=device)


def joint_denoiser(
    network: UnifiedScoreNetwork,
    what: JointInputs,
    cfg_scale: float,
    step_sizes: Mapping[str, float],
    rows: TextRows | None = None,
    trace: FlowTrace | None = None,
) -> Denoise:
    """The denoiser of a dict of "audio" `(1, l, 96)`, "avatar" and "image", as far as they are there; for
    `cfg_scale` see `image_denoiser`. step_sizes: of each one's shortcuts, 0: none. rows: of a text that is
    written in the same passes while it lasts. The trace notes every pass of speech.
    """
    cfg_scale = mixing(cfg_scale, step_sizes.get("image", 0.0))
    length = what.utterance.tokens
    lengths = {"audio": length} | ({"avatar": length} if what.face else {})
    clock = torch.arange(float(length), device=network.device)[None]
    with torch.no_grad():
        known = speech_condition(network, what.utterance, what.voice)
        said, asked, free = None, 0, 0
        if what.caption is not None:
            said, asked, free = captions(network, what.caption, what.negative)
            lengths |= {"image": TOKENS} | ({} if cfg_scale == 1 else {"image/free": TOKENS})
    cond = {name: known for name in lengths if name in ("audio", "avatar")}
    places = {name: clock for name in cond}
    if said is not None:
        cond |= dict(zip(("image", "image/free"), said.pooled.split(1), strict=True))
    for name, after in (("image", asked), ("image/free", free)):
        places[name] = positions_after(torch.full((1, 1), float(after), device=network.device))
    places = {name: places[name] for name in lengths}
    mask = attention_mask(lengths, asked, free, network.device)
    added = torch.cat([cond[name].expand(-1, n, -1) for name, n in lengths.items()], 1)
    caption = NOTHING if said is None else said.conditioning.with_(entries_mask=mask[None, :, : asked + free])
    conditioning = caption.with_(mask=mask[None, None], added={0: added})
    conditioning |= seen_by_picture(what.memories, lengths)
    own = {name: step_sizes[name.partition("/")[0]] for name in lengths}
    shortcuts = any(own.values())

    def denoise(x: dict[str, Tensor], t: dict[str, Tensor]) -> dict[str, Tensor]:
        noisy = {name: x[name.partition("/")[0]] for name in lengths}
        times = {name: t[name.partition("/")[0]] for name in lengths}
        sizes = {name: torch.full_like(times[name], own[name]) for name in lengths} if shortcuts else None
        evaluate = network.flow if rows is None or rows.wanted is None else rows.evaluate
        velocity = evaluate(noisy, times, places, sizes, conditioning)
        if "image/free" in velocity:
            empty = velocity.pop("image/free")
            velocity["image"] = empty + cfg_scale * (velocity["image"] - empty)
        belief = {name: x[name] - t[name][:, None, None] * v for name, v in velocity.items()}
        if trace is not None:
            trace.take(float(t["audio"][0]), belief["audio"])
        return belief

    return denoise


def seen_by_picture(memories: Conditioning, lengths: Mapping[str, int]) -> Conditioning:
    """Memories that the picture's tokens alone look at."""
    if not memories.read or "image" not in lengths:
        return NOTHING
    read = next(iter(memories.read.values()))
    rows = torch.tensor([name == "image" for name, n in lengths.items() for _ in range(n)])
    return memories.with_(read_mask=rows[None, :, None].expand(1, -1, read.shape[1]).to(read.device))


def step_sizes(
    network: UnifiedScoreNetwork, what: JointInputs, steps: int, cfg_scale: float
) -> dict[str, float]:
    """Sizes of the shortcuts of every stream, as it would take them alone."""
    own = network.shortcut_step_size(steps)
    sizes = {"audio": own} | ({"avatar": own} if what.face else {})
    if what.caption is None:
        return sizes
    return sizes | {"image": image_step_size(network, steps, cfg_scale, what.negative)}


@torch.no_grad()
def sample_joint(
    network: UnifiedScoreNetwork,
    what: JointInputs,
    steps: int,
    cfg_scale: float,
    seed: int,
    number: int = 0,
    schedules: Mapping[str, Schedule] = MappingProxyType({}),
    rows: TextRows | None = None,
    trace: FlowTrace | None = None,
) -> Iterator[State]:
    """States from noise to clean, the noise first; a stream's noise is what it would have alone, and falls by
    its own schedule, where it is not the linear one. A text's `rows` share the passes; the trace notes what
    tells how unsure the speech is.
    """
    length = what.utterance.tokens
    shapes = {"audio": (length, AUDIO_CHANNELS)}
    shapes |= {"avatar": (length, CHANNELS["avatar"])} if what.face else {}
    shapes |= {"image": (TOKENS, CHANNELS["image"])} if what.caption is not None else {}
    rng = Rng.of(seed, 1, number, network.device)
    forks = {"audio": rng.fork(2), "avatar": rng.fork(3), "image": Rng.of(seed, 1, 0, network.device).fork(1)}
    noise = {name: PROCESS.prior(forks[name], *shape) for name, shape in shapes.items()}
    begin = State.begin(noise | {"audio": TEMPERATURE * noise["audio"]})
    own = {name: schedules.get(name, linear) for name in shapes}
    sizes = step_sizes(network, what, steps, cfg_scale)
    sizes = {name: size if own[name] is linear else 0.0 for name, size in sizes.items()}
    updates = {name: flow_update(PROCESS, size) for name, size in sizes.items()}
    clocks = {name: one.fallen for name, one in own.items() if one is not linear}
    step = joint(joint_denoiser(network, what, cfg_scale, sizes, rows, trace), updates, clocks)
    yield begin
    yield from iterate(step, begin, uniform(steps), rng)
