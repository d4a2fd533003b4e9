"""How long sounds last, taught anew: the head's small networks of durations alone, trunk and flow of speech
left as they are. A head that only expected durations learns to draw them as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ...nn.heads.speech import DurationFlow, SpeechHead
from ...nn.network import UnifiedScoreNetwork
from ...text.weights import load_model, save_model
from ...weights.folder import narrowest
from ...weights.tensors import round_module
from ..loop import apply_gradients, noise_like, set_rate, step_generator, training_steps
from ..progress import TrainingLog, tell
from ..schedule import Moment, Run, warm_up_share
from .flow import VOICE_NOISE, TrainingUtterance, spoken_batches, timed_phonemes, timing_loss

STEPS, RATE, WARM_UP = 1500, 2e-3, 30


def fit_durations(
    network: UnifiedScoreNetwork, utterances: Sequence[TrainingUtterance], run: Run, steps: int = STEPS
) -> Iterator[tuple[Moment, float]]:
    """Trains in place, yielding (moment, error of the logarithm of durations); goes on from `run.out`."""
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead)
    if head.duration_flow is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(41)
            head.duration_flow = DurationFlow()
        network.config = replace(network.config, duration_flow=1)
    parts = torch.nn.ModuleList([head.duration, head.duration_flow])
    learns = parts.requires_grad_(requires_grad=True).to(run.device)
    optimiser = (torch.optim.AdamW(learns.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.01),)
    draw = spoken_batches(utterances)
    for moment in training_steps(steps, run, learns, optimiser):
        set_rate(optimiser, RATE * warm_up_share(moment, steps, WARM_UP) * (1 - 0.97 * moment.share))
        spoken, voices = draw(moment.step)
        phonemes, log_duration = (part.to(run.device) for part in timed_phonemes(spoken))
        voice = torch.from_numpy(np.stack(voices)).to(run.device)
        rng = step_generator(41, moment.step)
        voice = voice + VOICE_NOISE * noise_like(voice, rng)
        loss = timing_loss(head, phonemes, log_duration, voice, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learns.parameters(), 1.0)
        apply_gradients(optimiser)
        yield moment, loss.item()
    learns.cpu().requires_grad_(requires_grad=False)


def train_durations(data: Path, run: Run, before: Path) -> None:
    """Writes the model `before` with durations taught anew to `run.out/model`."""
    from ..joint.run import training_utterances

    network, tokenizer, metadata = load_model(before)
    with TrainingLog(run) as log:
        for moment, loss in fit_durations(network, training_utterances(data), run):
            log.add(moment, {"loss": loss}, f"{loss:.3f}", "durations")
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead) and head.duration_flow is not None
    round_module(head.duration)
    round_module(head.duration_flow)
    shutil.copytree(before, run.out / "model", dirs_exist_ok=True)
    save_model(run.out / "model", network.eval(), tokenizer, narrowest(network), **metadata.settings())
    tell(f"model written to {run.out / 'model'}")
