"""Few steps: the network learns steps of a given size from many small ones of its frozen self; without a step
size it stays as it was.

A shortcut step of size d from time t is the mean velocity of the teacher's path from t to t - d. The
rollout of pictures is guided, so a shortcut needs one evaluation and no unguided twin. A shortcut of text
is a share d of a block.
Sources: shortcut models (Frans et al. 2024, arXiv 2410.12557), the target coming from a teacher that stays;
self-distillation through time (Deschenaux and Gulcehre 2024, arXiv 2410.21035).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.samplers.masked import truncate
from ...image.sampling import DEFAULT_GUIDANCE, encode_captions, image_denoiser, positions_after
from ...nn.network import UnifiedScoreNetwork
from ...text.sampling import Sampling
from ..image.flow import ImageRecipe, image_batches, image_source
from ..loop import Source, add_noise, run_tasks, step_generator
from ..schedule import Run, TaskSchedule
from ..speech.flow import Batch, Velocity, speech_batches, speech_source, speech_velocity
from ..text.losses import blocks_of, draw_noise, masked_tokens, paired_hidden, rank_within
from ..text.packing import Rows
from .multimodal import JointData, recall_source, replay_source

SHORTCUT_CYCLE = (
    *("image shortcut", "audio shortcut", "text", "text shortcut", "image shortcut", "text"),
    *("image", "audio shortcut", "text", "text shortcut", "audio"),
)
BLOCK_SIZES = (4, 8, 16)  # tokens of a block of text
STEP_SIZES = (0.25, 0.5, 1.0)  # of shortcuts, and how often each is learned
STEP_SIZE_SHARES = (0.6, 0.25, 0.15)
ROLLOUT_STEPS = 3  # steps of second order that the teacher takes for a shortcut


def draw_shortcuts(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Start times and step sizes of shortcuts, `(count,)` each: every shortcut of a size is as likely."""
    which = torch.multinomial(torch.tensor(STEP_SIZE_SHARES), count, replacement=True, generator=rng)
    size = torch.tensor(STEP_SIZES)[which]
    number = (torch.rand(count, generator=rng) / size).floor()
    return 1 - number * size, size


@torch.no_grad()
def teacher_rollout(
    velocity: Velocity, x: Tensor, t: Tensor, size: Tensor, steps: int = ROLLOUT_STEPS
) -> Tensor:
    """The mean velocity of the path from t to t - size by the midpoint rule, `(b, l, c)`."""
    wide = lambda value: value[:, None, None]  # noqa: E731
    begin, h = x, size / steps
    for i in range(steps):
        now = t - i * h
        middle = x - wide(h / 2) * velocity(x, now)
        x = x - wide(h) * velocity(middle, now - h / 2)
    return (begin - x) / wide(size)


def image_shortcut_loss(
    network: UnifiedScoreNetwork,
    teacher: UnifiedScoreNetwork,
    x_0: Tensor,
    prompts: list[list[int]],
    rng: torch.Generator,
) -> Tensor:
    """Mean squared error of shortcuts."""
    x_0 = x_0.to(network.device)
    t, size = (part.to(network.device) for part in draw_shortcuts(len(x_0), rng))
    x_t, _ = add_noise(x_0, t, rng)
    with torch.no_grad():
        denoise = image_denoiser(teacher, prompts, DEFAULT_GUIDANCE)
        target = teacher_rollout(lambda x, at: (x - denoise(x, at)) / at[:, None, None], x_t, t, size)
    caption = encode_captions(network, prompts)
    places = {"image": positions_after(caption.after)}
    made = network.flow({"image": x_t}, {"image": t}, places, {"image": size}, caption.conditioning)
    return (made["image"].float() - target).square().mean()


def audio_shortcut_loss(
    network: UnifiedScoreNetwork, teacher: UnifiedScoreNetwork, batch: Batch, rng: torch.Generator
) -> Tensor:
    """Mean squared error of shortcuts where there is speech."""
    batch = batch.to(network.device)
    t, size = (part.to(network.device) for part in draw_shortcuts(len(batch.x_0), rng))
    x_t, _ = add_noise(batch.x_0, t, rng)
    target = teacher_rollout(speech_velocity(teacher, batch, batch.voice), x_t, t, size)
    return batch.error(speech_velocity(network, batch, batch.voice, size)(x_t, t), target)


