"""ArrowEngine: the one object that knows the network, its tokenizer and how each modality is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, Unpack, cast, overload

import numpy as np
import torch

from .core.cancel import Cancel
from .core.files import output_folder, write
from .core.options import choice, either, flag, listed, real, settle
from .core.options import text as checked_text
from .core.options import texts as checked_texts
from .core.options import whole as whole_number
from .face.draw import avatar_output, render_avatar
from .face.weights import load_face
from .grammar.form import requested
from .image.autoencoder import OUTSIDE, ImageAutoencoder
from .image.pipeline import ImageFrame, ImageInputs, ImageOptions, ImagePipeline, checked_style
from .image.result import ImageResult
from .image.sampling import DEFAULT_GUIDANCE, ImageSampling, caption_tokens
from .image.weights import load_autoencoder
from .joint.pipeline import JointPipeline
from .joint.result import JointResult
from .joint.sampling import JointSampling
from .llm.folder import is_imported
from .llm.pipeline import LanguageModel
from .nn.network import UnifiedScoreNetwork
from .speech.baseline import ResidualCoder
from .speech.g2p import G2P
from .speech.pipeline import SpeechFrame, SpeechPipeline, voice_in
from .speech.result import SpeechResult
from .speech.sampling import TEMPERATURE, SpeechSampling
from .speech.vocoder import Vocoder
from .speech.weights import load_speech
from .text.pipeline import (
    ABOUT,
    MOST,
    TextFrame,
    TextOptions,
    TextPipeline,
    as_story,
    deltas,
    whole_sentences,
)
from .text.result import TextResult
from .text.sampling import LONGEST, MAX_TOKENS, Sampling, mode_for, pad_left
from .text.tokenizer import TextTokenizer
from .text.weights import load_model, save_model
from .weights.folder import narrowest, schedules
from .weights.layout import FACE, METADATA, POSTFILTER, SPEECH, carry_over, find
from .weights.metadata import Metadata, read_metadata
from .weights.placement import chosen_device, chosen_dtype, placed
from .weights.shipped import G2P_FOLDER, MULTIMODAL, model_folder

NOT_YET = 'this model has no {0} head, only {1}; ArrowEngine.load("{2}") has all'
SHORT_TEXT = 48  # tokens that `converse` writes
WAYS = ("text", "code", "image", "audio", "avatar")
OWN_OPTIONS = {  # of `diffuse`: its default, and the modalities that have it
    "max_tokens": (MAX_TOKENS, ("text", "code")),
    "style": ("", ("image",)),
    "voice": (None, ("audio", "avatar")),
}
Part = TypeVar("Part")


@dataclass(frozen=True)
class Shown:
    """What `converse` answers with, beside speech and a face."""

    picture: bool
    style: str
    voice: Any
    max_tokens: int

    def __post_init__(self) -> None:
        settle(
            self,
            picture=flag(self.picture, "picture"),
            style=checked_style(self.style),
            max_tokens=whole_number(self.max_tokens, "max_tokens", 1, LONGEST),
        )


class ArrowEngine:
    """Loads a model folder and generates.

    >>> engine = ArrowEngine.load()
    >>> result = engine.generate("a story about a fox", max_tokens=16, seed=1)
    >>> len(result.tokens) <= 16
    True
    """

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        tokenizer: TextTokenizer,
        metadata: Metadata,
        folder: Path | None = None,
    ) -> None:
        """`folder` is where the codecs of other modalities lie; text needs none."""
        self.network, self.tokenizer, self.metadata, self.folder = network, tokenizer, metadata, folder
        self.schedules = schedules(metadata)
        self._parts: dict[str, Any] = {}

    @classmethod
    def load(
        cls,
        folder: Path | str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
    ) -> ArrowEngine:
        """The model in `folder`, one that ships or was imported by its name, or the default one.

        An imported open model comes as a `LanguageModel`, which writes, chats and encodes.

        Args:
            device: "auto" is CUDA where there is a device, else the CPU.
            dtype: "float32" or "bfloat16"; None leaves numbers as they are stored, and makes brain
                floats of packed matrices where their kernels do not run.

        Raises:
            FileNotFoundError: no such model. ValueError: no such device or dtype, or a folder whose parts do
            not fit each other.
        """
        place, numbers = model_folder(folder), None if dtype is None else chosen_dtype(dtype)
        where = chosen_device(device)
        if is_imported(place):
            return cast("ArrowEngine", LanguageModel.load(place))
        network, tokenizer, metadata = load_model(place)
        network = placed(network, where, numbers)
        return cls(network, tokenizer, metadata, place)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: Path | str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
    ) -> ArrowEngine:
        """As `load`."""
        return cls.load(name_or_path, device, dtype)

    def save(self, folder: Path | str) -> Path:
        """Writes the model into a folder that is complete: `load` makes the same engine of it, to the bit.

        Raises:
            OSError: it cannot be written, or is the folder that the model was loaded from.
        """
        folder = output_folder(folder)
        if self.folder is not None and folder.exists() and folder.samefile(self.folder):
            raise FileExistsError(
                f"the model was loaded from {folder}, which is in use; choose another folder"
            )
        save_model(folder, self.network, self.tokenizer, narrowest(self.network), **self.metadata.settings())
        stored = {"quantization": read_metadata(folder).quantization}
        metadata = self.metadata.model_copy(update=stored)  # with schedules and steps of its own
        write(folder / METADATA, (metadata.model_dump_json(indent=1) + "\n").encode())
        if self.folder is not None:
            carry_over(self.folder, folder)
        return folder

    def save_pretrained(self, folder: Path | str) -> Path:
        """As `save`."""
        return self.save(folder)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What this model can make: "text" (code, too), "image", "audio", "avatar"."""
        return tuple(self.metadata.modalities)

    def __repr__(self) -> str:
        name = "" if self.folder is None else f"{self.folder.name!r}, "
        config, bits = self.network.config, self.metadata.bits
        sizes = f"{config.width} x {config.depth}, {bits} bits"
        return f"ArrowEngine({name}{', '.join(self.modalities)}; {sizes})"

    def __deepcopy__(self, memo: dict[int, Any]) -> ArrowEngine:
        """Another engine with weights of its own."""
        return ArrowEngine(deepcopy(self.network, memo), self.tokenizer, self.metadata, self.folder)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an engine is not pickled: its weights are mapped files. Give the other process the name or the "
            "folder of the model, and let it call ArrowEngine.load"
        )

    def encode(self, sentences: str | Sequence[str]) -> np.ndarray:
        """Unit vectors that stand for texts, `(d,)` for a string and `(n, d)` for several: mean hidden
        states. Of a text longer than the context all windows count, each token as much as another.

        Raises:
            TypeError: not text. ValueError: an empty text.
        """
        texts = checked_texts(sentences, "sentences")
        if not texts:
            raise ValueError("there are no texts to encode; give a string or a list of strings")
        size, device = self.metadata.context, self.network.device
        rows = [self.text_pipeline.tokens(one, "text to encode") for one in texts]
        windows = [(i, row[k : k + size]) for i, row in enumerate(rows) for k in range(0, len(row), size)]
        total = torch.zeros(len(rows), self.network.config.width, device=device)
        for first in range(0, len(windows), MOST):
            owners, part = zip(*windows[first : first + MOST], strict=True)
            total.index_add_(0, torch.tensor(owners, device=device), self._hidden_sums(part))
        unit = torch.nn.functional.normalize(total, dim=-1).cpu().numpy()
        return unit[0] if isinstance(sentences, str) else unit

    @torch.no_grad()
    def _hidden_sums(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Sums of the hidden states of rows of tokens, `(b, d)`."""
        tokens, valid = pad_left(rows, self.network.device)
        hidden, _ = self.network.prefill(tokens, (valid.cumsum(1) - 1).clamp(min=0).float(), valid)
        return (hidden.float() * valid[..., None]).sum(1)

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
            cancel: a `threading.Event` or a function; set or true, it stops within a step.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: a value out of its range,
            a form that cannot be met, an empty or over-long prompt. Cancelled: it was asked to stop.
        """
        asked = (block, steps, num_inference_steps, order)
        steps = self._steps("text", steps, num_inference_steps)
        numbers = (seed, top_k, repetition_penalty, min_tokens)
        sampling = Sampling(
            mode_for(mode, asked), max_tokens, block, steps, order, temperature, top_p, *numbers
        )
        prompts = checked_texts(prompt, "the prompt")
        wanted = requested(schema, regex, choices)
        frames = self.text_pipeline.stream(prompts, kind, sampling, n, stop, cancel, wanted)
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
        cancel: Cancel | None = None,
    ) -> Iterator[TextFrame | TextResult]:
        """As `generate`, but yields a `TextFrame` after each step, and the `TextResult` at the end; of
        several texts, a frame of each that goes on, and all results at the end.
        """
        asked = (block, steps, num_inference_steps, order)
        steps = self._steps("text", steps, num_inference_steps)
        numbers = (seed, top_k, repetition_penalty, min_tokens)
        sampling = Sampling(
            mode_for(mode, asked), max_tokens, block, steps, order, temperature, top_p, *numbers
        )
        prompts = checked_texts(prompt, "the prompt")
        wanted = requested(schema, regex, choices)
        return self.text_pipeline.stream(prompts, kind, sampling, n, stop, cancel, wanted)

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
        cancel: Cancel | None = None,
    ) -> Iterator[str]:
        """As `generate`, but yields the text in pieces as it is settled: nothing is taken back, no character
        is broken, and all pieces together are the text.
        """
        asked = (block, steps, num_inference_steps, order)
        steps = self._steps("text", steps, num_inference_steps)
        numbers = (seed, top_k, repetition_penalty, min_tokens)
        sampling = Sampling(
            mode_for(mode, asked), max_tokens, block, steps, order, temperature, top_p, *numbers
        )
        prompts = (checked_text(prompt, "the prompt"),)
        wanted = requested(schema, regex, choices)
        frames = self.text_pipeline.stream(prompts, kind, sampling, 1, stop, cancel, wanted)
        return deltas(frames, self.tokenizer, stop)

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
        cancel: Cancel | None = None,
    ) -> TextResult:
        """Writes the middle between `prefix` and `suffix`, which stay as they are to the last character.

        Args:
            length: tokens of the middle, 1 to 64; None tries several and keeps the likeliest whole.
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
        return self.text_pipeline.infill(prefix, suffix, length, sampling, kind, prompt, cancel)

    @overload
    def diffuse(
        self, prompt: str, modality: Literal["text", "code"] = "text", *given: Any, **options: Any
    ) -> TextResult: ...
    @overload
    def diffuse(
        self, prompt: str, modality: Literal["image", "audio"], *given: Any, **options: Any
    ) -> np.ndarray: ...
    @overload
    def diffuse(
        self, prompt: str, modality: Literal["avatar"], *given: Any, **options: Any
    ) -> JointResult: ...
    def diffuse(
        self,
        prompt: str,
        modality: str = "text",
        num_steps: int = 4,
        guidance_scale: float = DEFAULT_GUIDANCE,
        memory_guided: bool = True,  # noqa: FBT001  the specification's order
        *,
        seed: int = 0,
        max_tokens: int = MAX_TOKENS,
        style: str = "",
        voice: Any = None,
        cancel: Cancel | None = None,
    ) -> TextResult | np.ndarray | JointResult:
        """Diffusion of any modality this model has, in the field's names: text or code goes on from the
        prompt, a picture shows it, speech says it, an avatar says it with a face.

        Args:
            modality: "text" or "code" (a `TextResult`, which is a string), "image" (`(512, 512, 3)` bytes),
                "audio" (`(s,)` in -1..1 at 24 kHz) or "avatar" (a `JointResult`).
            num_steps: evaluations per block of text, or steps of the flow, 1 to 1000.
            guidance_scale: w of classifier-free guidance, 0 to 20, 1 = off. Only pictures were trained
                without prompts; elsewhere it does nothing, and the result's notes say so.
            memory_guided: whether memories guide; an engine without a memory is guided by none.
            max_tokens: of text and code. style: of pictures. voice: of speech and avatars.

        Raises:
            ValueError: a modality that the model has no head for, an option that another one has, or a value
            out of its range. Cancelled: it was asked to stop.

        >>> ArrowEngine.load().diffuse("a story about a fox", "text", num_steps=4, max_tokens=16)
        TextResult(...)
        """
        modality = choice(modality, "modality", WAYS)
        own = {"max_tokens": max_tokens, "style": style, "voice": voice}
        for name, (default, where) in OWN_OPTIONS.items():
            if own[name] is not default and modality not in where:
                raise ValueError(f"{name} is an option of {listed(where)}; modality is {modality!r}")
        real(guidance_scale, "guidance_scale", 0, 20, advice="1 is off")
        notes = self._ignored(modality, guidance_scale, memory_guided=flag(memory_guided, "memory_guided"))
        match modality:
            case "image":
                return self.image(
                    prompt, style=style, cfg_scale=guidance_scale, steps=num_steps, seed=seed, cancel=cancel
                ).image
            case "audio":
                return self.say(prompt, voice, steps=num_steps, seed=seed, cancel=cancel).audio
            case "avatar":
                made = self.converse(
                    prompt, prompt, picture=False, voice=voice, steps=num_steps, seed=seed, cancel=cancel
                )
                return replace(made, notes=(*made.notes, *notes))
            case _:
                written = self.generate(
                    prompt,
                    "diffusion",
                    modality,
                    max_tokens=max_tokens,
                    steps=num_steps,
                    seed=seed,
                    cancel=cancel,
                )
                return written.but(notes=notes)

    @staticmethod
    def _ignored(modality: str, guidance_scale: float, *, memory_guided: bool) -> tuple[str, ...]:
        """What `diffuse` was asked for and does not do, as notes."""
        notes = []
        if modality != "image" and guidance_scale != 1:
            notes.append(f"guidance_scale does nothing: {modality} was not trained without prompts")
        if memory_guided:
            notes.append("no memory guided this: the engine has none")
        return tuple(notes)

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
            cancel: a `threading.Event` or a function; set or true, it stops within a step.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: a value out of its range,
            or a model without pictures. Cancelled: it was asked to stop.
        """
        inputs = ImageInputs(prompt, style, negative_prompt, start, mask, strength, size)
        steps = self._steps("image", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = ImageSampling(steps, cfg_scale, sampler, shift, seed)
        made = [one for one in self._painted(inputs, sampling, n, cancel) if isinstance(one, ImageResult)]
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
        cancel: Cancel | None = None,
    ) -> Iterator[ImageFrame | ImageResult]:
        """As `image`, but yields an `ImageFrame` of the first picture after each step, then the results."""
        inputs = ImageInputs(prompt, style, negative_prompt, start, mask, strength, size)
        steps = self._steps("image", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        return self._painted(inputs, ImageSampling(steps, cfg_scale, sampler, shift, seed), n, cancel)

    def _painted(
        self, inputs: ImageInputs, sampling: ImageSampling, n: int, cancel: Cancel | None
    ) -> Iterator[ImageFrame | ImageResult]:
        self._has("image")
        for prompt in filter(None, (inputs.prompt, inputs.negative_prompt)):
            self.text_pipeline.prompt(prompt, "text")
        return self.image_pipeline.stream(inputs, sampling, n, cancel)

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
            num_inference_steps: another name of steps.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: nothing to say, a
            recording without speech, a value out of its range, or a model without speech. Cancelled: it was
            asked to stop.
        """
        steps = self._steps("audio", steps, num_inference_steps)
        *_, result = self._spoken(text, voice, SpeechSampling(steps, speed, seed, temperature), cancel)
        assert isinstance(result, SpeechResult)
        return result

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
        cancel: Cancel | None = None,
    ) -> Iterator[SpeechFrame | SpeechResult]:
        """As `say`, but yields sound as soon as it can be heard, then the whole, which is all of it."""
        steps = self._steps("audio", steps, num_inference_steps)
        return self._spoken(text, voice, SpeechSampling(steps, speed, seed, temperature), cancel)

    def _spoken(
        self, text: str, voice: Any, sampling: SpeechSampling, cancel: Cancel | None
    ) -> Iterator[SpeechFrame | SpeechResult]:
        self._has("audio")
        matched, notes = voice_in(voice)
        text = checked_text(text, "the text")
        return self.speech_pipeline.stream(text, matched, sampling, notes, cancel)

    def converse(
        self,
        prompt: str,
        text: str | None = None,
        *,
        picture: bool = True,
        style: str = "",
        voice: Any = None,
        max_tokens: int = SHORT_TEXT,
        steps: int | None = None,
        speed: float = 1.0,
        cfg_scale: float = DEFAULT_GUIDANCE,
        seed: int = 0,
        closing: bool = True,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        cancel: Cancel | None = None,
    ) -> JointResult:
        """Answers with text, speech, a face and a picture, on one clock.

        The text comes first, a story if a thing is named; speech, face and picture are then made together,
        one evaluation a step for all.

        Args:
            text: what to say; by default the model writes it, of at most `max_tokens` tokens.
            picture: whether to paint what the prompt asks for, in `style`, guided by `cfg_scale`.
            closing: whether the lips meet in every p, b and m, exactly.
            voice, steps, speed, seed, cancel: see `say`. cfg_scale, guidance_scale: see `image`.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: nothing to say, a value
            out of its range, or a model without speech or face. Cancelled: it was asked to stop.
        """
        steps = self._steps("audio", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = JointSampling(steps, speed, cfg_scale, seed, closing)
        shown = Shown(picture, style, voice, max_tokens)
        *_, result = self._answered(prompt, text, shown, sampling, cancel)
        assert isinstance(result, JointResult)
        return result

    def converse_stream(
        self,
        prompt: str,
        text: str | None = None,
        *,
        picture: bool = True,
        style: str = "",
        voice: Any = None,
        max_tokens: int = SHORT_TEXT,
        steps: int | None = None,
        speed: float = 1.0,
        cfg_scale: float = DEFAULT_GUIDANCE,
        seed: int = 0,
        closing: bool = True,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[TextFrame | TextResult | ImageFrame | SpeechFrame | JointResult]:
        """As `converse`, but yields every step of the writing and of the picture, and the sound in parts."""
        steps = self._steps("audio", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = JointSampling(steps, speed, cfg_scale, seed, closing)
        return self._answered(prompt, text, Shown(picture, style, voice, max_tokens), sampling, cancel)

    def _answered(
        self, prompt: str, text: str | None, shown: Shown, sampling: JointSampling, cancel: Cancel | None
    ) -> Iterator[TextFrame | TextResult | ImageFrame | SpeechFrame | JointResult]:
        """Checks what was asked for, then gives the stream."""
        for modality in ("audio", "avatar", *(["image"] if shown.picture else [])):
            self._has(modality)
        self.text_pipeline.prompt(prompt, "text")
        if text is not None:
            checked_text(text, "the text")
        return self._answering(prompt, text, shown, sampling, voice_in(shown.voice), cancel)

    def _answering(
        self,
        prompt: str,
        text: str | None,
        shown: Shown,
        sampling: JointSampling,
        voice: tuple[np.ndarray | None, tuple[str, ...]],
        cancel: Cancel | None,
    ) -> Iterator[TextFrame | TextResult | ImageFrame | SpeechFrame | JointResult]:
        matched, notes = voice
        if text is None:
            for frame in self.stream(
                as_story(prompt), max_tokens=shown.max_tokens, seed=sampling.seed, cancel=cancel
            ):
                yield frame
                if isinstance(frame, TextResult):
                    text = whole_sentences(frame.text)
        assert text is not None
        subject, asked = prompt.removeprefix(ABOUT), {"prompt": prompt, "style": shown.style}
        caption = caption_tokens(self.tokenizer, subject, shown.style) if shown.picture else None
        yield from self.joint_pipeline.stream(text, caption, matched, sampling, asked, notes, cancel)

    def render_avatar(
        self,
        text: str,
        path: Path | str,
        side: int = 256,
        *,
        voice: Any = None,
        steps: int | None = None,
        speed: float = 1.0,
        seed: int = 0,
        closing: bool = True,
        cancel: Cancel | None = None,
    ) -> Path:
        """Says a text with a face, and draws the face into a file: .mp4 with the sound, .gif, or .png as a
        strip. side: pixels, 16 to 2048; the other options are those of `converse`.

        Raises:
            ImportError: a film without the package av. ValueError: another ending, or no avatar head.
        """
        path, side = avatar_output(path, side)
        made = self.converse(
            text,
            text,
            picture=False,
            voice=voice,
            steps=steps,
            speed=speed,
            seed=seed,
            closing=closing,
            cancel=cancel,
        )
        return render_avatar(made.face, path, side, made.audio)

    def _part(self, name: str, build: Callable[[], Part]) -> Part:
        """A part that is made when it is first needed. Two threads may both make it, and both get the one
        that was first there; no lock can be held while a process forks.
        """
        return self._parts[name] if name in self._parts else self._parts.setdefault(name, build())

    @property
    def text_pipeline(self) -> TextPipeline:
        """The part that writes."""
        context, schedule = self.metadata.context, self.schedules["text"]
        return self._part("text", lambda: TextPipeline(self.network, self.tokenizer, context, schedule))

    @property
    def image_pipeline(self) -> ImagePipeline:
        """The part that paints; its autoencoder is read when it is first needed."""
        return self._part("image", self._image)

    def _image(self) -> ImagePipeline:
        return ImagePipeline(self.network, self.tokenizer, self._autoencoder(), self.schedules["image"])

    def _autoencoder(self) -> ImageAutoencoder:
        return load_autoencoder(self._place()).to(self.network.device)

    @property
    def speech_pipeline(self) -> SpeechPipeline:
        """The part that speaks; its codec and dictionary are read when they are first needed."""
        return self._part("audio", self._speech)

    def _speech(self) -> SpeechPipeline:
        codec, table, voice = load_speech(find(self._place(), SPEECH))
        vocoder = Vocoder.load(find(self._place(), POSTFILTER))
        coder = ResidualCoder(codec, table)
        return SpeechPipeline(self.network, G2P(G2P_FOLDER), coder, voice, vocoder, self.schedules["audio"])

    @property
    def joint_pipeline(self) -> JointPipeline:
        """The part that speaks with a face and paints meanwhile."""
        return self._part("joint", self._joint)

    def _joint(self) -> JointPipeline:
        image = self.image_pipeline if "image" in self.network.heads else None
        face = ResidualCoder(*load_face(find(self._place(), FACE)))
        return JointPipeline(self.speech_pipeline, image, face, self.schedules)

    def _place(self) -> Path:
        """The folder that codecs lie in."""
        if self.folder is None:
            raise ValueError("this engine was made without a folder, so it has no codecs; load it from one")
        return self.folder

    def _steps(self, modality: str, steps: int | None, alias: int | None) -> int:
        """The steps that were asked for by either name, or those that the model's metadata name."""
        self._has(modality)
        given = either(steps, None, "steps", alias, "num_inference_steps")
        return self.metadata.scheduler(modality).num_inference_steps if given is None else given

    def _has(self, modality: str) -> None:
        if modality in self.modalities:
            return
        raise ValueError(NOT_YET.format(modality, listed(self.modalities, "and"), MULTIMODAL.name))
