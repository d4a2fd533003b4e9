"""The engine speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.cancel import Cancel
from ..core.options import text as checked_text
from ..decode.tries import candidate_seeds, outcome, tried
from ..energy.steering import Judge, Steering
from ..speech.baseline import ResidualCoder
from ..speech.g2p import G2P
from ..speech.pipeline import SpeechFrame, SpeechPipeline, voice_in
from ..speech.remembered import voice_named
from ..speech.result import SpeechResult
from ..speech.speaker import speaker_beside
from ..speech.utterance import TEMPERATURE, SpeechSampling
from ..speech.vocoder import Vocoder
from ..speech.weights import load_speech
from ..weights.layout import POSTFILTER, SPEECH, find
from ..weights.shipped import G2P_FOLDER
from .adapted import AdaptedModel


class SpeechEngine(AdaptedModel):
    """A model that says texts."""

    def say(
        self,
        text: str,
        voice: Any = None,
        *,
        steps: int | None = None,
        speed: float = 1.0,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        num_inference_steps: int | None = None,
        adapters: Mapping[str, float] | None = None,
        energies: Sequence[tuple[Judge, float]] = (),
        constraints: Sequence[Judge] = (),
        valid: Judge | None = None,
        retries: int = 0,
        candidates: int = 4,
        cancel: Cancel | None = None,
    ) -> SpeechResult:
        """Speaks a text.

        Args:
            voice: a recording whose voice is matched, about 5 s: a path, samples at 24 kHz, or (rate,
                samples); None is the model's own.
            steps: of the flow, 1 to 1000; None: as many as the model's metadata name.
            speed: 0.5 to 2, 2 is twice as fast.
            temperature: 0 to 1, share of the noise that speech starts from; less is steadier and duller.
            seed: 0 to 2**64 - 1; the same seed gives the same sound. cancel: see `image`.
            num_inference_steps: another name of steps. adapters: see `generate`.
            energies: pairs of a function of the result and its weight, lower is better; `speech.energies`
                has level and pace. Of `candidates`, 1 to 64, one is taken in proportion to exp(-energy).
            constraints, valid, retries: see `generate`.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: nothing to say, a
            recording without speech, a value out of its range, or a model without speech. Cancelled: it was
            asked to stop.
        """
        steps = self._steps("audio", steps, num_inference_steps)
        sampling = SpeechSampling(steps, speed, seed, temperature)
        engine, steering = (
            self.with_adapters(adapters),
            Steering(energies, constraints, valid, retries, candidates),
        )

        def draw(strength: float, seed: int, count: int) -> list[SpeechResult]:
            made = []
            for own in candidate_seeds(seed, count):
                *_, result = engine._spoken(text, voice, replace(sampling, seed=own), cancel)
                assert isinstance(result, SpeechResult)
                made.append(result)
            return made

        if not steering:
            return draw(1.0, sampling.seed, 1)[0]
        last, said = outcome(tried(draw, steering, "resampling", sampling.seed))
        return replace(last, **said)

    def say_stream(
        self,
        text: str,
        voice: Any = None,
        *,
        steps: int | None = None,
        speed: float = 1.0,
        temperature: float = TEMPERATURE,
        seed: int = 0,
        num_inference_steps: int | None = None,
        adapters: Mapping[str, float] | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[SpeechFrame | SpeechResult]:
        """As `say`, but yields sound as soon as it can be heard, then the whole, which is all of it."""
        steps = self._steps("audio", steps, num_inference_steps)
        sampling = SpeechSampling(steps, speed, seed, temperature)
        return self.with_adapters(adapters)._spoken(text, voice, sampling, cancel)

    def _spoken(
        self, text: str, voice: Any, sampling: SpeechSampling, cancel: Cancel | None
    ) -> Iterator[SpeechFrame | SpeechResult]:
        self._has("audio")
        matched, notes = self._heard(voice)
        text = checked_text(text, "the text")
        return self.speech_pipeline.stream(text, matched, sampling, notes, cancel)

    def _heard(self, voice: Any) -> tuple[np.ndarray | None, tuple[str, ...]]:
        """The voice in a recording or of a name that is remembered, with notes; see `voice_in`."""
        return voice_in(voice_named(self.memory, voice), self.speech_pipeline.speaker)

    @property
    def speech_pipeline(self) -> SpeechPipeline:
        """The part that speaks; its codec and dictionary are read when they are first needed."""
        return self._part("audio", self._speech)

    def _speech(self) -> SpeechPipeline:
        codec, table, voice = load_speech(find(self._place(), SPEECH))
        vocoder = Vocoder.load(find(self._place(), POSTFILTER))
        coder = ResidualCoder(codec, table)
        parts = self.network, G2P(G2P_FOLDER), coder, voice, vocoder, self.schedules["audio"]
        return SpeechPipeline(*parts, self.calibrator, speaker_beside(self._place(), self.network.config))
