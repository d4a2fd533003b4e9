"""Speech for the trunk: a teacher's voice as tokens with exact times, pseudo-speakers, and the losses.

Shapes: b utterances, p phonemes, l tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.conditioning import Conditioning, visible
from ...nn.heads.speech import OFF, SpeechHead
from ...nn.network import UnifiedScoreNetwork
from ...speech.alignment import told
from ...speech.baseline import ResidualCoder, Told
from ...speech.codec import ROW, SpeechCodec, codec_rows
from ...speech.source_filter import FRAMES, Frames
from ...speech.speaker import SpeakerEncoder, numbers_of_voice
from ...speech.voice import FEWEST, Warp, draw_warp, voice_of, warped
from ..loop import Source, add_noise, logit_normal, noise_like, step_generator

Velocity = Callable[[Tensor, Tensor], Tensor]  # of x at t

MAX_TOKENS = 96  # tokens of an utterance: 6.1 s
SPEECH_TIMES = (
    0.8,
    1.4,
)  # centre and width of the logit of a time: the conditioning says most near pure noise
VOICE_NOISE = 0.15  # added to a voice's numbers, so that any voice is near to a learned one
TIMED_FROM = 0.02  # the least noise on durations in training
HELD_OUT_WARPS = (Warp(0.55, 0.9), Warp(1.25, 1.12))  # two pseudo-speakers that are never drawn


@dataclass(frozen=True)
class TrainingUtterance:
    """phonemes: `(p,)` ids; durations: `(p,)` in frames of 8 ms; frames: the speech; and who spoke, 0
    being the teacher of most of them.
    """

    phonemes: np.ndarray
    durations: np.ndarray
    frames: Frames
    speaker: int = 0


def is_held_out_warp(warp: Warp) -> bool:
    """Whether a pseudo-speaker is too close to one that is kept for judging."""
    return any(
        abs(np.log(warp.pitch / one.pitch)) < 0.06 and abs(np.log(warp.formants / one.formants)) < 0.04
        for one in HELD_OUT_WARPS
    )


def by_speaker(utterances: Iterable[TrainingUtterance]) -> dict[int, list[TrainingUtterance]]:
    """What each speaker says, in the order of the first utterances."""
    of: dict[int, list[TrainingUtterance]] = {}
    for one in utterances:
        of.setdefault(one.speaker, []).append(one)
    return of


def pack_utterances(utterances: Sequence[TrainingUtterance]) -> dict[str, np.ndarray]:
    """All of them laid end to end."""
    frames = [u.frames for u in utterances]
    return {
        "sounds": np.concatenate([u.phonemes for u in utterances]).astype(np.int16),
        "durations": np.concatenate([u.durations for u in utterances]).astype(np.float32),
        "counts": np.array([[len(u.phonemes), len(u.frames)] for u in utterances], np.int32),
        "speakers": np.array([u.speaker for u in utterances], np.int16),
        "pitch": np.concatenate([f.pitch for f in frames]).astype(np.float32),
        "voiced": np.concatenate([f.voiced for f in frames]).astype(np.float16),
        "envelope": np.concatenate([f.envelope for f in frames]).astype(np.float16),
        "noise": np.concatenate([f.noise for f in frames]).astype(np.float16),
    }


def unpack_utterances(a: Mapping[str, np.ndarray]) -> list[TrainingUtterance]:
    """The way back from `pack_utterances`."""
    out, p, f = [], 0, 0
    speakers = a["speakers"].tolist() if "speakers" in a else [0] * len(a["counts"])
    for (phonemes, count), speaker in zip(a["counts"].tolist(), speakers, strict=True):
        s, here = slice(p, p + phonemes), slice(f, f + count)
        parts = (a[name][here].astype(np.float32) for name in ("pitch", "voiced", "envelope", "noise"))
        read = a["sounds"][s].astype(np.int64), a["durations"][s], Frames(*parts)
        out.append(TrainingUtterance(*read, speaker))
        p, f = p + phonemes, f + count
    return out


def warped_utterance(utterance: TrainingUtterance, warp: Warp) -> TrainingUtterance:
    """An utterance by a pseudo-speaker; its frames are read at another speed."""
    frames = warped(utterance.frames, warp)
    count = max(FRAMES, round(len(frames) / warp.speed))
    at = np.clip((np.arange(count) + 0.5) * len(frames) / count - 0.5, 0, len(frames) - 1)
    low = np.minimum(at.astype(int), len(frames) - 2)
    share = (at - low).astype(np.float32)

    def read(values: np.ndarray) -> np.ndarray:
        w = share if values.ndim == 1 else share[:, None]
        return values[low] * (1 - w) + values[low + 1] * w

    moved = Frames(*(read(part) for part in (frames.pitch, frames.voiced, frames.envelope, frames.noise)))
    return TrainingUtterance(
        utterance.phonemes, utterance.durations * count / len(frames), moved, utterance.speaker
    )


@dataclass(frozen=True)
class Batch:
    """x_0 `(b, l, c)` with `valid` `(b, l)`; conditioning by slot; phonemes `(b, p)` and log durations."""

    x_0: Tensor
    valid: Tensor
    slots: Tensor
    progress: Tensor
    voice: Tensor
    phonemes: Tensor
    log_duration: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(getattr(self, field.name).to(device) for field in fields(self)))

    def error(self, made: Tensor, target: Tensor) -> Tensor:
        """Mean squared error of tokens `(b, l, c)` where there is speech."""
        error = (made.float() - target).square().mean(-1)
        return (error * self.valid).sum() / self.valid.sum()


def batch_of(
    utterances: Sequence[TrainingUtterance], voices: Sequence[np.ndarray], coder: ResidualCoder[Frames]
) -> Batch:
    """Utterances side by side, padded with silence that does not count."""
    tokens = [
        torch.from_numpy(coder.encode(u.frames, u.phonemes, u.durations, voice))[:MAX_TOKENS]
        for u, voice in zip(utterances, voices, strict=True)
    ]
    conditioning = [told(u.phonemes, u.durations) for u in utterances]
    length = max(map(len, tokens))
    pad = lambda x: F.pad(x[:length], (0, 0) * (x.ndim - 1) + (0, length - len(x[:length])))  # noqa: E731
    return Batch(
        torch.stack([pad(x) for x in tokens]),
        torch.stack([torch.arange(length) < len(x) for x in tokens]),
        torch.stack([pad(torch.from_numpy(ids)) for ids, _ in conditioning]),
        torch.stack([pad(torch.from_numpy(progress)) for _, progress in conditioning]),
        torch.stack([torch.from_numpy(voice) for voice in voices]),
        *timed_phonemes(utterances),
    )


def timed_phonemes(utterances: Sequence[TrainingUtterance]) -> tuple[Tensor, Tensor]:
    """Phonemes `(b, p)` and logarithms of their durations, NaN behind the end of an utterance."""
    phonemes = [torch.from_numpy(u.phonemes) for u in utterances]
    durations = [torch.from_numpy(np.log(np.maximum(u.durations, 0.25))).float() for u in utterances]
    rows = torch.nn.utils.rnn.pad_sequence
    return rows(phonemes, batch_first=True), rows(durations, batch_first=True, padding_value=float("nan"))


def speech_velocity(
    network: UnifiedScoreNetwork, batch: Batch, voice: Tensor, step_size: Tensor | None = None
) -> Velocity:
    """The velocity of a batch's tokens, x `(b, l, c)` at t `(b,)`, spoken with voices `(b, 103 or 167)`."""
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead)
    added = {0: head.condition(batch.slots, batch.progress, voice)}
    conditioning = Conditioning(mask=visible(None, batch.valid), added=added)
    position = {"audio": torch.arange(float(batch.x_0.shape[1]), device=batch.x_0.device)[None]}
    sizes = None if step_size is None else {"audio": step_size}

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return network.flow({"audio": x}, {"audio": t}, position, sizes, conditioning)["audio"]

    return velocity


