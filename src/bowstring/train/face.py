"""The avatar head: a new modality learned with the trunk frozen, from phonemes and their times.

Its targets are the motions that `face.animate` makes of the teacher's exact times. The tokens of the face lie
on the clock of speech and look at its noisy tokens; speech does not look at the face, so nothing that was
learned before can change. Shapes: b utterances, l tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.conditioning import Conditioning, visible
from ..face.animate import animate, loudness
from ..face.codec import FaceCodec
from ..face.weights import save_face
from ..joint.sampling import attention_mask
from ..nn.heads.speech import SpeechHead
from ..nn.network import UnifiedScoreNetwork
from ..speech.alignment import spans_of
from ..speech.baseline import ResidualCoder
from ..speech.source_filter import HOP, RATE, Frames
from ..speech.voice import voice_of
from ..speech.weights import load_speech
from ..text.weights import load_model, save_model
from ..weights.layout import FACE, SPEECH, carry_over, find
from ..weights.placement import placed
from .joint.run import training_utterances, well_voiced
from .joint.shortcut import draw_shortcuts
from .loop import Source, add_noise, logit_normal, run_tasks, step_generator
from .progress import tell
from .schedule import Run, TaskSchedule
from .speech.flow import SPEECH_TIMES, TrainingUtterance, batch_of

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


def train_face(data: Path, run: Run, steps: int = 120) -> None:
    """`bowstring train face`: goes on from the result of `train shortcut`, or else of `train multimodal`."""
    made = [run.out.parent / name / "model" for name in ("shortcut", "multimodal")]
    before = next((folder for folder in made if folder.exists()), made[-1])
    network, words, metadata = load_model(before)
    speech, table, _ = load_speech(find(before, SPEECH))
    utterances = well_voiced(training_utterances(data))
    motions = [face_motion(one, seed) for seed, one in enumerate(utterances)]
    voices = [voice_of(one.frames) for one in utterances]
    examples = [
        (face, one.phonemes, one.durations, voice)
        for face, one, voice in zip(motions, utterances, voices, strict=True)
    ]
    codec = FaceCodec.fit_faces(motions)
    coder = ResidualCoder.fit(codec, examples)
    faces = [torch.from_numpy(coder.encode(*one)) for one in examples]
    torch.manual_seed(2)
    head = network.add_head("avatar")
    head.std.copy_(torch.cat(faces).std(0))
    network.requires_grad_(requires_grad=False)
    head.requires_grad_()
    sources = {"face": face_source(utterances, faces, voices, ResidualCoder(speech, table))}
    network = placed(network, run.device)
    run_tasks(TaskSchedule(((1.0, ("face",)),), steps, rate=4e-3, warm_up=20), network, sources, run)
    out = run.out
    save_model(out / "model", network.cpu().eval(), words, **metadata.settings())
    carry_over(before, out / "model")
    save_face(out / "model" / FACE, codec, coder.table)
    tell(f"model written to {out / 'model'}")
