"""Speech in numpy: the audio head, the flow, the postfilter, each as its twin of torch has it.

Speech begins at the mean of its noise (temperature 0), so no random number is drawn but those of the vocoder.
Shapes: p phonemes, l tokens, f frames of 8 ms, c channels.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..decode.decoder import linear, rms_norm
from ..nn.config import FEW, SLOTS, SOUND_WIDTH, SOUNDS, VOICE
from ..speech.alignment import SECONDS, Span, told
from ..speech.baseline import ResidualCoder
from ..speech.codec import AUDIO_CHANNELS
from ..speech.g2p import G2P
from ..speech.result import SpeechResult
from ..speech.source_filter import HOP, Frames, noise_gated, shaped
from ..speech.stream import ASKED, BINS, DEPTH, LEAD, MOST_GAIN, WIDTH, WINDOW, SoundStream, asked, limited
from ..speech.utterance import SpeechSampling, Utterance, planned, timed
from ..speech.weights import load_speech
from ..weights.arrays import load_arrays
from ..weights.layout import POSTFILTER, SPEECH
from .model import EdgeModel

EPSILON = float(np.finfo(np.float32).eps)
DURATION = 64  # width of the network of durations


class EdgeHead:
    """The audio head of a model, for one voice `(103,)`, or `(167,)` where it listens to a speaker encoder's
    numbers.
    """

    def __init__(self, model: EdgeModel, voice: np.ndarray) -> None:
        self.model, self.voice = model, voice[None].astype(np.float32)
        self.std = model.array("heads.audio.std", AUDIO_CHANNELS)

    def durations(self, ids: list[int]) -> np.ndarray:
        """Logarithms of frames, `(p,)`; see `DurationNetwork`."""
        m, w, place = self.model, DURATION, "heads.audio.duration"
        voice = m.map(self.voice[:, :VOICE], f"{place}.voice", w)
        x = m.array(f"{place}.sound.weight", SOUNDS, w)[ids] + voice
        for i, reach in enumerate((1, 2, 4)):
            near = np.pad(rms_norm(x, np.ones(w, np.float32), EPSILON), ((reach, reach), (0, 0)))
            weight = m.array(f"{place}.layers.{i}.weight", 2 * w, w, 3)
            seen = np.concatenate([near[k * reach : k * reach + len(x)] for k in range(3)], 1)
            flat = weight.transpose(0, 2, 1).reshape(2 * w, 3 * w)
            gate, value = np.split(linear(seen, flat, m.array(f"{place}.layers.{i}.bias", 2 * w)), 2, 1)
            x = x + value / (1 + np.exp(-gate))
        return m.map(x, f"{place}.out", 1)[:, 0]

    def condition(self, utterance: Utterance) -> np.ndarray:
        """What is added to the tokens, `(l, d)`; see `SpeechHead.condition`."""
        m, d = self.model, self.model.config.width
        ids, progress = told(utterance.phonemes, utterance.durations)
        sounds = m.array("heads.audio.sound.weight", SOUNDS, SOUND_WIDTH)[ids]
        both = np.concatenate([sounds, progress], -1).reshape(len(ids), SLOTS * (SOUND_WIDTH + 2))
        voice = self.voice[:, : VOICE + m.config.speaker]
        return m.map(both, "heads.audio.aligned", d) + m.map(voice, "heads.audio.voice", d)

    def denoised(self, x: np.ndarray, t: float, step_size: float, condition: np.ndarray) -> np.ndarray:
        """The belief about x_0, `(l, c)`; see `ContinuousHead`."""
        m, variance = self.model, np.square(self.std)
        size = np.sqrt((1 - t) ** 2 * variance + t**2).astype(np.float32)
        tokens = m.map(x / size, "heads.audio.up", m.config.width)
        tokens = tokens + m.array("heads.audio.modality", m.config.width) + condition
        leave = m.map(m.passed(tokens, t, step_size), "heads.audio.down", AUDIO_CHANNELS)
        velocity = (t * (1 + variance) - variance) / np.square(size) * x + self.std / size * leave
        return (x - t * velocity).astype(np.float32)

    def sampled(self, utterance: Utterance, steps: int) -> np.ndarray:
        """Tokens `(l, c)`: jumps where few steps were distilled, else DPM-Solver++(2M); see
        `core/samplers/continuous.py`.
        """
        step_size = 1 / steps if self.model.knows_jumps and steps <= FEW else 0.0
        condition, times = self.condition(utterance), np.linspace(1, 0, steps + 1)
        x = np.zeros((utterance.tokens, AUDIO_CHANNELS), np.float32)
        before, gap = x, np.inf
        for t, s in pairwise(times):
            x_0 = self.denoised(x, float(t), step_size, condition)
            with np.errstate(divide="ignore"):
                h = np.log((1 - s) / s) - np.log((1 - t) / t) if s else np.inf
            lean = 0.0 if step_size or not np.isfinite(h) else h / (2 * gap)
            ratio = (1 - t) * s / ((1 - s) * t)
            x = s / t * x + (1 - s) * (1 - ratio) * (x_0 + lean * (x_0 - before))
            x, before, gap = x.astype(np.float32), x_0, h
        return x


def gelu(x: np.ndarray) -> np.ndarray:
    """x / 2 (1 + erf(x / sqrt 2)), erf to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26)."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t, total = 1 / (1 + np.float32(0.3275911) * z), np.float32(0)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = (total + np.float32(factor)) * t
    return 0.5 * x * (1 + np.sign(x) * (1 - total * np.exp(-z * z)))


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(1e-5)) * weight + bias


