"""ArrowEngine: the one object that knows the network, its codec and how each modality is made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .codec.text import BODY, END, KINDS, MASK, MIDDLE, NULL, SUFFIX, TextCodec
from .conversation import Conversation, Converser
from .face.draw import render_avatar
from .image import caption_tokens
from .iterate import State
from .net.network import UnifiedScoreNetwork
from .painter import ImageFrame, ImageResult, Painter
from .speech.expected import Coder
from .speech.narrator import Narrator, SpeechFrame, SpeechResult
from .speech.pronounce import Pronouncer
from .speech.vocoder import Vocoder
from .text import Sampling, fill_gap, log_likelihood, padded, write
from .weights.codec import load_codec
from .weights.model import Metadata, load_model
from .weights.packed import matrices
from .weights.senses import load_face, load_speech

SHIPPED = Path(__file__).parent / "data" / "text"
SENSES = SHIPPED.parent / "senses"  # the default where all heads are needed
LETTERS = Path(__file__).parent / "data" / "letters"
GAPS = (4, 8, 16, 32)  # lengths tried when that of an infill is not known
LONGEST_GAP = 64
CODE_WORDS = ("def ", "import ", "return ", "class ")
ABOUT = "a story about "
NOT_YET = "this model has no {0} head; its modalities are {1}"


def as_story(prompt: str) -> str:
    """What to write when this is to be told of: "a fox" asks for "a story about a fox".

    >>> as_story("the brave cat"), as_story("tell me a story about a cat")
    ('a story about the brave cat', 'tell me a story about a cat')
    """
    named = (
        prompt.lower().startswith(("a ", "an ", "the ")) and "story" not in prompt and "tale" not in prompt
    )
    return ABOUT + prompt if named else prompt


def model_folder(name: Path | str | None) -> Path:
    """The folder of a model: a path, the name of a shipped one, or None for the default."""
    if name is None:
        return SHIPPED
    shipped = SHIPPED.parent / name
    if Path(name).exists() or not shipped.exists():
        return Path(name)
    return shipped


@dataclass(frozen=True)
class Result:
    """What was made and how.

    trajectory: token ids of the canvas after each step, the fully masked one first. seconds: of each step.
    uncertainty: raw numbers over the tokens written, {"nll": mean of -log p(drawn token), "entropy": mean
    entropy of the belief}, nats per token; not calibrated.
    """

    text: str
    tokens: tuple[int, ...]
    trajectory: tuple[tuple[int, ...], ...]
    nfe: int
    seconds: tuple[float, ...]
    uncertainty: dict[str, float]
    settings: dict[str, Any]

    def __str__(self) -> str:
        return self.text

    def __rich__(self) -> str:
        from rich.markup import escape

        cost = f"{len(self.tokens)} tokens, {self.nfe} evaluations, {sum(self.seconds):.2f} s"
        facts = f"{cost}, {self.uncertainty['nll']:.2f} nats a token"
        return f"{escape(self.text)}\n[dim]{facts}[/dim]"

    def to_json(self) -> dict[str, Any]:
        """Everything but the trajectory, for `--json`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "trajectory"}


@dataclass(frozen=True)
class Frame:
    """One moment of writing: the canvas's token ids and the probability each had when it was drawn."""

    tokens: tuple[int, ...]
    confidence: tuple[float, ...]
    nfe: int
    share: float  # of the walk that is done


