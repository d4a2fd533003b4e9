"""How text is spoken: phonemes, their durations, noisy tokens that become clean, and a waveform.

Shapes: b = 1 utterance at a time, p phonemes, l tokens of 64 ms. Long texts are spoken sentence by sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.conditioning import Conditioning
from ..core.loop import Denoise, State, iterate, last
from ..core.process import Gaussian, Schedule, falling, linear, rectified
from ..core.rng import Rng
from ..core.samplers.continuous import flow_update, single
from ..core.threads import one_thread
from ..core.trace import FlowTrace
from ..nn.heads.speech import OFF, DurationFlow, SpeechHead
from ..nn.network import UnifiedScoreNetwork
from .alignment import told
from .codec import AUDIO_CHANNELS
from .g2p import Word
from .utterance import SpeechSampling, Utterance, timed

PROCESS = Gaussian(linear, rectified)
DURATION_STEPS = 8  # of a network of 0.1 M weights


def head_of(network: UnifiedScoreNetwork) -> SpeechHead:
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead)
    return head


@torch.no_grad()
@one_thread()
def predict_durations(
    network: UnifiedScoreNetwork, words: Sequence[Word], voice: Tensor, how: SpeechSampling, number: int = 0
) -> Utterance:
    """Words with the durations that the network gives their phonemes; voice is `(1, 103)` or longer. At
    temperature 0 they are what is expected; `number` tells parts of a text apart.
    """
    head, here, rng = (
        head_of(network),
        network.device,
        Rng.of(how.seed, 1, number, network.device).fork(4),
    )  # 2 is of speech, 3 of the face

    def predict(ids: list[int]) -> np.ndarray:
        sounds, heard = torch.tensor([ids], device=here), voice.to(here)
        log = head.duration(sounds, heard).float()
        if head.duration_flow is not None and how.temperature:
            log = log + sampled_lengthening(head.duration_flow, sounds, heard, how.temperature, rng)
        return log[0].cpu().numpy()

    return timed(words, predict, how.speed)


def sampled_lengthening(
    flow: DurationFlow, sounds: Tensor, voice: Tensor, temperature: float, rng: Rng
) -> Tensor:
    """Logarithms of how much longer than expected sounds last, `(1, p)`: refined from the temperature's share
    of noise in `DURATION_STEPS`, at most by a factor e either way.
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return flow(sounds, voice, x[..., 0], t).float()[..., None]

    begin = State.begin(temperature * PROCESS.prior(rng, sounds.shape[1], 1))
    made = last(
        iterate(single(denoise, flow_update(PROCESS, 0.0)), begin, falling(DURATION_STEPS, linear), rng)
    )
    assert isinstance(made.x, Tensor)
    return (OFF * made.x[..., 0]).clamp(-1, 1)


@torch.no_grad()
@one_thread()
def speech_condition(network: UnifiedScoreNetwork, utterance: Utterance, voice: Tensor) -> Tensor:
    """What the tokens of an utterance are told, `(1, l, d)`."""
    ids, progress = told(utterance.phonemes, utterance.durations)
    own = (torch.from_numpy(ids)[None], torch.from_numpy(progress)[None], voice)
    return head_of(network).condition(*(part.to(network.device) for part in own))


def speech_denoiser(
    network: UnifiedScoreNetwork,
    utterance: Utterance,
    voice: Tensor,
    step_size: float = 0.0,
    trace: FlowTrace | None = None,
) -> Denoise:
    """The denoiser of the tokens of an utterance, x `(1, l, 96)`. One pass per evaluation, which the trace
    notes.
    """
    conditioning = Conditioning(added={0: speech_condition(network, utterance, voice)})
    position = torch.arange(float(utterance.tokens), device=network.device)[None]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        sizes = {"audio": torch.full_like(t, step_size)} if step_size else None
        velocity = network.flow({"audio": x}, {"audio": t}, {"audio": position}, sizes, conditioning)["audio"]
        belief = x - t[:, None, None] * velocity
        if trace is not None:
            trace.take(float(t[0]), belief)
        return belief

    return denoise


@torch.no_grad()
def sample_speech(
    network: UnifiedScoreNetwork,
    utterance: Utterance,
    voice: Tensor,
    how: SpeechSampling,
    number: int = 0,
    schedule: Schedule = linear,
    trace: FlowTrace | None = None,
) -> Iterator[State]:
    """States from noise to an utterance's tokens, the noise first; `number` tells parts of a text apart.
    Noise falls by the schedule; shortcuts were learned for the linear one. The trace notes what tells how
    unsure the speech is.
    """
    rng = Rng.of(how.seed, 1, number, network.device)
    step_size = network.shortcut_step_size(how.steps) if schedule is linear else 0.0
    denoise = speech_denoiser(network, utterance, voice, step_size, trace)
    noise = PROCESS.prior(rng.fork(2), utterance.tokens, AUDIO_CHANNELS)
    begin = State.begin(how.temperature * noise)
    yield begin
    step = single(denoise, flow_update(PROCESS, step_size))
    yield from iterate(step, begin, falling(how.steps, schedule), rng)
