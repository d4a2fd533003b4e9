"""Pictures and speech on one trunk, step by step, text being replayed.

Shapes: n pictures, 64 tokens of 64 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...nn.network import UnifiedScoreNetwork
from ...speech.baseline import ResidualCoder
from ...speech.source_filter import Frames
from ...speech.speaker import SpeakerEncoder
from ..image.flow import CaptionedPicture, ImageRecipe, image_source
from ..loop import Source, run_tasks
from ..schedule import Run, TaskSchedule
from ..speech.flow import TrainingUtterance, speech_source
from ..text.losses import recall_loss
from ..text.packing import Corpus, Rows
from ..text.recipes import text_more_recipe
from ..text.replay import TextLoss, text_source

EARLY_STAGE = ("image", "image", "audio", "image", "image", "text")
# what was learned first is remembered best at low rates
LATE_STAGE = ("audio", "text", "image", "text", "audio", "text", "audio", "image", "text")


@dataclass(frozen=True)
class JointData:
    """What is learned of every modality. latents: `(n, 64, 64)` of the pictures."""

    corpus: Corpus
    utterances: Sequence[TrainingUtterance]
    coder: ResidualCoder[Frames]
    pictures: Sequence[CaptionedPicture]
    latents: Tensor
    speaker: SpeakerEncoder | None = None


def curriculum(late: float = 0.4) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """Mostly pictures, and in the last share of the training everything, four of nine steps being text."""
    return ((1 - late, EARLY_STAGE), (1.0, LATE_STAGE))


def multimodal_schedule(steps: int, *, fresh: bool) -> TaskSchedule:
    """The schedule of a network whose heads are `fresh`, or of one that goes on."""
    late, rate = (0.4, 8e-4) if fresh else (1.0, 6e-4)
    return TaskSchedule(curriculum(late), steps, rate, constant=0.1, weights=(("text", 2.0),), modulation=0.2)


def replay_source(corpus: Corpus, measure: TextLoss, seed: int) -> Source:
    """A loss of the text that was learned."""
    return text_source(corpus, replace(text_more_recipe(), rows=4, seed=seed + 2), measure)


def recall_source(corpus: Corpus, teacher: UnifiedScoreNetwork, seed: int = 0) -> Source:
    """The text that was learned, so that it is not forgotten: what the model of text foretells of it."""

    def forgotten(network: UnifiedScoreNetwork, rows: Rows, size: int, rng: torch.Generator) -> Tensor:
        following, masked = recall_loss(network, teacher, rows, size, rng)
        return following + masked

    return replay_source(corpus, forgotten, seed)


def multimodal_sources(
    data: JointData, text_teacher: UnifiedScoreNetwork, seed: int = 0
) -> dict[str, Source]:
    """The losses of a training of all modalities; `seed` chooses the batches."""
    return {
        "audio": speech_source(data.utterances, data.coder, seed, data.speaker),
        "image": image_source(data.pictures, data.latents, ImageRecipe(seed=seed)),
        "text": recall_source(data.corpus, text_teacher, seed),
    }


def run_multimodal(
    network: UnifiedScoreNetwork,
    text_teacher: UnifiedScoreNetwork,
    data: JointData,
    run: Run,
    steps: int = 3300,
    seed: int = 0,
    *,
    fresh: bool,
) -> UnifiedScoreNetwork:
    """Trains to the end; `seed` chooses the batches: who goes on takes another. Both networks lie on the
    run's device; heads are `fresh` or go on.
    """
    run_tasks(
        multimodal_schedule(steps, fresh=fresh), network, multimodal_sources(data, text_teacher, seed), run
    )
    return network.cpu()
