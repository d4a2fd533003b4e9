"""The speaker encoder learns who speaks: two utterances of one voice are nearer than those of two voices.

Voices are those of the training data, mixtures of them among them, and pseudo-speakers of each; nothing is
learned from those that are held out. Shapes: b utterances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...speech.source_filter import Frames
from ...speech.speaker import SpeakerEncoder, heard_in, save_speaker
from ...speech.voice import Warp, draw_warp
from ..loop import apply_gradients, set_rate, training_steps
from ..progress import TrainingLog, tell
from ..schedule import CPU, Moment, Run, warm_up_share
from .files import load_utterances
from .flow import TrainingUtterance, by_speaker, is_held_out_warp, warped_utterance
from .voices import is_held_out_voice

SPEAKER_FILE = "speaker.parquet"
STEPS, RATE, WARM_UP = 1500, 2e-3, 50
TOGETHER, WARPED = 48, 0.5  # voices of a step, and the share of them that are pseudo-speakers
FRAMES_HEARD = 300  # at most, of an utterance in training
HISS = 0.3  # spread of what is added to the envelope, in units of its logarithm
SHARPNESS = 12.0  # of the softmax over cosines

Pair = tuple[list[Frames], list[Frames]]


def voice_pairs(
    utterances: Sequence[TrainingUtterance], seed: int = 0
) -> Callable[[int], tuple[Pair, Tensor]]:
    """What a step hears: two pieces of each of some voices, and which voices are the same."""
    of = by_speaker(utterances)
    names = sorted(name for name, some in of.items() if len(some) > 1)

    def draw(step: int) -> tuple[Pair, Tensor]:
        rng = np.random.default_rng([seed, step])
        first, second, voices = list[Frames](), list[Frames](), []
        for number in range(TOGETHER):
            name = names[int(rng.integers(len(names)))]
            warp = draw_warp(rng)
            plain = rng.random() > WARPED or is_held_out_warp(warp)
            a, b = rng.choice(len(of[name]), 2, replace=False)
            for place, which in ((first, a), (second, b)):
                place.append(piece(warped_utterance(of[name][which], Warp() if plain else warp).frames, rng))
            voices.append(name if plain else -1 - number)
        who = torch.tensor(voices)
        return (first, second), who[:, None] == who[None]

    return draw


def piece(frames: Frames, rng: np.random.Generator) -> Frames:
    """A part of an utterance, as another room or microphone might give it."""
    start = int(rng.integers(max(1, len(frames) - FRAMES_HEARD)))
    part = frames[start : start + FRAMES_HEARD]
    tilt = rng.normal() * np.linspace(-0.5, 0.5, part.envelope.shape[1], dtype=np.float32)
    hiss = HISS * rng.random() * rng.normal(size=part.envelope.shape).astype(np.float32)
    return Frames(part.pitch, part.voiced, part.envelope + tilt + hiss, part.noise)


def heard_together(frames: Sequence[Frames]) -> tuple[Tensor, Tensor]:
    """Side by side for the encoder: `(b, f, 55)`, and which frames are real, `(b, f)`."""
    heard = [torch.from_numpy(heard_in(one)) for one in frames]
    valid = [torch.ones(len(one), dtype=torch.bool) for one in heard]
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(heard, batch_first=True), pad(valid, batch_first=True)


def contrast(first: Tensor, second: Tensor, same: Tensor) -> Tensor:
    """Cross-entropy of which second piece `(b, d)` goes with a first one `(b, d)`, and the other way round
    (van den Oord et al. 2018, arXiv 1807.03748); another piece of the same voice, `same (b, b)`, counts as
    neither.
    """
    scores = SHARPNESS * F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).T
    alike = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    scores = scores.masked_fill(alike, -torch.inf)
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def fit_speaker(
    utterances: Sequence[TrainingUtterance], run: Run, steps: int = STEPS
) -> Iterator[tuple[Moment, float, SpeakerEncoder]]:
    """Trains, yielding (moment, loss, encoder); goes on from `run.out`."""
    torch.manual_seed(0)
    encoder = SpeakerEncoder().to(run.device)
    optimiser = (torch.optim.AdamW(encoder.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.02),)
    draw = voice_pairs(utterances)
    for moment in training_steps(steps, run, encoder, optimiser):
        set_rate(optimiser, RATE * warm_up_share(moment, steps, WARM_UP) * (1 - 0.98 * moment.share))
        pair, same = draw(moment.step)
        first, second = (encoder(*(part.to(run.device) for part in heard_together(some))) for some in pair)
        loss = contrast(first, second, same.to(run.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        apply_gradients(optimiser)
        yield moment, loss.item(), encoder


@torch.no_grad()
def recognised(encoder: SpeakerEncoder, utterances: Sequence[TrainingUtterance]) -> float:
    """Share of utterances whose nearest other utterance, by cosine, is of the same voice."""
    told = F.normalize(encoder(*heard_together([one.frames for one in utterances])), dim=-1)
    near = (told @ told.T).fill_diagonal_(-1).argmax(1).tolist()
    speakers = [one.speaker for one in utterances]
    return float(np.mean([speakers[i] == speakers[j] for i, j in enumerate(near)]))


def train_speaker(data: Path, run: Run) -> None:
    """`bowstring train speaker`: writes `run.out/speaker.parquet`.

    Raises:
        FileNotFoundError: no voices were made.
    """
    from ..joint.run import training_utterances

    path = data / "voices.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; make it with `bowstring data voices --download`")
    hidden, encoder = [one for one in load_utterances(path) if is_held_out_voice(one)], None
    with TrainingLog(run) as log:
        for moment, loss, encoder in fit_speaker(training_utterances(data), run):  # noqa: B007
            log.add(moment, {"loss": loss}, f"{loss:.3f}", "speaker")
    assert encoder is not None
    encoder = encoder.to(CPU).eval()
    save_speaker(run.out / SPEAKER_FILE, encoder)
    found = recognised(encoder, hidden)
    tell(f"{found:.0%} of held-out utterances are nearest one of their own voice; {run.out / SPEAKER_FILE}")
