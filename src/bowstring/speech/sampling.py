"""How text is spoken: phonemes, their durations, noisy tokens that become clean, and a waveform.

Shapes: b = 1 utterance at a time, p phonemes, l tokens of 64 ms. Long texts are spoken sentence by sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..core.conditioning import Conditioning
from ..core.loop import Denoise, State, iterate
from ..core.options import real, settle, whole
from ..core.options import seed as checked_seed
from ..core.process import Gaussian, Schedule, falling, linear, rectified
from ..core.rng import Rng
from ..core.samplers.continuous import flow_update, single
from ..core.threads import one_thread
from ..nn.heads.speech import SpeechHead
from ..nn.network import UnifiedScoreNetwork
from .alignment import SECONDS, Span, phoneme_ids, spans_of, token_count, told
from .codec import AUDIO_CHANNELS
from .g2p import PAUSES, Word

PROCESS = Gaussian(linear, rectified)
LONGEST = 96  # tokens that are spoken at once
SHORTEST = 0.5  # frames of a sound
TEMPERATURE = 0.0  # what has the fewest words wrong so far


@dataclass(frozen=True)
class SpeechSampling:
    """How to speak: steps of the flow, speed (2 is twice as fast), seed, and temperature, the share of the
    noise that speech starts from: less of it is closer to what is said on average, steady and dull.

    Raises:
        ValueError: a value out of its range.
    """

    steps: int = 8
    speed: float = 1.0
    seed: int = 0
    temperature: float = TEMPERATURE

    def __post_init__(self) -> None:
        settle(
            self,
            steps=whole(self.steps, "steps", 1, 1000),
            speed=real(self.speed, "speed", 0.5, 2, advice="1 is usual, 2 twice as fast"),
            seed=checked_seed(self.seed),
            temperature=real(self.temperature, "temperature", 0, 1),
        )


@dataclass(frozen=True)
class Utterance:
    """What is about to be said: words, phonemes and their durations in frames of 8 ms."""

    words: tuple[Word, ...]
    phonemes: np.ndarray
    owners: np.ndarray
    durations: np.ndarray

    @property
    def tokens(self) -> int:
        return token_count(self.durations)

    @property
    def frames(self) -> int:
        """Whole frames of 8 ms that it takes: what sound and face are cut by."""
        return round(float(self.durations.sum()))

    def spans(self, begin: float = 0.0) -> tuple[list[Span], list[Span]]:
        """Times of words and of phonemes, the first token starting at `begin`."""
        phonemes = spans_of(self.phonemes, self.durations * SECONDS, begin)
        words = []
        for number, word in enumerate(self.words):
            here = np.flatnonzero(self.owners == number)
            if len(here) and word.text not in PAUSES:
                words.append(Span(word.text, phonemes[here[0]].start, phonemes[here[-1]].end))
        return words, phonemes


def head_of(network: UnifiedScoreNetwork) -> SpeechHead:
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead)
    return head


@torch.no_grad()
@one_thread()
def predict_durations(
    network: UnifiedScoreNetwork, words: Sequence[Word], voice: Tensor, speed: float
) -> Utterance:
    """Words with the durations that the network gives their phonemes; voice is `(1, 103)`."""
    ids, owners = phoneme_ids([*words])
    here = network.device
    log = head_of(network).duration(torch.tensor([ids], device=here), voice.to(here))[0]
    durations = log.float().exp().clamp(min=SHORTEST).cpu().numpy().astype(np.float64) / speed
    return Utterance(tuple(words), np.array(ids), np.array(owners), durations)


def clauses(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words cut after the ends of sentences, and after commas where a sentence is long."""
    part: list[Word] = []
    for word in words:
        part.append(word)
        phonemes = sum(len(w.phonemes) for w in part)
        if word.text in ".!?…" or (word.text in ",;:—" and phonemes > 40) or phonemes > 75:
            yield part
            part = []
    if part:
        yield part


@torch.no_grad()
@one_thread()
def speech_condition(network: UnifiedScoreNetwork, utterance: Utterance, voice: Tensor) -> Tensor:
    """What the tokens of an utterance are told, `(1, l, d)`."""
    ids, progress = told(utterance.phonemes, utterance.durations)
    own = (torch.from_numpy(ids)[None], torch.from_numpy(progress)[None], voice)
    return head_of(network).condition(*(part.to(network.device) for part in own))


def speech_denoiser(
    network: UnifiedScoreNetwork, utterance: Utterance, voice: Tensor, step_size: float = 0.0
) -> Denoise:
    """The denoiser of the tokens of an utterance, x `(1, l, 96)`."""
    conditioning = Conditioning(added={0: speech_condition(network, utterance, voice)})
    position = torch.arange(float(utterance.tokens), device=network.device)[None]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        sizes = {"audio": torch.full_like(t, step_size)} if step_size else None
        velocity = network.flow({"audio": x}, {"audio": t}, {"audio": position}, sizes, conditioning)["audio"]
        return x - t[:, None, None] * velocity

    return denoise


@torch.no_grad()
def sample_speech(
    network: UnifiedScoreNetwork,
    utterance: Utterance,
    voice: Tensor,
    how: SpeechSampling,
    number: int = 0,
    schedule: Schedule = linear,
) -> Iterator[State]:
    """States from noise to an utterance's tokens, the noise first; `number` tells parts of a text apart.
    Noise falls by the schedule; shortcuts were learned for the linear one.
    """
    rng = Rng.of(how.seed, 1, number, network.device)
    step_size = network.shortcut_step_size(how.steps) if schedule is linear else 0.0
    denoise = speech_denoiser(network, utterance, voice, step_size)
    noise = PROCESS.prior(rng.fork(2), utterance.tokens, AUDIO_CHANNELS)
    begin = State.begin(how.temperature * noise)
    yield begin
    step = single(denoise, flow_update(PROCESS, step_size))
    yield from iterate(step, begin, falling(how.steps, schedule), rng)
