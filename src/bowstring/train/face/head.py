"""The avatar head: a new modality learned with the trunk frozen, from phonemes and their times.

Its targets are the motions that `face.animate` makes of the teacher's exact times. The tokens of the face lie
on the clock of speech and look at its noisy tokens; speech does not look at the face, so nothing that was
learned before can change. Shapes: b utterances, l tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.conditioning import Conditioning, visible
from ...face.animate import animate, loudness
from ...joint.sampling import attention_mask
from ...nn.heads.speech import SpeechHead
from ...nn.network import UnifiedScoreNetwork
from ...speech.alignment import spans_of
from ...speech.baseline import ResidualCoder
from ...speech.source_filter import HOP, RATE, Frames
from ...weights.placement import placed
from ..joint.shortcut import draw_shortcuts
from ..loop import Source, add_noise, logit_normal, run_tasks, step_generator
from ..schedule import Run, TaskSchedule
from ..speech.flow import SPEECH_TIMES, TrainingUtterance, batch_of

FACE_ROWS = 16
SHORTCUT_SHARE = (
    0.3  # share of utterances whose speech takes shortcut steps; the face takes ordinary steps beside it
)


def face_motion(utterance: TrainingUtterance, seed: int) -> np.ndarray:
    """The face that says an utterance, `(f, 52)`."""
    seconds = np.asarray(utterance.durations) * HOP / RATE
    return animate(spans_of(utterance.phonemes, seconds), loudness(utterance.frames.envelope), seed)


def face_loss(
    network: UnifiedScoreNetwork,
    utterances: Sequence[TrainingUtterance],
    faces: Sequence[Tensor],
    voices: Sequence[np.ndarray],
    coder: ResidualCoder[Frames],
    rng: torch.Generator,
) -> Tensor:
    """Error of the face's velocity, speech being as noisy as the face."""
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead)
    batch = batch_of(utterances, voices, coder).to(network.device)
    b, length, _ = batch.x_0.shape
    fit = lambda x: F.pad(x[:length], (0, 0, 0, max(0, length - len(x))))  # noqa: E731
    x_0 = {"audio": batch.x_0, "avatar": torch.stack([fit(face) for face in faces]).to(network.device)}
    t = logit_normal(b, rng, *SPEECH_TIMES).to(network.device)
    size = draw_shortcuts(b, rng)[1] * (torch.rand(b, generator=rng) < SHORTCUT_SHARE)
    size = size.to(network.device)
    pairs = {name: add_noise(x, t, rng) for name, x in x_0.items()}
    x_t, eps = {name: x for name, (x, _) in pairs.items()}, pairs["avatar"][1]
    position = torch.arange(float(length), device=network.device)[None]
    condition = head.condition(batch.slots, batch.progress, batch.voice)
    mask = visible(None, batch.valid.repeat(1, 2)) & attention_mask(
        dict.fromkeys(x_t, length), device=network.device
    )
    conditioning = Conditioning(mask=mask, added={0: condition.repeat(1, 2, 1)})
    velocity = network.flow(
        x_t,
        dict.fromkeys(x_t, t),
        dict.fromkeys(x_t, position),
        dict.fromkeys(x_t, size),
        conditioning,
    )["avatar"]
    return batch.error(velocity, eps - x_0["avatar"])


def face_source(
    utterances: Sequence[TrainingUtterance],
    faces: Sequence[Tensor],
    voices: Sequence[np.ndarray],
    coder: ResidualCoder[Frames],
    seed: int = 3,
) -> Source:
    """Random utterances in the teacher's voice."""

    def loss(network: UnifiedScoreNetwork, step: int) -> Tensor:
        index = np.random.default_rng([seed, step]).integers(len(utterances), size=FACE_ROWS)
        spoken, seen = [utterances[i] for i in index], [faces[i] for i in index]
        return face_loss(
            network, spoken, seen, [voices[i] for i in index], coder, step_generator(seed + 5, step)
        )

    return loss


@dataclass(frozen=True)
class FaceData:
    """Utterances, the coder of their speech, what their faces are beyond what is expected `(l, 40)`, and
    whose voices they are.
    """

    utterances: list[TrainingUtterance]
    coder: ResidualCoder[Frames]
    faces: list[Tensor]
    voices: list[np.ndarray]


def run_face(network: UnifiedScoreNetwork, data: FaceData, run: Run, steps: int = 120) -> UnifiedScoreNetwork:
    """Trains the avatar head of a network in place, and nothing else."""
    network.requires_grad_(requires_grad=False)
    network.heads["avatar"].requires_grad_()
    source = face_source(data.utterances, data.faces, data.voices, data.coder)
    plan = TaskSchedule(((1.0, ("face",)),), steps, rate=4e-3, warm_up=20)
    run_tasks(plan, placed(network, run.device), {"face": source}, run)
    return network.cpu().eval()