def speech_loss(network: UnifiedScoreNetwork, batch: Batch, rng: torch.Generator) -> Tensor:
    """Error of the velocity where there is speech, and of the logarithm of durations."""
    head = network.heads["audio"]
    assert isinstance(head, SpeechHead)
    batch = batch.to(network.device)
    t = logit_normal(len(batch.x_0), rng, *SPEECH_TIMES).to(network.device)
    x_t, eps = add_noise(batch.x_0, t, rng)
    voice = batch.voice + VOICE_NOISE * noise_like(batch.voice, rng)
    flow = batch.error(speech_velocity(network, batch, voice)(x_t, t), eps - batch.x_0)
    return flow + timing_loss(head, batch.phonemes, batch.log_duration, voice, rng)


def timing_loss(
    head: SpeechHead, phonemes: Tensor, log_duration: Tensor, voice: Tensor, rng: torch.Generator
) -> Tensor:
    """Error of the logarithm of durations, NaN where there is no phoneme, and of the flow of what lies beyond
    what is expected.
    """
    spoken = ~log_duration.isnan()
    guess = head.duration(phonemes, voice, spoken).float()
    loss = F.smooth_l1_loss(guess[spoken], log_duration[spoken], beta=0.3)
    if head.duration_flow is None:
        return loss
    beyond = ((log_duration - guess.detach()) / OFF).nan_to_num().clamp(-1 / OFF, 1 / OFF)
    t = (TIMED_FROM + (1 - TIMED_FROM) * torch.rand(len(beyond), generator=rng)).to(beyond.device)
    x_t, _ = add_noise(beyond[..., None], t, rng)
    x_0_hat = head.duration_flow(phonemes, voice, x_t[..., 0], t, spoken).float()
    weight = (head.duration_flow.size(t) / t).square()  # so that the network's part has one size at all t
    return loss + ((x_0_hat - beyond).square() * weight[:, None])[spoken].mean()


