"""JointPipeline: a text becomes speech, a face and a picture; the result knows when everything happens.

Sound is `(s,)` at 24 kHz, the face `(f, 52)` at 62.5 frames a second, pictures `(512, 512, 3)` bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.files import output_folder, write
from ..core.loop import State
from ..face.animate import FRAME, shut
from ..face.codec import TOKEN_FRAMES
from ..face.draw import PICTURE, moving, strip, to_gif
from ..face.shapes import SHAPES, viseme_of
from ..face.video import AVAILABLE, to_mp4
from ..image.files import to_png
from ..image.pipeline import ImageFrame, ImagePipeline, expected
from ..speech.alignment import SECONDS, Span
from ..speech.baseline import ResidualCoder
from ..speech.files import to_wav
from ..speech.pipeline import SpeechPipeline
from ..speech.sampling import concatenate
from ..speech.source_filter import FRAMES, Frames
from .sampling import JointInputs, JointSampling, sample_joint

DEFAULT = JointSampling()


@dataclass(frozen=True)
class JointResult:
    """What was written, said and shown, and how.

    words, phonemes, visemes: when each is heard or seen, seconds. face: ARKit's 52 shapes, 16 ms a frame.
    forwards: passes through the trunk for speech, face and picture together. seconds: of each stage.
    notes: what may have spoiled it. unspoken: what of the text cannot be said, as it is written there.
    """

    text: str
    audio: np.ndarray
    face: np.ndarray
    image: np.ndarray | None
    words: tuple[Span, ...]
    phonemes: tuple[Span, ...]
    visemes: tuple[Span, ...]
    steps: int
    forwards: int
    seconds: dict[str, float]
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    unspoken: tuple[str, ...] = ()

    def save(self, folder: Path | str) -> list[Path]:
        """Writes text.txt, speech.wav, face.json, face.gif, face.png, with a picture picture.png and, where
        the package av is installed, the film talk.mp4.
        """
        folder = output_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files: dict[str, bytes] = {
            "text.txt": (self.text + "\n").encode(),
            "speech.wav": to_wav(self.audio, metadata=self.settings),
            "face.json": json.dumps(self.times()).encode(),
            "face.gif": to_gif(self.face, metadata=self.settings),
            "face.png": to_png(strip(self.face), self.settings),
        }
        if self.image is not None:
            files["picture.png"] = to_png(self.image, self.settings)
        if AVAILABLE:
            rate = round(1 / PICTURE)
            files["talk.mp4"] = to_mp4(moving(self.face), rate, self.audio, metadata=self.settings)
        for name, data in files.items():
            write(folder / name, data)
        return [folder / name for name in files]

    def times(self) -> dict[str, Any]:
        """Words, phonemes, visemes and every frame's shapes, ready for JSON."""
        spans = {name: [asdict(s) for s in getattr(self, name)] for name in ("words", "phonemes", "visemes")}
        return {
            "frame_seconds": FRAME,
            "shapes": list(SHAPES),
            "frames": self.face.round(3).tolist(),
            **spans,
            "settings": self.settings,
        }

    def __rich__(self) -> str:
        shown = "speech, a face" + ("" if self.image is None else " and a picture")
        cost = f"{self.forwards} passes for {self.steps} steps, {sum(self.seconds.values()):.2f} s"
        return f"{self.text}\n{len(self.face) * FRAME:.2f} s of {shown}, {cost}"


def visemes_of(phonemes: Sequence[Span]) -> list[Span]:
    """Visemes of phonemes; equal neighbours are one, stress marks belong to what follows."""
    heard = [span for span in phonemes if span.text not in ("ˈ", "ˌ")]
    runs = [(name, [*some]) for name, some in groupby(heard, lambda span: viseme_of(span.text))]
    return [Span(name, some[0].start, some[-1].end) for name, some in runs]


class JointPipeline:
    """Speaks with a face, and paints meanwhile."""

    def __init__(
        self, speech: SpeechPipeline, image: ImagePipeline | None, face: ResidualCoder[np.ndarray] | None
    ) -> None:
        """Without `image` there are no pictures, without `face` no faces."""
        self.speech, self.image, self.face = speech, image, face

    @torch.no_grad()
    def stream(
        self,
        text: str,
        caption: Sequence[int] | None = None,
        voice: np.ndarray | None = None,
        sampling: JointSampling = DEFAULT,
        asked: Mapping[str, Any] | None = None,
        notes: tuple[str, ...] = (),
    ) -> Iterator[ImageFrame | JointResult]:
        """Yields the picture as it is expected to become, after each step; then the whole. `asked` is kept
        with the result's settings, `notes` with the result.
        """
        network, before = self.speech.network, self.speech.network.forwards
        own = torch.from_numpy(self.speech.voice if voice is None else voice)[None]
        frames: list[Frames] = []
        faces: list[np.ndarray] = []
        words: list[Span] = []
        phonemes: list[Span] = []
        picture: Tensor | None = None
        begin, clock, taken = 0.0, time.perf_counter(), 0
        sentence = self.speech.g2p.sentence(text)
        parts = self.speech.planned(sentence.words, own, sampling.speed)
        extra = 0 if caption is None else 2  # a caption and no caption are read once
        for number, utterance in enumerate(parts):
            wanted = caption if number == 0 else None
            what = JointInputs(utterance, own, self.face is not None, wanted)
            last = None
            how = (sampling.steps, sampling.cfg_scale, sampling.seed)
            for state in sample_joint(network, what, *how, number):
                if last is not None and wanted is not None:
                    yield expected(last, state, 1 - state.t.item())
                last = state
            assert last is not None
            x, count = streams(last), round(utterance.durations.sum())
            known = (utterance.phonemes, utterance.durations, own[0].numpy())
            taken += int(last.nfe[0])
            frames.append(self.speech.frames(x["audio"][0], utterance, own))
            if self.face is not None:
                face = self.face.decode(x["avatar"][0].cpu().numpy(), *known)
                face = face[: -(-count * TOKEN_FRAMES // FRAMES)]
                if sampling.closing:
                    shut(face, utterance.spans()[1])
                faces.append(face)
            for target, spans in zip((words, phonemes), utterance.spans(begin), strict=True):
                target += spans
            begin += count * SECONDS
            picture = x["image"][0] if wanted is not None else picture
        seconds = {"trunk": time.perf_counter() - clock}
        clock = time.perf_counter()
        audio = self.speech.vocoder.sound(concatenate(frames), sampling.seed)
        seconds["sound"] = time.perf_counter() - clock
        clock = time.perf_counter()
        image = None if picture is None or self.image is None else self.image.picture(picture)
        seconds["picture"] = time.perf_counter() - clock
        settings = {"text": text, **asdict(sampling), **dict(asked or {})}
        settings["voice"] = "own" if voice is None else "matched"
        yield JointResult(
            text,
            audio,
            np.concatenate(faces) if faces else np.zeros((0, len(SHAPES)), np.float32),
            image,
            tuple(words),
            tuple(phonemes),
            tuple(visemes_of(phonemes)),
            taken,
            network.forwards - before - extra,
            seconds,
            settings,
            notes,
            sentence.unspoken,
        )


def streams(state: State) -> Mapping[str, Tensor]:
    """The tokens of each modality."""
    assert isinstance(state.x, Mapping)
    return state.x