def postfilter_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a `Postfilter` by name."""
    sizes: dict[str, tuple[int, ...]] = {
        "enter": (WIDTH, BINS + ASKED),
        "norm": (WIDTH,),
        "leave": (BINS, WIDTH),
    }
    for i in range(DEPTH):
        sizes |= {f"blocks.{i}.near": (WIDTH, 1, 7), f"blocks.{i}.norm": (WIDTH,)}
        sizes |= {f"blocks.{i}.up": (3 * WIDTH, WIDTH), f"blocks.{i}.down": (WIDTH, 3 * WIDTH)}
    return {f"{name}.weight": size for name, size in sizes.items()} | {
        f"{name}.bias": size[:1] for name, size in sizes.items()
    }


class EdgeVocoder:
    """Makes frames heard, with the postfilter in a file."""

    def __init__(self, path: Path) -> None:
        self.arrays = load_arrays(path, postfilter_shapes(), "cannot be heard")
        self.window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)

    def _parts(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]

    def gains(self, spectrum: np.ndarray, said: np.ndarray) -> np.ndarray:
        """See `Postfilter.gains`, `(f, 257)`."""
        seen = (np.log(np.abs(spectrum) + np.float32(1e-3)) + 3) / 3
        x = linear(np.concatenate([seen, said], 1), *self._parts("enter"))
        for i in range(DEPTH):
            weight, bias = self._parts(f"blocks.{i}.near")
            wide = np.pad(x, ((3, 3), (0, 0)))
            near = bias + sum(wide[k : k + len(x)] * weight[:, 0, k] for k in range(7))
            inside = gelu(
                linear(layer_norm(near, *self._parts(f"blocks.{i}.norm")), *self._parts(f"blocks.{i}.up"))
            )
            x = x + linear(inside, *self._parts(f"blocks.{i}.down"))
        leave = linear(layer_norm(x, *self._parts("norm")), *self._parts("leave"))
        return MOST_GAIN * np.tanh(leave / MOST_GAIN)

    def weighed(self, signal: np.ndarray, said: np.ndarray) -> np.ndarray:
        """See `Postfilter.forward`, `(192 f,)`."""
        count = len(said)
        cut = np.lib.stride_tricks.sliding_window_view(np.pad(signal, (LEAD, WINDOW)), WINDOW)[::HOP][:count]
        spectrum = np.fft.rfft(cut * self.window).astype(np.complex64)
        parts = np.fft.irfft(spectrum * np.exp(self.gains(spectrum, said)), WINDOW).astype(np.float32)
        total = np.zeros((2, (count - 1) * HOP + WINDOW), np.float32)
        for i, part in enumerate(parts * self.window):
            total[:, i * HOP : i * HOP + WINDOW] += part, self.window**2
        whole = (total[0] / np.maximum(total[1], np.float32(1e-2)))[LEAD:]
        return np.pad(whole, (0, max(0, len(signal) - len(whole))))[: len(signal)]

    def heard(self, frames: Frames, train: np.ndarray, white: np.ndarray) -> np.ndarray:
        """See `Vocoder.heard`."""
        signal = shaped(frames, train, white)
        return limited(self.weighed(signal, asked(frames)) if len(frames) else signal)


class EdgeSpeech:
    """Speaks with the model in a folder, by its own voice."""

    def __init__(self, folder: Path, g2p: Path) -> None:
        codec, table, self.voice = load_speech(folder / SPEECH)
        self.coder, self.g2p = ResidualCoder(codec, table), G2P(g2p)
        self.head, self.vocoder = EdgeHead(EdgeModel(folder), self.voice), EdgeVocoder(folder / POSTFILTER)

    def frames(self, part: Utterance, steps: int) -> Frames:
        """What an utterance sounds like."""
        tokens = self.head.sampled(part, steps)
        made = self.coder.decode(tokens, part.phonemes, part.durations, self.voice)
        return noise_gated(made)[: part.frames]

    def say(self, text: str, how: SpeechSampling) -> SpeechResult:
        """As `ArrowEngine.say`.

        Raises:
            ValueError: nothing to say, or a temperature.
        """
        if how.temperature:
            raise ValueError(f"temperature is {how.temperature}; speech is drawn at 0 here")
        sentence, sound = self.g2p.sentence(text), SoundStream(self.vocoder, how.seed)
        parts = planned(sentence.words, lambda words, _: timed(words, self.head.durations, how.speed))
        heard: list[np.ndarray] = []
        spans: tuple[list[Span], list[Span]] = ([], [])
        seconds, begin = [], 0
        for number, part in enumerate(parts):
            clock = time.perf_counter()
            for target, more in zip(spans, part.spans(begin * SECONDS), strict=True):
                target += more
            heard.append(sound.push(self.frames(part, how.steps), last=number + 1 == len(parts)))
            begin += part.frames
            seconds.append(time.perf_counter() - clock)
        whole = (np.concatenate(heard), tuple(spans[0]), tuple(spans[1]), how.steps * len(parts))
        settings = {"text": text, "voice": "own", **asdict(how)}
        return SpeechResult(*whole, tuple(seconds), settings, unspoken=sentence.unspoken)