class ArrowEngine:
    """Loads a model folder and generates.

    >>> engine = ArrowEngine.load()
    >>> result = engine.generate("a story about a fox", max_tokens=16, seed=1)
    >>> len(result.tokens) <= 16
    True
    """

    def __init__(
        self, network: UnifiedScoreNetwork, codec: TextCodec, metadata: Metadata, folder: Path | None = None
    ) -> None:
        """`folder` is where the codecs of other modalities lie; text needs none."""
        self.network, self.codec, self.metadata, self.folder = network, codec, metadata, folder

    @classmethod
    def load(cls, folder: Path | str | None = None) -> ArrowEngine:
        """The model in `folder`, one that ships with the package by its name, or the default one."""
        place = model_folder(folder)
        network, codec, metadata = load_model(place)
        if matrices(network):
            torch.set_num_threads(1)  # its threads and the kernels' would wait for each other's cores
        return cls(network, codec, metadata, place)

    def encode(self, text: str | Sequence[str]) -> np.ndarray:
        """Unit vectors that stand for texts, `(d,)` for a string and `(n, d)` for several: mean hidden
        states.

        Raises:
            TypeError: not text. ValueError: an empty text.
        """
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise ValueError("there are no texts to encode; give a string or a list of strings")
        rows = [self._tokens(one, "text to encode")[: self.metadata.context] for one in texts]
        tokens, valid = padded(rows)
        with torch.no_grad():
            hidden, _ = self.network.read(tokens, (valid.cumsum(1) - 1).clamp(min=0).float(), valid)
        mean = (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        unit = torch.nn.functional.normalize(mean, dim=-1).numpy()
        return unit[0] if isinstance(text, str) else unit

    def generate(self, prompt: str, mode: str = "diffusion", kind: str = "text", **how: Any) -> Result:
        """Writes what the prompt asks for.

        Args:
            mode: "diffusion" (blocks unmask) or "ar" (one token at a time); the same weights serve both.
            kind: "text" or "code".
            how: fields of `Sampling`.

        Raises:
            TypeError: an unknown option, or a prompt that is no string. ValueError: a value out of range,
            an empty or over-long prompt.
        """
        return self._collect(self.stream(prompt, mode, kind, **how))

    def stream(
        self, prompt: str, mode: str = "diffusion", kind: str = "text", **how: Any
    ) -> Iterator[Frame | Result]:
        """As `generate`, but yields a `Frame` after each step and the `Result` at the end."""
        sampling = self._sampling(mode=mode, **how)
        known = self._prompt(prompt, kind)
        states = write(self.network, [known], sampling, self.metadata.context)
        return self._watch(states, {"prompt": prompt, "kind": kind, **asdict(sampling)})

    def diffuse(
        self,
        prompt: str,
        modality: str = "text",
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        memory_guided: bool = False,  # noqa: FBT001
        **how: Any,
    ) -> Result | ImageResult | SpeechResult | Conversation:
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
                is painted anew; the rest is kept to the bit), and fields of `Painting`.

        Raises:
            TypeError: an unknown option. ValueError: a value out of range, or a model without pictures.
        """
        *_, result = self.image_stream(prompt, **how)
        assert isinstance(result, ImageResult)
        return result

    def image_stream(self, prompt: str, **how: Any) -> Iterator[ImageFrame | ImageResult]:
        """As `image`, but yields an `ImageFrame` after each step and the `ImageResult` at the end."""
        self._has("image")
        self._prompt(prompt, "text")
        return self.painter.stream(prompt, **how)

    @cached_property
    def painter(self) -> Painter:
        """The part that paints; its codec is read when it is first needed."""
        assert self.folder is not None
        return Painter(self.network, self.codec, load_codec(self.folder / "image.parquet"))

    def say(self, text: str, voice: np.ndarray | None = None, **how: Any) -> SpeechResult:
        """Speaks a text.

        Args:
            voice: a recording `(s,)` at 24 kHz whose voice is matched, about 5 s; None is the model's own.
            how: fields of `Speaking`: steps, speed, temperature, seed.

        Raises:
            TypeError: an unknown option. ValueError: nothing to say, a recording without speech, a value out
            of range, or a model without speech.
        """
        *_, result = self.say_stream(text, voice, **how)
        assert isinstance(result, SpeechResult)
        return result

    def say_stream(
        self, text: str, voice: np.ndarray | None = None, **how: Any
    ) -> Iterator[SpeechFrame | SpeechResult]:
        """As `say`, but yields every part of the text as soon as it can be heard, then the whole."""
        self._has("audio")
        matched = None if voice is None else self.narrator.voice_in(voice)
        return self.narrator.stream(_string(text, "the text"), matched, **how)

    def converse(
        self,
        prompt: str,
        text: str | None = None,
        *,
        picture: bool = True,
        style: str = "",
        **how: Any,
    ) -> Conversation:
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
        assert isinstance(result, Conversation)
        return result

    def converse_stream(
        self,
        prompt: str,
        text: str | None = None,
        *,
        picture: bool = True,
        style: str = "",
        max_tokens: int = 48,
        voice: np.ndarray | None = None,
        **how: Any,
    ) -> Iterator[Frame | Result | ImageFrame | Conversation]:
        """As `converse`, but yields every step of the writing and of the picture."""
        for modality in ("audio", "avatar", *(["image"] if picture else [])):
            self._has(modality)
        spoken, subject = text, prompt.removeprefix(ABOUT)
        if spoken is None:
            for frame in self.stream(as_story(prompt), max_tokens=max_tokens, seed=how.get("seed", 0)):
                yield frame
                if isinstance(frame, Result):
                    spoken = whole_sentences(frame.text)
        self._prompt(prompt, "text")
        caption = caption_tokens(self.codec, subject, style) if picture else None
        matched = None if voice is None else self.narrator.voice_in(voice)
        said = _string(spoken, "the text")
        yield from self.converser.stream(
            said, caption, matched, asked={"prompt": prompt, "style": style}, **how
        )

    @cached_property
    def converser(self) -> Converser:
        """The part that speaks with a face and paints meanwhile."""
        assert self.folder is not None
        painter = self.painter if "image" in self.network.heads else None
        return Converser(self.narrator, painter, Coder(*load_face(self.folder / "face.parquet")))

    @cached_property
    def narrator(self) -> Narrator:
        """The part that speaks; its codec and dictionary are read when they are first needed."""
        assert self.folder is not None
        codec, table, voice = load_speech(self.folder / "speech.parquet")
        vocoder = Vocoder.load(self.folder / "postfilter.parquet")
        return Narrator(self.network, Pronouncer(LETTERS), Coder(codec, table), voice, vocoder)

    def _has(self, modality: str) -> None:
        if modality not in self.metadata.modalities:
            raise ValueError(NOT_YET.format(modality, self.metadata.modalities))

    def render_avatar(self, text: str, path: Path | str, side: int = 256, **how: Any) -> Path:
        """Says a text with a face, and draws the face into a file: .mp4 with the sound, .gif, or .png as a
        strip. `how` is that of `converse`.

        Raises:
            ImportError: a film without the package av. ValueError: another ending, or no avatar head.
        """
        made = self.converse(text, text, picture=False, **how)
        return render_avatar(made.face, path, side, made.audio)

    def infill(
        self,
        prefix: str,
        suffix: str,
        length: int | None = None,
        mode: str = "diffusion",
        kind: str | None = None,
        prompt: str = "",
        **how: Any,
    ) -> Result:
        """Writes the middle between `prefix` and `suffix`, which stay as they are to the last character.

        Args:
            length: tokens of the middle; None tries several and keeps the likeliest whole.
            kind: "text" or "code"; None guesses from the prefix.
            prompt: what the whole is about.
        """
        sampling = self._sampling(mode=mode, **({"steps": 16, "temperature": 0.3} | how))
        if length is not None and not 1 <= length <= LONGEST_GAP:
            raise ValueError(
                f"length is {length}; expected 1 to {LONGEST_GAP} tokens, or None to find it out"
            )
        before, after = (self.codec.encode(_string(side, "a side of the gap")) for side in (prefix, suffix))
        kind = kind or ("code" if any(word in prefix for word in CODE_WORDS) else "text")
        head = [KINDS[self._kind(kind)], *self.codec.encode(prompt or "function"), BODY]
        self._fits(len(head) + len(before) + len(after) + (length or max(GAPS)))
        settings = {"prefix": prefix, "suffix": suffix, "kind": kind, **asdict(sampling)}
        if mode == "ar":
            known = [*head, *before, SUFFIX, *after, MIDDLE]
            sampling = replace(sampling, max_tokens=length or LONGEST_GAP)
            states = write(self.network, [known], sampling, self.metadata.context)
            middle = self._collect(self._watch(states, settings))
        else:
            middle = self._likeliest_gap([*head, *before], after, length, sampling, settings)
        return replace(middle, text=prefix + self.codec.decode(middle.tokens) + suffix)

    def _likeliest_gap(
        self, known: list[int], after: list[int], length: int | None, how: Sampling, settings: dict[str, Any]
    ) -> Result:
        made = []
        for gap in GAPS if length is None else (length,):
            states = fill_gap(self.network, known, gap, after, how, self.metadata.context)
            made.append(self._collect(self._watch(states, settings, gap)))
        rows = [[*known, *one.tokens, *after, END] for one in made]
        best = int(log_likelihood(self.network, rows, len(known)).argmax())
        return replace(made[best], nfe=sum(one.nfe for one in made))

    def _watch(
        self, states: Iterator[State], settings: dict[str, Any], gap: int | None = None
    ) -> Iterator[Frame | Result]:
        trajectory: list[tuple[int, ...]] = []
        seconds: list[float] = []
        confidence: dict[int, float] = {}
        entropy: dict[int, float] = {}
        before, clock, state = None, time.perf_counter(), None
        for state in states:
            now = time.perf_counter()
            x = state.x[0] if gap is None else state.x[0, :gap]  # type: ignore[index]
            trajectory.append(tuple(x.tolist()))
            if before is not None:
                seconds.append(now - clock)
                note = state.carry["update"]
                fresh = ((before == MASK) & (x != MASK)).nonzero().flatten().tolist()
                for place in fresh:
                    start = (
                        self._block_start(place, note["confidence"].shape[1], settings) if gap is None else 0
                    )
                    confidence[place] = note["confidence"][0, place - start].item()
                    entropy[place] = note["entropy"][0, place - start].item()
            done = (x != MASK).float().mean().item()
            yield Frame(
                trajectory[-1], tuple(confidence.get(i, 0.0) for i in range(len(x))), int(state.nfe[0]), done
            )
            before, clock = x, time.perf_counter()
        assert state is not None
        tokens = tuple(token for token in trajectory[-1] if token not in (NULL, MASK, END))
        used = [c for c in confidence.values() if c > 0]
        doubt = {
            "nll": float(-np.log(used).mean()) if used else 0.0,
            "entropy": float(np.mean(list(entropy.values()))) if entropy else 0.0,
        }
        yield Result(
            self.codec.decode(tokens),
            tokens,
            tuple(trajectory),
            int(state.nfe[0]),
            tuple(seconds),
            doubt,
            settings,
        )

    @staticmethod
    def _block_start(place: int, width: int, settings: dict[str, Any]) -> int:
        size = 1 if settings["mode"] == "ar" else min(settings["block"], settings["max_tokens"])
        return place // size * size

    @staticmethod
    def _collect(frames: Iterator[Frame | Result]) -> Result:
        *_, result = frames
        assert isinstance(result, Result)
        return result

    @staticmethod
    def _sampling(**how: Any) -> Sampling:
        known = {field.name for field in fields(Sampling)}
        if unknown := set(how) - known:
            raise TypeError(f"unknown options {sorted(unknown)}; known are {sorted(known)}")
        return Sampling(**how)

    def _kind(self, kind: str) -> str:
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; expected one of {sorted(KINDS)}")
        return kind

    def _tokens(self, text: str, what: str) -> list[int]:
        if not _string(text, what).strip():
            raise ValueError(f"{what} is empty; say in a few words what it should be about")
        return self.codec.encode(text)

    def _prompt(self, prompt: str, kind: str) -> list[int]:
        tokens = self._tokens(prompt, "the prompt")
        self._fits(len(tokens) + 2 + 32)
        return [KINDS[self._kind(kind)], *tokens, BODY]

    def _fits(self, size: int) -> None:
        if size > self.metadata.context:
            raise ValueError(
                f"the prompt leaves no room to write: {size} tokens with the least answer, the context "
                f"holds {self.metadata.context}. Shorten it"
            )


def whole_sentences(text: str) -> str:
    """A text without the sentence that it breaks off in, if it has a whole one.

    >>> whole_sentences("A fox ran. It was f")
    'A fox ran.'
    """
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1] if end > 0 else text


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} is a {type(value).__name__}; expected a string")
    return value