def text_shortcut_loss(
    network: UnifiedScoreNetwork, teacher: UnifiedScoreNetwork, rows: Rows, rng: torch.Generator
) -> Tensor:
    """Kullback-Leibler divergence, nats per masked token: from what the teacher believes after two
    evaluations, half of a shortcut's tokens drawn in between (the surest of each block), to what the network
    believes after one.
    """
    width = BLOCK_SIZES[int(torch.randint(len(BLOCK_SIZES), (), generator=rng))]
    block = blocks_of(rows, width)
    noise = draw_noise(rows, block, rng, leftmost=0.0).to(network.device)
    masked, noisy = noise.masked, masked_tokens(rows, noise)
    size = draw_shortcuts(len(rows), rng)[1].to(network.device)

    def believed(one: UnifiedScoreNetwork, seen: Tensor, **sizes: Tensor) -> Tensor:
        hidden, _ = paired_hidden(one, rows, block, seen, **sizes)
        return one.heads["text"](hidden[masked]).float()

    with torch.no_grad():
        first, how = believed(teacher, noisy), Sampling()
        chances = truncate(first, how.temperature, how.top_p).softmax(-1)
        guess = noisy.masked_scatter(
            masked, torch.multinomial(chances.cpu(), 1, generator=rng).to(network.device)
        )
        sure = torch.full(masked.shape, -1.0, device=masked.device).masked_scatter(
            masked, first.softmax(-1).amax(-1)
        )
        early = masked & (rank_within(noise.group, sure) < (size * width / 2).floor()[:, None])
        second = believed(teacher, torch.where(early, guess, noisy))
        wanted = torch.where(early[masked][:, None], first, second).log_softmax(-1)
    sizes = torch.cat([size[:, None].expand(noisy.shape), torch.zeros(noisy.shape, device=noisy.device)], 1)
    own = believed(network, noisy, step_size=sizes).log_softmax(-1)
    return F.kl_div(own, wanted, reduction="none", log_target=True).sum(-1).mean()


def shortcut_schedule(steps: int) -> TaskSchedule:
    return TaskSchedule(
        ((1.0, SHORTCUT_CYCLE),), steps, rate=4e-4, warm_up=20, constant=0.3, weights=(("text", 2.0),)
    )


def shortcut_sources(
    data: JointData, teacher: UnifiedScoreNetwork, text_teacher: UnifiedScoreNetwork
) -> dict[str, Source]:
    """The losses of shortcuts, `teacher` being the network as it was, and of what is not to be forgotten."""
    drawn = image_batches(data.pictures, data.latents, ImageRecipe(rows=16, seed=1))
    read = speech_batches(data.utterances, data.coder, rows=16, seed=1, speaker=data.speaker)
    return {
        "image shortcut": lambda one, step: image_shortcut_loss(one, teacher, *drawn(step)),
        "audio shortcut": lambda one, step: audio_shortcut_loss(
            one, teacher, read(step), step_generator(71, step)
        ),
        "image": image_source(data.pictures, data.latents, ImageRecipe(seed=2)),
        "audio": speech_source(data.utterances, data.coder, seed=2, speaker=data.speaker),
        "text": recall_source(data.corpus, text_teacher, seed=3),
        "text shortcut": replay_source(
            data.corpus, lambda one, rows, _, rng: text_shortcut_loss(one, teacher, rows, rng), 4
        ),
    }


def run_shortcut(
    network: UnifiedScoreNetwork,
    text_teacher: UnifiedScoreNetwork,
    data: JointData,
    run: Run,
    steps: int = 320,
) -> UnifiedScoreNetwork:
    """Trains to the end; both networks lie on the run's device."""
    teacher = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    run_tasks(shortcut_schedule(steps), network, shortcut_sources(data, teacher, text_teacher), run)
    return network.cpu()
