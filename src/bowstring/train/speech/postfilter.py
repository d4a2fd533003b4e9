"""The postfilter: what source and filter make of the network's own frames, brought closer to what the teacher
spoke in the same times.

Shapes: b pieces of f frames, `(b, 192 f)` samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...nn.network import UnifiedScoreNetwork
from ...speech.analysis import analyse
from ...speech.baseline import ResidualCoder
from ...speech.files import resampled
from ...speech.postfilter import Postfilter
from ...speech.sampling import SpeechSampling, Utterance, sample_speech
from ...speech.source_filter import HOP, RATE, Frames, noise_gated, synthesise
from ...speech.stream import asked
from ...weights.placement import placed
from ..loop import apply_gradients, set_rate, step_generator, training_steps
from ..optim import mixed
from ..progress import TrainingLog, tell
from ..schedule import Moment, Run, warm_up_share
from .reading import Reading, as_utterance

LEARNING_RATE, WARM_UP = 2e-3, 50
HELD_OUT_READINGS = 15  # of them only judge
PIECE_FRAMES = 160  # frames
POSTFILTER_ROWS = 16
NETWORK_SHARE = 0.7  # share of pieces that the network spoke; the others went through the codec alone
FLOW_STEPS = (2, 4, 8, 16)  # of the flow, one of them for each sentence
TEMPO = 1.3  # the most that a recording is played faster or slower, pitch and formants with it
SPECTRAL_WINDOWS = (256, 512, 1024, 2048)  # samples of the windows that compare


@dataclass(frozen=True)
class Pair:
    """What source and filter made, `(192 f,)`, from which conditions, `(f, 55)`, and what was meant."""

    made: np.ndarray
    conditions: np.ndarray
    meant: np.ndarray


def aligned_pair(made: Frames, truth: Frames, signal: np.ndarray, seed: int) -> Pair:
    """Frames as they will be heard, with the true pitch, so that harmonics fall on harmonics."""
    count = min(len(made), len(truth), len(signal) // HOP)
    made = noise_gated(replace(made[:count], pitch=truth.pitch[:count], voiced=truth.voiced[:count]))
    return Pair(synthesise(made, seed), asked(made), signal[: count * HOP].astype(np.float32))


def faster(reading: Reading, by: float) -> np.ndarray:
    """A reading played faster; pitch and formants rise with it."""
    return resampled(reading.signal, RATE, round(RATE / by))


@torch.no_grad()
def aligned_pairs(
    readings: Sequence[Reading], network: UnifiedScoreNetwork, coder: ResidualCoder[Frames], voice: np.ndarray
) -> tuple[list[Pair], list[Pair]]:
    """Every reading as the network says it, given its durations; and through the codec alone, half of them
    faster or slower.
    """
    ours, coded = [], []
    own, rng = torch.from_numpy(voice)[None], np.random.default_rng(0)
    for number, reading in enumerate(readings):
        spoken = as_utterance(reading)
        how = SpeechSampling(steps=int(rng.choice(FLOW_STEPS)), seed=number)
        utterance = Utterance((), spoken.phonemes, np.zeros_like(spoken.phonemes), spoken.durations)
        *_, state = sample_speech(network, utterance, own, how)
        assert isinstance(state.x, Tensor)
        made = coder.decode(state.x[0].cpu().numpy(), spoken.phonemes, spoken.durations, voice)
        ours.append(aligned_pair(made, spoken.frames, reading.signal, number))
        by = float(np.exp(rng.uniform(-1, 1) * np.log(TEMPO))) if number % 2 else 1.0
        signal = faster(reading, by)
        frames = spoken.frames if by == 1 else analyse(signal)
        coded.append(aligned_pair(coder.codec.decode(coder.codec.encode(frames)), frames, signal, number))
    return ours, coded


def window_spectra(signal: Tensor, size: int) -> Tensor:
    """Magnitudes of windows of `size` samples, 1 for white noise of variance 1."""
    window = torch.hann_window(size, device=signal.device)
    whole = torch.stft(signal, size, size // 4, window=window, return_complex=True)
    return whole.abs() / window.square().sum().sqrt()


def spectral_distance(made: Tensor, meant: Tensor) -> Tensor:
    """How far spectra are apart, in logarithms and in roots, over windows of several sizes (Yamamoto et al.
    2020, arXiv 1910.11480, with roots for their second term, so that loud frames do not outweigh others).
    """
    total = torch.zeros((), device=made.device)
    for size in SPECTRAL_WINDOWS:
        a, b = window_spectra(made, size), window_spectra(meant, size)
        logs = ((a + 1e-3).log() - (b + 1e-3).log()).abs().mean()
        total = total + logs + 3 * ((a + 1e-6).sqrt() - (b + 1e-6).sqrt()).abs().mean()
    return total / len(SPECTRAL_WINDOWS)


def draw_piece(rng: torch.Generator, ours: Sequence[Pair], coded: Sequence[Pair]) -> Pair:
    """Some frames in a row."""
    some = ours if torch.rand((), generator=rng) < NETWORK_SHARE else coded
    while True:
        one = some[int(torch.randint(len(some), (), generator=rng))]
        if (spare := len(one.conditions) - PIECE_FRAMES) >= 0:
            at = int(torch.randint(spare + 1, (), generator=rng))
            here = slice(at * HOP, (at + PIECE_FRAMES) * HOP)
            return Pair(one.made[here], one.conditions[at : at + PIECE_FRAMES], one.meant[here])


def batch_distance(network: Postfilter, some: Sequence[Pair]) -> Tensor:
    """The distance of pieces of one length."""
    parts = (torch.from_numpy(np.stack(x)) for x in zip(*map(pair_arrays, some), strict=True))
    made, conditions, meant = (part.to(network.window.device) for part in parts)
    return spectral_distance(network(made, conditions), meant)


def pair_arrays(one: Pair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return one.made, one.conditions, one.meant


def fit_postfilter(
    network: Postfilter, ours: Sequence[Pair], coded: Sequence[Pair], steps: int, run: Run
) -> Iterator[tuple[Moment, float]]:
    """Trains in place, yielding (moment, distance); resumes from `run.out`."""
    optimiser = (torch.optim.AdamW(network.parameters(), LEARNING_RATE, betas=(0.8, 0.98)),)
    for moment in training_steps(steps, run, network, optimiser):
        rng = step_generator(97, moment.step)
        fall = 1.5 * (1 - moment.share)
        set_rate(optimiser, LEARNING_RATE * min(warm_up_share(moment, steps, WARM_UP), fall))
        with mixed(network.window.device):
            some = [draw_piece(rng, ours, coded) for _ in range(POSTFILTER_ROWS)]
            loss = batch_distance(network, some)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        apply_gradients(optimiser)
        yield moment, loss.item()


@torch.no_grad()
def mean_distance(network: Postfilter, some: Sequence[Pair]) -> float:
    """Mean distance of whole utterances."""
    return float(np.mean([batch_distance(network, [one]).item() for one in some]))


def run_postfilter(
    readings: Sequence[Reading],
    network: UnifiedScoreNetwork,
    coder: ResidualCoder[Frames],
    voice: np.ndarray,
    run: Run,
    steps: int = 3000,
) -> Postfilter:
    """A postfilter for what this network says, trained on readings; some of them only judge."""
    ours, coded = aligned_pairs(readings, placed(network, run.device), coder, voice)
    torch.manual_seed(4)
    postfilter = Postfilter().to(run.device)
    kept, learned = ours[:HELD_OUT_READINGS], (ours[HELD_OUT_READINGS:], coded[HELD_OUT_READINGS:])
    first = mean_distance(postfilter.eval(), kept)
    with TrainingLog(run) as log:
        for moment, loss in fit_postfilter(postfilter.train(), *learned, steps, run):
            log.add(moment, {"loss": loss}, f"{loss:.3f}", "postfilter")
    tell(f"distance to the teacher {first:.3f} before, {mean_distance(postfilter.eval(), kept):.3f} after")
    return postfilter
