"""Few steps: the network learns to jump where its frozen self walks; without a step size it stays as it was.

A jump of size d from time t is the mean velocity of the teacher's path from t to t - d. Pictures are walked
with guidance, so a jump needs one evaluation and no unguided twin. A jump of text is a share d of a block.
Sources: shortcut models (Frans et al. 2024, arXiv 2410.12557), the target coming from a teacher that stays;
self-distillation through time (Deschenaux and Gulcehre 2024, arXiv 2410.21035).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from ...core.samplers.masked import truncate
from ...image.sampling import DEFAULT_GUIDANCE, encode_captions, image_denoiser, positions_after
from ...nn.network import UnifiedScoreNetwork
from ...speech.baseline import ResidualCoder
from ...speech.weights import load_speech
from ...text.sampling import Sampling
from ...text.weights import load_model, save_model
from ...weights.folder import carry_over
from ..image.flow import ImageLearning, build_tokens, image_batches, image_source
from ..loop import Source, Turns, draw, noised, run_turns
from ..speech.flow import Batch, Velocity, say, speech_batches, speech_source
from ..text.losses import blocks_of, covered, draw_noise, rank_within, read_twice
from ..text.packing import Rows
from .multimodal import replay, reread, spoken

CYCLE = (
    *("image jump", "audio jump", "text", "text jump", "image jump", "text"),
    *("image", "audio jump", "text", "text jump", "audio"),
)
BLOCKS = (4, 8, 16)  # tokens of a block of text
SIZES = (0.25, 0.5, 1.0)  # of jumps, and how often each is learned
SHARES = (0.6, 0.25, 0.15)
WALK = 3  # steps of second order that the teacher takes for a jump


def leaps(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Times that jumps start at, and their sizes, `(count,)` each: every jump of a size is as likely."""
    which = torch.multinomial(torch.tensor(SHARES), count, replacement=True, generator=rng)
    size = torch.tensor(SIZES)[which]
    number = (torch.rand(count, generator=rng) / size).floor()
    return 1 - number * size, size


@torch.no_grad()
def walked(velocity: Velocity, x: Tensor, t: Tensor, size: Tensor, steps: int = WALK) -> Tensor:
    """The mean velocity of the path from t to t - size by the midpoint rule, `(b, l, c)`."""
    wide = lambda value: value[:, None, None]  # noqa: E731
    begin, h = x, size / steps
    for i in range(steps):
        now = t - i * h
        middle = x - wide(h / 2) * velocity(x, now)
        x = x - wide(h) * velocity(middle, now - h / 2)
    return (begin - x) / wide(size)


def image_jump(
    network: UnifiedScoreNetwork,
    teacher: UnifiedScoreNetwork,
    x_0: Tensor,
    known: list[list[int]],
    rng: torch.Generator,
) -> Tensor:
    """Mean squared error of jumps."""
    t, size = leaps(len(x_0), rng)
    x_t, _ = noised(x_0, t, rng)
    with torch.no_grad():
        denoise = image_denoiser(teacher, known, DEFAULT_GUIDANCE)
        target = walked(lambda x, at: (x - denoise(x, at)) / at[:, None, None], x_t, t, size)
    said = encode_captions(network, known)
    places = {"image": positions_after(said.after)}
    cond = {"image": said.pooled}
    made = network.flow({"image": x_t}, {"image": t}, places, said.cache, {"image": size}, cond, **said.slot)
    return (made["image"].float() - target).square().mean()


def audio_jump(
    network: UnifiedScoreNetwork, teacher: UnifiedScoreNetwork, batch: Batch, rng: torch.Generator
) -> Tensor:
    """Mean squared error of jumps where something is said."""
    t, size = leaps(len(batch.x_0), rng)
    x_t, _ = noised(batch.x_0, t, rng)
    target = walked(say(teacher, batch, batch.voice), x_t, t, size)
    return batch.error(say(network, batch, batch.voice, size)(x_t, t), target)


def text_jump(
    network: UnifiedScoreNetwork, teacher: UnifiedScoreNetwork, rows: Rows, rng: torch.Generator
) -> Tensor:
    """Kullback-Leibler divergence, nats per masked token: from what the teacher believes after two
    evaluations, half of a jump's tokens drawn in between (the surest of each block), to what the network
    believes after one.
    """
    width = BLOCKS[int(torch.randint(len(BLOCKS), (), generator=rng))]
    block = blocks_of(rows, width)
    noise = draw_noise(rows, block, rng, leftmost=0.0)
    masked, noisy = noise.masked, covered(rows, noise)
    _, size = leaps(len(rows), rng)

    def believed(one: UnifiedScoreNetwork, seen: Tensor, **sizes: Tensor) -> Tensor:
        hidden, _ = read_twice(one, rows, block, seen, **sizes)
        return one.heads["text"](hidden[masked]).float()

    with torch.no_grad():
        first, how = believed(teacher, noisy), Sampling()
        chances = truncate(first, how.temperature, how.top_p).softmax(-1)
        guess = noisy.masked_scatter(masked, torch.multinomial(chances, 1, generator=rng))
        sure = torch.full(masked.shape, -1.0).masked_scatter(masked, first.softmax(-1).amax(-1))
        early = masked & (rank_within(noise.group, sure) < (size * width / 2).floor()[:, None])
        second = believed(teacher, torch.where(early, guess, noisy))
        wanted = torch.where(early[masked][:, None], first, second).log_softmax(-1)
    sizes = torch.cat([size[:, None].expand(noisy.shape), torch.zeros(noisy.shape)], 1)
    own = believed(network, noisy, step_size=sizes).log_softmax(-1)
    return F.kl_div(own, wanted, reduction="none", log_target=True).sum(-1).mean()


def train_shortcut(data: Path, out: Path, steps: int = 320) -> None:
    """`bowstring train shortcut`: goes on from the result of `bowstring train senses`."""
    console, before = Console(), out.parent / "senses" / "model"
    network, words, metadata = load_model(before)
    teacher = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    network.train().requires_grad_()
    utterances = spoken(data)
    speech, table, _ = load_speech(before / "speech.parquet")
    pictures, tokens = build_tokens(data, out.parent / "image-tokens", None)
    coder = ResidualCoder(speech, table)
    drawn = image_batches(pictures, tokens, words, ImageLearning(rows=16, seed=1))
    read = speech_batches(utterances, coder, rows=16, seed=1)
    sources: dict[str, Source] = {
        "image jump": lambda one, step: image_jump(one, teacher, *drawn(step)),
        "audio jump": lambda one, step: audio_jump(one, teacher, read(step), draw(71, step)),
        "image": image_source(pictures, tokens, words, ImageLearning(seed=2)),
        "audio": speech_source(utterances, coder, seed=2),
        "text": replay(data, words, seed=3),
        "text jump": reread(data, words, lambda one, rows, _, rng: text_jump(one, teacher, rows, rng), 4),
    }
    turns = Turns(CYCLE, steps, rate=4e-4, warm_up=20, constant=0.3, weights=(("text", 2.0),))
    if not run_turns(turns, network, sources, out, console):
        raise ValueError(f"{out} holds a finished training; choose another --out to train anew")
    said = metadata.model_dump(include={"blocks", "context"}) | {"distilled": True}
    save_model(out / "model", network.eval(), words, **said)
    carry_over(before, out / "model")
    console.print(f"model written to {out / 'model'}")