Spoken = tuple[list[TrainingUtterance], list[np.ndarray]]  # utterances, and whose voices they are


def speech_batches(
    utterances: Sequence[TrainingUtterance],
    coder: ResidualCoder[Frames],
    rows: int = 36,
    seed: int = 0,
    speaker: SpeakerEncoder | None = None,
) -> Callable[[int], Batch]:
    """What `spoken_batches` draws, as batches."""
    draw = spoken_batches(utterances, rows, seed, speaker)
    return lambda step: batch_of(*draw(step), coder)


def spoken_batches(
    utterances: Sequence[TrainingUtterance],
    rows: int = 36,
    seed: int = 0,
    speaker: SpeakerEncoder | None = None,
) -> Callable[[int], Spoken]:
    """Utterances of about one length by pseudo-speakers; half keep the voice that spoke them. Voices are told
    by their statistics and, with an encoder, by its numbers.
    """
    by_length, of = sorted(utterances, key=lambda one: len(one.frames)), by_speaker(utterances)
    near = min(4 * rows, len(by_length))

    def spoken(step: int) -> Spoken:
        rng = np.random.default_rng([seed, step])
        chosen, voices = [], []
        first = rng.integers(len(by_length) - near + 1)
        for i in first + rng.integers(near, size=rows):
            warp = draw_warp(rng)
            warp = Warp() if rng.random() < 0.5 or is_held_out_warp(warp) else warp
            utterance = warped_utterance(by_length[i], warp)
            same = of[utterance.speaker]
            other = warped_utterance(same[int(rng.integers(len(same)))], warp)
            try:
                # estimated from what the same voice says elsewhere
                voices.append(numbers_of_voice(other.frames, speaker))
            except ValueError:
                voices.append(numbers_of_voice(utterance.frames, speaker))
            chosen.append(utterance)
        return chosen, voices

    return spoken


def speech_source(
    utterances: Sequence[TrainingUtterance],
    coder: ResidualCoder[Frames],
    seed: int = 0,
    speaker: SpeakerEncoder | None = None,
) -> Source:
    """The losses of a step's utterances."""
    batch = speech_batches(utterances, coder, seed=seed, speaker=speaker)
    return lambda network, step: speech_loss(network, batch(step), step_generator(seed + 31, step))


def coder_examples(utterances: Sequence[TrainingUtterance], seed: int = 0) -> Iterator[Told[Frames]]:
    """Every utterance by a pseudo-speaker, a third by the teacher, with the numbers of that voice."""
    rng = np.random.default_rng(seed)
    for utterance in utterances:
        warp = draw_warp(rng)
        one = warped_utterance(utterance, Warp() if rng.random() < 0.33 or is_held_out_warp(warp) else warp)
        if (one.frames.voiced > 0.5).sum() > FEWEST:
            yield one.frames, one.phonemes, one.durations, voice_of(one.frames)


def fit_coder(utterances: Sequence[TrainingUtterance], seed: int = 0) -> ResidualCoder[Frames]:
    """PCA components of utterances and pseudo-speakers, and what their tokens are expected to be."""
    blocks = []
    for frames, *_ in coder_examples(utterances[:600], seed):
        rows = codec_rows(frames)
        blocks.append(rows[: len(rows) // FRAMES * FRAMES].reshape(-1, FRAMES, ROW))
    codec = SpeechCodec.fit_frames(np.concatenate(blocks))
    return ResidualCoder.fit(codec, coder_examples(utterances, seed + 1))
