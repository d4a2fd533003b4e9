"""The engine paints pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack, overload

from ..core.cancel import Cancel
from ..core.options import either, whole
from ..decode.tries import outcome, seeds, tried
from ..energy.potential import Energy
from ..energy.steering import Judge, Steering
from ..image.autoencoder import OUTSIDE, ImageAutoencoder, ImageDecoder
from ..image.files import to_png
from ..image.pipeline import MOST, ImageFrame, ImageInputs, ImageOptions, ImagePipeline
from ..image.result import ImageResult
from ..image.sampling import DEFAULT_GUIDANCE, ImageSampling
from ..image.weights import load_autoencoder, load_decoder
from ..memory.conditioner import Guidance
from .guided import Kept
from .steered import summed
from .text import TextEngine


class ImageEngine(TextEngine):
    """A model that paints what a prompt asks for."""

    @overload
    def image(  # type: ignore[overload-overlap]  # 1 is an int, too
        self, prompt: str, *, n: Literal[1] = 1, **options: Unpack[ImageOptions]
    ) -> ImageResult: ...
    @overload
    def image(self, prompt: str, *, n: int, **options: Unpack[ImageOptions]) -> list[ImageResult]: ...
    def image(
        self,
        prompt: str,
        *,
        n: int = 1,
        style: str = "",
        negative_prompt: str = "",
        start: Any = None,
        mask: Any = None,
        strength: float = 0.7,
        size: int = OUTSIDE,
        steps: int | None = None,
        cfg_scale: float = DEFAULT_GUIDANCE,
        sampler: str = "auto",
        shift: float = 1.0,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        write_back: bool = False,
        energies: Sequence[tuple[Energy, float]] = (),
        constraints: Sequence[Judge] = (),
        valid: Judge | None = None,
        retries: int = 0,
        candidates: int = 1,
        cancel: Cancel | None = None,
    ) -> ImageResult | list[ImageResult]:
        """Paints what the prompt asks for.

        Args:
            n: how many, 1 to 64; above 1 they come as a list, and the first is what 1 gives.
            style: noto, flat, fluent or twemoji; none leaves it to the network.
            negative_prompt: what guidance leads away from; it needs cfg_scale above 1.
            start: a picture to begin from: a path, PIL image, array or tensor. strength: how much of it is
                made new, above 0, up to 1.
            mask: true, 1 or bright where `start` is painted anew; the rest is kept to the bit.
            size: pixels along a side, 16 to 512; pictures are made at 512 and scaled down.
            steps: of the flow, 1 to 1000; None: as many as the model's metadata name.
            cfg_scale: w of classifier-free guidance, 0 to 20, 1 = off.
            sampler: "auto" (shortcuts where steps are few and the network has learned them, else dpmpp_2m),
                "ddim", "dpmpp_2m" or "heun". shift: 0.1 to 10; above 1 more steps are spent on noise.
            seed: 0 to 2**64 - 1; the same seed gives the same picture.
            num_inference_steps, guidance_scale: other names of steps and cfg_scale.
            adapters: see `generate`.
            memory_guided: whether memories that fit the prompt guide the picture, where guidance leads to;
                `result.memories` says which. write_back: whether the picture is remembered, as made by the
                model.
            energies: pairs of an energy and its weight, lower is better: differentiable functions of clean
                tokens `(b, 64, 64) -> (b,)`; at every step the belief moves to where they and its variance
                balance, which is exact for Gaussian data.
            constraints: functions of a result that must be true of it; of `candidates`, 1 to 64, one is
                taken of which they are. valid: a function that says whether a picture will do; what fails is
                painted again up to `retries` times, with energies twice as strong. `result.tries` has all.
            cancel: a `threading.Event` or a function; set or true, it stops within a step.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: a value out of its range,
            or a model without pictures. Cancelled: it was asked to stop.
        """
        inputs = ImageInputs(prompt, style, negative_prompt, start, mask, strength, size)
        steps = self._steps("image", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = ImageSampling(steps, cfg_scale, sampler, shift, seed)
        kept = Kept(memory_guided, write_back)
        steering = Steering(energies, constraints, valid, retries, candidates)
        engine = self.with_adapters(adapters)
        if steering:
            made = engine._steered_pictures(inputs, sampling, n, kept, steering, cancel)
        else:
            frames = engine._painted(inputs, sampling, n, kept, cancel)
            made = [one for one in frames if isinstance(one, ImageResult)]
        return made[0] if n == 1 else made

    def image_stream(
        self,
        prompt: str,
        *,
        n: int = 1,
        style: str = "",
        negative_prompt: str = "",
        start: Any = None,
        mask: Any = None,
        strength: float = 0.7,
        size: int = OUTSIDE,
        steps: int | None = None,
        cfg_scale: float = DEFAULT_GUIDANCE,
        sampler: str = "auto",
        shift: float = 1.0,
        seed: int = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        write_back: bool = False,
        cancel: Cancel | None = None,
    ) -> Iterator[ImageFrame | ImageResult]:
        """As `image`, but yields an `ImageFrame` of the first picture after each step, then the results."""
        inputs = ImageInputs(prompt, style, negative_prompt, start, mask, strength, size)
        steps = self._steps("image", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = ImageSampling(steps, cfg_scale, sampler, shift, seed)
        kept = Kept(memory_guided, write_back)
        return self.with_adapters(adapters)._painted(inputs, sampling, n, kept, cancel)

    def _steered_pictures(
        self,
        inputs: ImageInputs,
        sampling: ImageSampling,
        n: int,
        kept: Kept,
        steering: Steering,
        cancel: Cancel | None,
    ) -> list[ImageResult]:
        """Pictures that obey, each after its tries."""
        judged, asked = replace(steering, energies=()), Kept(kept.memory_guided, write_back=False)

        def draw(strength: float, seed: int, count: int) -> list[ImageResult]:
            own, energy = replace(sampling, seed=seed), summed(steering.energies, strength)
            frames = self._painted(inputs, own, count, asked, cancel, energy)
            return [one for one in frames if isinstance(one, ImageResult)]

        made = []
        for seed in seeds(sampling.seed, whole(n, "n", 1, MOST)):
            drawn = None if steering.energies else (lambda _: 0.0)  # tokens, which are no more, had them
            last, said = outcome(tried(draw, judged, "resampling", seed, drawn))
            made.append(replace(last, **said))
            if kept.write_back:
                picture = to_png(last.image, {})
                self._keep(f"a picture of: {inputs.prompt}", inputs.prompt, last.memories, picture)
        return made

    def _painted(
        self,
        inputs: ImageInputs,
        sampling: ImageSampling,
        n: int,
        kept: Kept,
        cancel: Cancel | None,
        energy: Energy | None = None,
    ) -> Iterator[ImageFrame | ImageResult]:
        self._has("image")
        for prompt in filter(None, (inputs.prompt, inputs.negative_prompt)):
            self.text_pipeline.prompt(prompt, "text")
        if kept.write_back:
            self._has_memory()
        guidance = self._guidance(inputs.prompt, "image", memory_guided=kept.memory_guided)
        frames = self.image_pipeline.stream(
            inputs, sampling, n, cancel, guidance.notes, guidance.conditioning, energy
        )
        return self._remembered(frames, guidance, inputs.prompt, kept)

    def _remembered(
        self, frames: Iterator[ImageFrame | ImageResult], guidance: Guidance, prompt: str, kept: Kept
    ) -> Iterator[ImageFrame | ImageResult]:
        """Results that say which memories guided them, and that are remembered if they are to be."""
        for one in frames:
            if isinstance(one, ImageResult):
                one = replace(one, memories=guidance.memories)
                if kept.write_back:
                    self._keep(f"a picture of: {prompt}", prompt, guidance.memories, to_png(one.image, {}))
            yield one

    @property
    def image_pipeline(self) -> ImagePipeline:
        """The part that paints; its decoder is read with it, the encoder when it is first needed."""
        return self._part("image", self._image)

    def _image(self) -> ImagePipeline:
        schedule = self.schedules["image"]
        parts = self.network, self.tokenizer, self._decoder(), self._autoencoder, schedule
        return ImagePipeline(*parts, self.calibrator)

    def _decoder(self) -> ImageDecoder:
        return load_decoder(self._place()).to(self.network.device)

    def _autoencoder(self) -> ImageAutoencoder:
        return load_autoencoder(self._place()).to(self.network.device)
