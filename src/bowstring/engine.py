"""ArrowEngine: the one object that knows the network, its tokenizer and how each modality is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .core.options import choice, flag
from .core.options import text as checked_text
from .core.options import texts as checked_texts
from .face.draw import avatar_output, render_avatar
from .face.weights import load_face
from .image.pipeline import ImageFrame, ImagePipeline, ImageResult
from .image.sampling import STYLES, caption_tokens
from .image.weights import load_autoencoder
from .joint.pipeline import JointPipeline, JointResult
from .joint.sampling import JointSampling
from .nn.network import UnifiedScoreNetwork
from .speech.baseline import ResidualCoder
from .speech.g2p import G2P
from .speech.pipeline import SpeechFrame, SpeechPipeline, SpeechResult, voice_in
from .speech.vocoder import Vocoder
from .speech.weights import load_speech
from .text.pipeline import (
    ABOUT,
    TextFrame,
    TextPipeline,
    TextResult,
    as_story,
    whole,
    whole_sentences,
)
from .text.sampling import pad_left
from .text.tokenizer import TextTokenizer
from .text.weights import load_model
from .weights.layout import FACE, POSTFILTER, SPEECH, find
from .weights.metadata import Metadata
from .weights.placement import chosen_device, chosen_dtype, placed
from .weights.shipped import G2P_FOLDER, model_folder

NOT_YET = "this model has no {0} head; its modalities are {1}"


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

    @classmethod
    def load(
        cls,
        folder: Path | str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
    ) -> ArrowEngine:
        """The model in `folder`, one that ships with the package by its name, or the default one.

        Args:
            device: "auto" is CUDA where there is a device, else the CPU.
            dtype: "float32" or "bfloat16"; None leaves numbers as they are stored, and makes brain
                floats of packed matrices where their kernels do not run.

        Raises:
            FileNotFoundError: no such model. ValueError: no such device or dtype.
        """
        place, numbers = model_folder(folder), None if dtype is None else chosen_dtype(dtype)
        where = chosen_device(device)
        network, tokenizer, metadata = load_model(place)
        network = placed(network, where, numbers)
        return cls(network, tokenizer, metadata, place)

    def encode(self, text: str | Sequence[str]) -> np.ndarray:
        """Unit vectors that stand for texts, `(d,)` for a string and `(n, d)` for several: mean hidden
        states.

        Raises:
            TypeError: not text. ValueError: an empty text.
        """
        texts = checked_texts(text, "the text")
        if not texts:
            raise ValueError("there are no texts to encode; give a string or a list of strings")
        rows = [self.text_pipeline.tokens(one, "text to encode")[: self.metadata.context] for one in texts]
        tokens, valid = pad_left(rows, self.network.device)
        with torch.no_grad():
            hidden, _ = self.network.prefill(tokens, (valid.cumsum(1) - 1).clamp(min=0).float(), valid)
        mean = (hidden.float() * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        unit = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return unit[0] if isinstance(text, str) else unit

    def generate(self, prompt: str, mode: str = "diffusion", kind: str = "text", **how: Any) -> TextResult:
        """Writes what the prompt asks for.

        Args:
            mode: "diffusion" (blocks unmask) or "ar" (one token at a time); the same weights serve both.
            kind: "text" or "code".
            how: fields of `Sampling`.

        Raises:
            TypeError: an unknown option, or a prompt that is no string. ValueError: a value out of range,
            an empty or over-long prompt.
        """
        return whole(self.stream(prompt, mode, kind, **how))

    def stream(
        self, prompt: str, mode: str = "diffusion", kind: str = "text", **how: Any
    ) -> Iterator[TextFrame | TextResult]:
        """As `generate`, but yields a `TextFrame` after each step and the `TextResult` at the end."""
        return self.text_pipeline.stream(prompt, mode, kind, **self._options("text", how))

    @cached_property
    def text_pipeline(self) -> TextPipeline:
        """The part that writes."""
        return TextPipeline(self.network, self.tokenizer, self.metadata.context)

    def infill(
        self,
        prefix: str,
        suffix: str,
        length: int | None = None,
        mode: str = "diffusion",
        kind: str | None = None,
        prompt: str = "",
        **how: Any,
    ) -> TextResult:
        """Writes the middle between `prefix` and `suffix`, which stay as they are to the last character.

        Args:
            length: tokens of the middle; None tries several and keeps the likeliest whole.
            kind: "text" or "code"; None guesses from the prefix.
            prompt: what the whole is about.
            how: fields of `Sampling`.
        """
        options = self._options("text", how)
        return self.text_pipeline.infill(prefix, suffix, length, mode, kind, prompt, **options)

    def diffuse(
        self,
        prompt: str,
        modality: str = "text",
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        memory_guided: bool = False,  # noqa: FBT001
        **how: Any,
    ) -> TextResult | ImageResult | SpeechResult | JointResult:
        """Diffusion of any modality this model has: text goes on from the prompt, a picture shows it, speech
        says it, an avatar says it with a face.

        Args:
            num_steps: evaluations per block of text, or steps of the flow.
            guidance_scale: w of classifier-free guidance, 1 = off; only pictures were trained without
                prompts and have it.

        Raises:
            ValueError: a modality that the model has no head for, or guidance that it cannot give.
        """
        self._has(modality)
        if memory_guided:
            raise ValueError("memory_guided needs a memory, and this engine has none attached")
        given: dict[str, Any] = {} if num_steps is None else {"steps": num_steps}
        if modality == "image":
            return self.image(
                prompt, **given, **({} if guidance_scale is None else {"cfg_scale": guidance_scale}), **how
            )
        if guidance_scale not in (None, 1, 1.0):
            raise ValueError(
                f"guidance_scale is {guidance_scale}; {modality} was not trained without prompts, so only 1 "
                "(off) is offered"
            )
        if modality == "audio":
            return self.say(prompt, **given, **how)
        if modality == "avatar":
            return self.converse(prompt, prompt, picture=False, **given, **how)
        return self.generate(prompt, **given, **how)

    def image(self, prompt: str, **how: Any) -> ImageResult:
        """Paints what the prompt asks for.

        Args:
            how: `style` (noto, flat, fluent, twemoji; none leaves it to the network), `start` (a picture to
                begin from) with `strength` (0..1, how much of it is made new), or with `mask` (true where it
                is painted anew; the rest is kept to the bit), and fields of `ImageSampling`.

        Raises:
            TypeError: an unknown option. ValueError: a value out of range, or a model without pictures.
        """
        *_, result = self.image_stream(prompt, **how)
        assert isinstance(result, ImageResult)
        return result

    def image_stream(self, prompt: str, **how: Any) -> Iterator[ImageFrame | ImageResult]:
        """As `image`, but yields an `ImageFrame` after each step and the `ImageResult` at the end."""
        self._has("image")
        self.text_pipeline.prompt(prompt, "text")
        return self.image_pipeline.stream(prompt, **self._options("image", how))

    @cached_property
    def image_pipeline(self) -> ImagePipeline:
        """The part that paints; its autoencoder is read when it is first needed."""
        assert self.folder is not None
        autoencoder = load_autoencoder(self.folder).to(self.network.device)
        return ImagePipeline(self.network, self.tokenizer, autoencoder)

    def say(self, text: str, voice: Any = None, **how: Any) -> SpeechResult:
        """Speaks a text.

        Args:
            voice: a recording whose voice is matched, about 5 s: a path, samples at 24 kHz, or (samples,
                rate); None is the model's own.
            how: fields of `SpeechSampling`: steps, speed, temperature, seed.

        Raises:
            TypeError: an unknown option. ValueError: nothing to say, a recording without speech, a value out
            of range, or a model without speech.
        """
        *_, result = self.say_stream(text, voice, **how)
        assert isinstance(result, SpeechResult)
        return result

    def say_stream(self, text: str, voice: Any = None, **how: Any) -> Iterator[SpeechFrame | SpeechResult]:
        """As `say`, but yields every part of the text as soon as it can be heard, then the whole."""
        self._has("audio")
        matched, notes = voice_in(voice)
        options = self._options("audio", how)
        return self.speech_pipeline.stream(checked_text(text, "the text"), matched, notes, **options)

    def converse(
        self,
        prompt: str,
        text: str | None = None,
        *,
        picture: bool = True,
        style: str = "",
        **how: Any,
    ) -> JointResult:
        """Answers with text, speech, a face and a picture, on one clock.

        The text comes first, a story if a thing is named; speech, face and picture are then made together,
        one evaluation a step for all.

        Args:
            text: what to say; by default the model writes it.
            picture: whether to paint what the prompt asks for, in `style`.
            how: `max_tokens` of the text, `voice` (a recording to match), `steps`, `speed`, `cfg_scale`,
                `seed`, and `closing` (the lips meet in every p, b and m, exactly).

        Raises:
            TypeError: an unknown option. ValueError: nothing to say, a value out of range, or a model without
            speech or face.
        """
        *_, result = self.converse_stream(prompt, text, picture=picture, style=style, **how)
        assert isinstance(result, JointResult)
        return result

    def converse_stream(
        self,
        prompt: str,
        text: str | None = None,
        *,
        picture: bool = True,
        style: str = "",
        max_tokens: int = 48,
        voice: Any = None,
        **how: Any,
    ) -> Iterator[TextFrame | TextResult | ImageFrame | JointResult]:
        """As `converse`, but yields every step of the writing and of the picture."""
        picture = flag(picture, "picture")
        for modality in ("audio", "avatar", *(["image"] if picture else [])):
            self._has(modality)
        sampling, (matched, notes) = JointSampling(**self._options("audio", how)), voice_in(voice)
        self.text_pipeline.prompt(prompt, "text")
        if style:
            choice(style, "style", STYLES)
        spoken, subject = text, prompt.removeprefix(ABOUT)
        if spoken is None:
            for frame in self.stream(as_story(prompt), max_tokens=max_tokens, seed=sampling.seed):
                yield frame
                if isinstance(frame, TextResult):
                    spoken = whole_sentences(frame.text)
        caption = caption_tokens(self.tokenizer, subject, style) if picture else None
        said = checked_text(spoken, "the text")
        asked = {"prompt": prompt, "style": style}
        yield from self.joint_pipeline.stream(said, caption, matched, sampling, asked, notes)

    @cached_property
    def joint_pipeline(self) -> JointPipeline:
        """The part that speaks with a face and paints meanwhile."""
        assert self.folder is not None
        image = self.image_pipeline if "image" in self.network.heads else None
        return JointPipeline(self.speech_pipeline, image, ResidualCoder(*load_face(find(self.folder, FACE))))

    @cached_property
    def speech_pipeline(self) -> SpeechPipeline:
        """The part that speaks; its codec and dictionary are read when they are first needed."""
        assert self.folder is not None
        codec, table, voice = load_speech(find(self.folder, SPEECH))
        vocoder = Vocoder.load(find(self.folder, POSTFILTER))
        return SpeechPipeline(self.network, G2P(G2P_FOLDER), ResidualCoder(codec, table), voice, vocoder)

    def _options(self, modality: str, given: dict[str, Any]) -> dict[str, Any]:
        """What was given, and the number of steps that the model's metadata name."""
        return {"steps": self.metadata.scheduler(modality).num_inference_steps} | given

    def _has(self, modality: str) -> None:
        if modality not in self.metadata.modalities:
            raise ValueError(NOT_YET.format(modality, self.metadata.modalities))

    def render_avatar(self, text: str, path: Path | str, side: int = 256, **how: Any) -> Path:
        """Says a text with a face, and draws the face into a file: .mp4 with the sound, .gif, or .png as a
        strip. `how` is that of `converse`.

        Raises:
            ImportError: a film without the package av. ValueError: another ending, or no avatar head.
        """
        path, side = avatar_output(path, side)
        made = self.converse(text, text, picture=False, **how)
        return render_avatar(made.face, path, side, made.audio)
