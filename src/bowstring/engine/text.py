"""The engine writes and encodes texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, Unpack, overload

import numpy as np

from ..core.cancel import Cancel
from ..core.options import either
from ..core.options import text as checked_text
from ..decode.tries import outcome, seeds, tilted_by, token_energies, tried
from ..energy.steering import Judge
from ..memory.embed import encode
from ..text.options import MAX_TOKENS, Sampling
from ..text.pipeline import TextFrame, TextPipeline, deltas
from ..text.request import TextOptions, TextRequest
from ..text.result import TextResult
from .guided import GuidedModel
from .steered import with_pipeline


class TextEngine(GuidedModel):
    """A model that writes."""

    def encode(self, sentences: str | Sequence[str]) -> np.ndarray:
        """Unit vectors that stand for what texts mean, `(384,)` for a string, `(n, 384)` for several, by the
        encoder that ships; every model gives the same. Of a text longer than its context all windows count.

        Raises:
            TypeError: not text. ValueError: no text.
        """
        return encode(sentences)

    @overload
    def generate(  # type: ignore[overload-overlap]  # 1 is an int, too
        self,
        prompt: str,
        mode: str = ...,
        kind: str = ...,
        *,
        n: Literal[1] = 1,
        **options: Unpack[TextOptions],
    ) -> TextResult: ...
    @overload
    def generate(
        self,
        prompt: str | Sequence[str],
        mode: str = ...,
        kind: str = ...,
        *,
        n: int = 1,
        **options: Unpack[TextOptions],
    ) -> list[TextResult]: ...
    def generate(
        self,
        prompt: str | Sequence[str],
        mode: str = "auto",
        kind: str = "text",
        *,
        n: int = 1,
        max_tokens: int = MAX_TOKENS,
        min_tokens: int = 0,
        stop: str | Sequence[str] = (),
        block: int = 4,
        steps: int | None = None,
        order: str = "leftmost",
        temperature: float = 0.7,
        top_p: float = 0.95,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        num_inference_steps: int | None = None,
        schema: Mapping[str, Any] | None = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        write_back: bool = False,
        energies: Sequence[tuple[Any, float]] = (),
        constraints: Sequence[Judge] = (),
        valid: Judge | None = None,
        retries: int = 0,
        candidates: int = 8,
        choose: str = "resampling",
        cancel: Cancel | None = None,
    ) -> TextResult | list[TextResult]:
        """Writes what the prompt asks for; the result is a string.

        Args:
            prompt: a string, or several; several, and n above 1, make a list: n texts of the first prompt,
                then of the second. Each is what it would be alone.
            mode: "ar" (one token at a time), "diffusion" (blocks unmask), or "auto": the text that "ar"
                writes, which a packed network drafts with masked places where that is faster. `block`,
                `steps` and `order` belong to diffusion; where one of them is given, "auto" is "diffusion".
                The same weights serve all.
            kind: "text" or "code".
            n: texts of every prompt, 1 to 64; the first is what 1 gives.
            max_tokens, min_tokens: bounds of the length in tokens, up to 65,536.
            stop: strings that end the text, which does not hold them.
            block: tokens that are denoised together, 1 to 32. steps: evaluations per block, 1 to 1024;
                None: as many as the model's metadata name.
            order: which places are filled first: confidence, margin, entropy, leftmost or random.
            temperature: 0 (the likeliest token) to 100. top_p: above 0, up to 1. top_k: 0 is off.
            repetition_penalty: above 0, up to 10; above 1, what stands already is less likely. 1 is off.
            seed: 0 to 2**64 - 1; the same seed gives the same text.
            num_inference_steps: another name of steps.
            schema, regex, choices: JSON of a schema, a text that a whole pattern describes, or one of a
                list; the text always is, of packed models in mode "ar".
            adapters: weights by name of those that bend this call; None: the active ones (`load_adapter`).
            memory_guided: whether memories that fit the prompt guide the text; `result.memories` says which.
            write_back: whether the text is remembered, as made by the model.
            energies: pairs of an energy and its weight, lower is better. An array `(v,)` is an energy of
                tokens: the odds of each are exp(-weight * energy) of what they were, wherever it is drawn. A
                function of a text is one of whole texts (`text.energies` has some): of `candidates`, 1 to 64,
                one is taken by `choose`: "resampling", in proportion to exp(-energy), or "metropolis", by a
                chain whose law is the model's times exp(-energy), in the limit of many candidates.
            constraints: functions of a text that must be true of it. valid: a function that says whether a
                text will do; what fails is written again up to `retries` times, at most 32, each time with
                weights twice as strong. `result.tries` has all of them.
            cancel: a `threading.Event` or a function; set or true, it stops within a step.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: a value out of its range,
            a form that cannot be met, an empty or over-long prompt. Cancelled: it was asked to stop.
        """
        frames = self._texts(TextRequest.of(locals()))
        made = [one for one in frames if isinstance(one, TextResult)]
        return made[0] if n == 1 and isinstance(prompt, str) else made

    def stream(
        self,
        prompt: str | Sequence[str],
        mode: str = "auto",
        kind: str = "text",
        *,
        n: int = 1,
        max_tokens: int = MAX_TOKENS,
        min_tokens: int = 0,
        stop: str | Sequence[str] = (),
        block: int = 4,
        steps: int | None = None,
        order: str = "leftmost",
        temperature: float = 0.7,
        top_p: float = 0.95,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        num_inference_steps: int | None = None,
        schema: Mapping[str, Any] | None = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        write_back: bool = False,
        energies: Sequence[tuple[Any, float]] = (),
        constraints: Sequence[Judge] = (),
        valid: Judge | None = None,
        retries: int = 0,
        candidates: int = 8,
        choose: str = "resampling",
        cancel: Cancel | None = None,
    ) -> Iterator[TextFrame | TextResult]:
        """As `generate`, but yields a `TextFrame` after each step, and the `TextResult` at the end; of
        several texts, a frame of each that goes on, and all results at the end.
        """
        return self._texts(TextRequest.of(locals()))

    def stream_text(
        self,
        prompt: str,
        mode: str = "auto",
        kind: str = "text",
        *,
        max_tokens: int = MAX_TOKENS,
        min_tokens: int = 0,
        stop: str | Sequence[str] = (),
        block: int = 4,
        steps: int | None = None,
        order: str = "leftmost",
        temperature: float = 0.7,
        top_p: float = 0.95,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        num_inference_steps: int | None = None,
        schema: Mapping[str, Any] | None = None,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        write_back: bool = False,
        energies: Sequence[tuple[Any, float]] = (),
        constraints: Sequence[Judge] = (),
        valid: Judge | None = None,
        retries: int = 0,
        candidates: int = 8,
        choose: str = "resampling",
        cancel: Cancel | None = None,
    ) -> Iterator[str]:
        """As `generate`, but yields the text in pieces as it is settled: nothing is taken back, no character
        is broken, and all pieces together are the text.
        """
        request = TextRequest.of(locals() | {"prompt": checked_text(prompt, "the prompt")})
        return deltas(self._texts(request), self.tokenizer, request.stop)

    def _texts(self, request: TextRequest) -> Iterator[TextFrame | TextResult]:
        """What every text that is asked for comes through."""
        engine, steps = self.with_adapters(request.adapters), self._steps("text", None, None)
        if request.steering:
            frames = engine._steered(request)
        elif request.memory_guided or request.write_back:
            frames = engine._remembering(request, steps)
        else:
            frames = engine.text_pipeline.stream(request, steps)
        return noted(frames, engine.said) if engine.said else frames

    def _steered(self, request: TextRequest) -> Iterator[TextFrame | TextResult]:
        """Texts that are chosen among candidates, each after its tries; a frame tells the whole text."""
        if request.write_back:
            self._has_memory()
        tilt, steering = token_energies(request.steering, self.network.config.vocab)

        made: list[TextResult] = []
        for one in request.each():
            for seed in seeds(request.seed, request.n):

                def draw(strength: float, seed: int, count: int, one: TextRequest = one) -> list[TextResult]:
                    view = self if tilt is None else self._tilted(strength * tilt)
                    frames = view._texts(replace(one.unsteered(count, seed), adapters={}))
                    return [found for found in frames if isinstance(found, TextResult)]

                last, said = outcome(tried(draw, steering, request.choose, seed, tilted_by(tilt)))
                text = last.but(**said)
                made.append(text)
                canvas, number = np.array(text.tokens), len(made) - 1
                yield TextFrame(canvas, np.ones(len(canvas)), text.nfe, 1.0, number)
                if request.write_back:
                    self._keep(text.text, one.prompts[0], text.memories)
        yield from made

    def _tilted(self, tilt: np.ndarray) -> Self:
        """The engine, for this call, with energies of tokens."""
        return with_pipeline(self, "text", self.text_pipeline.tilted(tilt))

    def _remembering(self, request: TextRequest, steps: int) -> Iterator[TextFrame | TextResult]:
        """Texts that memories guide, prompt after prompt, and that are remembered if they are to be."""
        if request.write_back:
            self._has_memory()
        made: list[TextResult] = []
        for one in request.each():
            prompt = one.prompts[0]
            guidance = self._guidance(prompt, "text", memory_guided=one.memory_guided)
            first = len(made)
            for item in self.text_pipeline.stream(one, steps, guidance.conditioning):
                if isinstance(item, TextFrame):
                    yield replace(item, number=first + item.number)
                    continue
                made.append(item.but(memories=guidance.memories, notes=(*item.notes, *guidance.notes)))
                if one.write_back:
                    self._keep(item.text, prompt, guidance.memories)
        yield from made

    def infill(
        self,
        prefix: str,
        suffix: str,
        length: int | None = None,
        mode: str = "diffusion",
        kind: str | None = None,
        prompt: str = "",
        *,
        steps: int = 16,
        order: str = "leftmost",
        temperature: float = 0.3,
        top_p: float = 0.95,
        top_k: int = 0,
        seed: int = 0,
        num_inference_steps: int | None = None,
        adapters: Mapping[str, float] | None = None,
        cancel: Cancel | None = None,
    ) -> TextResult:
        """Writes the middle between `prefix` and `suffix`, which stay as they are to the last character.

        Args:
            length: tokens of the middle, 1 to 64; None ranks many by one evaluation each and
                keeps the likeliest whole of the best few.
            kind: "text" or "code"; None guesses from the prefix.
            prompt: what the whole is about.
            steps, order, temperature, top_p, top_k, seed, cancel: see `generate`; the middle is one block.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: a value out of its range,
            or sides that leave no room. Cancelled: it was asked to stop.
        """
        steps = either(steps, 16, "steps", num_inference_steps, "num_inference_steps")
        sampling = Sampling(
            mode, steps=steps, order=order, temperature=temperature, top_p=top_p, seed=seed, top_k=top_k
        )
        pipeline = self.with_adapters(adapters).text_pipeline
        return pipeline.infill(prefix, suffix, length, sampling, kind, prompt, cancel)

    @property
    def text_pipeline(self) -> TextPipeline:
        """The part that writes."""
        context, schedule = self.metadata.context, self.schedules["text"]
        return self._part(
            "text",
            lambda: TextPipeline(self.network, self.tokenizer, context, schedule, self.calibrator),
        )


def noted(
    frames: Iterator[TextFrame | TextResult], adapters: Mapping[str, float]
) -> Iterator[TextFrame | TextResult]:
    """A stream whose results tell the adapters that they were made with."""
    for one in frames:
        told = isinstance(one, TextResult)
        yield one.but(settings={**one.settings, "adapters": dict(adapters)}) if told else one  # type: ignore[union-attr]
