"""The engine answers with text, speech, a face and a picture on one clock."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.cancel import Cancel
from ..core.options import either, flag, settle
from ..core.options import text as checked_text
from ..core.options import whole as whole_number
from ..face.draw import as_portrait, avatar_output, render_avatar
from ..face.portrait import Landmarks
from ..face.weights import load_face
from ..image.pipeline import ImageFrame, checked_style
from ..image.sampling import DEFAULT_GUIDANCE, caption_tokens
from ..joint.pipeline import JointPipeline
from ..joint.result import JointResult
from ..joint.sampling import JointSampling
from ..joint.writing import WrittenText
from ..memory.conditioner import NO_GUIDANCE
from ..memory.record import Guide
from ..speech.baseline import ResidualCoder
from ..speech.pipeline import SpeechFrame
from ..text.options import LONGEST, Sampling
from ..text.pipeline import ABOUT, TextFrame, as_story, whole_sentences
from ..text.request import TextRequest
from ..text.result import TextResult
from ..weights.layout import FACE, find
from .image import ImageEngine
from .speech import SpeechEngine

SHORT_TEXT = 48  # tokens that `converse` writes


@dataclass(frozen=True)
class Shown:
    """What `converse` answers with, beside speech and a face."""

    picture: bool
    style: str
    voice: Any
    max_tokens: int
    memory_guided: bool = False

    def __post_init__(self) -> None:
        settle(
            self,
            picture=flag(self.picture, "picture"),
            style=checked_style(self.style),
            max_tokens=whole_number(self.max_tokens, "max_tokens", 1, LONGEST),
            memory_guided=flag(self.memory_guided, "memory_guided"),
        )


class JointEngine(ImageEngine, SpeechEngine):
    """A model that does all of them together."""

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
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        cancel: Cancel | None = None,
    ) -> JointResult:
        """Answers with text, speech, a face and a picture, on one clock.

        A text, a story if a thing is named, runs ahead by a sentence, and is spoken meanwhile: one
        evaluation a step for text, speech, face and picture together.

        Args:
            text: what to say; by default the model writes it, of at most `max_tokens` tokens.
            picture: whether to paint what the prompt asks for, in `style`, guided by `cfg_scale`.
            closing: whether the lips meet in every p, b and m, exactly.
            memory_guided: whether memories that fit the prompt guide text and picture; the text is then
                written before it is spoken.
            voice, steps, speed, seed, adapters, cancel: see `say`. cfg_scale, guidance_scale: see `image`.

        Raises:
            TypeError: an unknown option, or a value of the wrong kind. ValueError: nothing to say, a value
            out of its range, or a model without speech or face. Cancelled: it was asked to stop.
        """
        steps = self._steps("audio", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = JointSampling(steps, speed, cfg_scale, seed, closing)
        shown = Shown(picture, style, voice, max_tokens, memory_guided)
        *_, result = self.with_adapters(adapters)._answered(prompt, text, shown, sampling, cancel)
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
        adapters: Mapping[str, float] | None = None,
        memory_guided: bool = False,
        cancel: Cancel | None = None,
    ) -> Iterator[TextFrame | TextResult | ImageFrame | SpeechFrame | JointResult]:
        """As `converse`, but yields every step of the writing and of the picture, and the sound in parts."""
        steps = self._steps("audio", steps, num_inference_steps)
        cfg_scale = either(cfg_scale, DEFAULT_GUIDANCE, "cfg_scale", guidance_scale, "guidance_scale")
        sampling = JointSampling(steps, speed, cfg_scale, seed, closing)
        shown = Shown(picture, style, voice, max_tokens, memory_guided)
        return self.with_adapters(adapters)._answered(prompt, text, shown, sampling, cancel)

    def _answered(
        self, prompt: str, text: str | None, shown: Shown, sampling: JointSampling, cancel: Cancel | None
    ) -> Iterator[TextFrame | TextResult | ImageFrame | SpeechFrame | JointResult]:
        """Checks what was asked for, then gives the stream."""
        for modality in ("audio", "avatar", *(["image"] if shown.picture else [])):
            self._has(modality)
        self.text_pipeline.prompt(prompt, "text")
        if text is not None:
            checked_text(text, "the text")
        voice = self._heard(shown.voice)
        return self._answering(prompt, text, shown, sampling, voice, cancel)

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
        told: str | WrittenText | None = text
        guidance, guides, doubt = NO_GUIDANCE, list[Guide](), dict[str, float]()
        if shown.memory_guided:
            guidance = self._guidance(prompt, "image", memory_guided=shown.picture)
            guides += guidance.memories
        if text is None and shown.memory_guided:
            written = yield from self._guided_story(prompt, shown.max_tokens, sampling.seed, cancel)
            told, notes = whole_sentences(written.text), (*notes, *written.notes)
            doubt = {} if written.uncertainty is None else {"text": written.uncertainty}
            guides += (one for one in written.memories if one.id not in {guide.id for guide in guides})
        elif told is None:
            told = self._story(prompt, shown.max_tokens, sampling.seed)
        assert told is not None
        subject, asked = prompt.removeprefix(ABOUT), {"prompt": prompt, "style": shown.style}
        caption = caption_tokens(self.tokenizer, subject, shown.style) if shown.picture else None
        notes = tuple(dict.fromkeys((*notes, *guidance.notes)))
        for one in self.joint_pipeline.stream(
            told, caption, matched, sampling, asked, notes, cancel, guidance.conditioning
        ):
            if isinstance(one, JointResult):
                one = replace(one, memories=tuple(guides), uncertainty={**doubt, **one.uncertainty})
            yield one

    def _guided_story(
        self, prompt: str, max_tokens: int, seed: int, cancel: Cancel | None
    ) -> Generator[TextFrame | TextResult, None, TextResult]:
        """What `converse` says if memories guide it, before it is spoken."""
        asked = TextRequest(
            as_story(prompt), max_tokens=max_tokens, seed=seed, memory_guided=True, cancel=cancel
        )
        *frames, result = self._texts(asked)
        yield from frames
        assert isinstance(result, TextResult)
        yield result
        return result

    def _story(self, prompt: str, max_tokens: int, seed: int) -> WrittenText:
        """What `converse` writes while it speaks: by the law of `generate`, with its randomness."""
        how, asked = Sampling("auto", max_tokens, seed=seed), as_story(prompt)
        known = self.text_pipeline.prompt(asked, "text")
        settings = {"prompt": asked, "kind": "text", **asdict(how)}
        doubted = partial(self.text_pipeline.doubted, kind="text", mode=how.mode)
        return WrittenText(self.network, self.tokenizer, known, how, self.metadata.context, settings, doubted)

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
        portrait: Any = None,
        landmarks: Landmarks | str | None = None,
        cancel: Cancel | None = None,
    ) -> Path:
        """Says a text with a face, and draws the face into a file: .mp4 with the sound, .gif, or .png as a
        strip. side: pixels, 16 to 2048; portrait: a picture of a face that speaks in place of the plain one;
        landmarks: where its eyes and mouth are, see `Landmarks`. The other options are those of `converse`.

        Raises:
            ImportError: a film without the package av. ValueError: another ending, no portrait, or no avatar
            head.
        """
        path, side = avatar_output(path, side)
        portrait = as_portrait(portrait, landmarks, side)
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
        return render_avatar(made.face, path, side, made.audio, portrait=portrait)

    @property
    def joint_pipeline(self) -> JointPipeline:
        """The part that speaks with a face and paints meanwhile."""
        return self._part("joint", self._joint)

    def _joint(self) -> JointPipeline:
        image = self.image_pipeline if "image" in self.network.heads else None
        face = ResidualCoder(*load_face(find(self._place(), FACE)))
        return JointPipeline(self.speech_pipeline, image, face, self.schedules)
