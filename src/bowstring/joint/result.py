"""What was written, said and shown at once, on one clock.

Sound is `(s,)` at 24 kHz, the face `(f, 52)` at 62.5 frames a second, pictures `(512, 512, 3)` bytes.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.files import output_folder, write
from ..face.animate import FRAME
from ..face.draw import PICTURE, as_portrait, moving, strip, to_gif
from ..face.shapes import SHAPES
from ..face.video import AVAILABLE, to_mp4
from ..image.files import to_png
from ..memory.record import Guide
from ..speech.alignment import Span
from ..speech.files import to_wav
from ..speech.result import doubtful_words, player


@dataclass(frozen=True, eq=False, repr=False)
class JointResult:
    """What was written, said and shown, and how; `np.asarray(result)` is the motion of the face.

    words, phonemes, visemes: when each is heard or seen, seconds. face: ARKit's 52 shapes, 16 ms a frame.
    steps: evaluations. forwards: passes through the trunk for speech, face and picture together. seconds: of
    each stage. notes: what may have spoiled it. unspoken: what of the text cannot be said, as it is written.
    memories: which of them guided text and picture, with their weights. uncertainty: of "text" and "audio",
    calibrated, 1.0 is typical and above 1.5 is doubtful; what was given or not calibrated is not there, and a
    picture is not, since it takes the steps of speech here. uncertainties: of each word that was spoken.
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
    memories: tuple[Guide, ...] = ()
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    uncertainties: tuple[float, ...] = ()

    @property
    def doubtful(self) -> tuple[Span, ...]:
        """Which spoken words are beyond the trigger, and when they are heard."""
        return doubtful_words(self.words, self.uncertainties)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  numpy's protocol
        return np.array(self.face, dtype, copy=copy)

    def save(self, folder: Path | str, portrait: Any = None) -> list[Path]:
        """Writes text.txt, speech.wav, face.json, face.gif, face.png, with a picture picture.png and, where
        the package av is installed, the film talk.mp4. The face is a plain one, or the portrait's,
        a picture or a `Portrait`.

        Raises:
            OSError: the folder cannot be made or written to. ValueError: no portrait.
        """
        folder, portrait = output_folder(folder), as_portrait(portrait, None)
        folder.mkdir(parents=True, exist_ok=True)
        files: dict[str, bytes] = {
            "text.txt": (self.text + "\n").encode(),
            "speech.wav": to_wav(self.audio, metadata=self.settings),
            "face.json": json.dumps(self.times()).encode(),
            "face.gif": to_gif(self.face, metadata=self.settings, portrait=portrait),
            "face.png": to_png(strip(self.face, portrait=portrait), self.settings),
        }
        if self.image is not None:
            files["picture.png"] = to_png(self.image, self.settings)
        if AVAILABLE:
            rate = round(1 / PICTURE)
            frames = moving(self.face, portrait=portrait)
            files["talk.mp4"] = to_mp4(frames, rate, self.audio, metadata=self.settings)
        for name, data in files.items():
            write(folder / name, data)
        return [folder / name for name in files]

    def spans(self) -> dict[str, list[dict[str, Any]]]:
        """Times of words, phonemes and visemes, ready for JSON."""
        return {name: [asdict(s) for s in getattr(self, name)] for name in ("words", "phonemes", "visemes")}

    def times(self) -> dict[str, Any]:
        """Words, phonemes, visemes and every frame's shapes, ready for JSON."""
        frames = {"frame_seconds": FRAME, "shapes": list(SHAPES), "frames": self.face.round(3).tolist()}
        return {**frames, **self.spans(), "settings": self.settings}

    def to_json(self) -> dict[str, Any]:
        """Everything but sound, frames and pixels, ready for JSON."""
        cost = {"steps": self.steps, "forwards": self.forwards, "seconds": self.seconds}
        remarks: dict[str, Any] = {"notes": [*self.notes], "unspoken": [*self.unspoken]}
        remarks |= {"uncertainty": dict(self.uncertainty), "doubtful": [asdict(one) for one in self.doubtful]}
        remarks |= {"uncertainties": [*self.uncertainties]}
        return {"text": self.text, **self.spans(), **cost, "settings": self.settings, **remarks}

    def __repr__(self) -> str:
        text = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return f"JointResult({text!r}, {self})"

    def __str__(self) -> str:
        shown = "speech, a face" + ("" if self.image is None else " and a picture")
        cost = f"{self.forwards} passes for {self.steps} steps, {sum(self.seconds.values()):.2f} s"
        return f"{len(self.face) * FRAME:.2f} s of {shown}, {cost}"

    def __rich__(self) -> str:
        return f"{self.text}\n{self}"

    def _repr_html_(self) -> str:
        seen = [("image/gif", to_gif(self.face))] if len(self.face) else []
        seen += [] if self.image is None else [("image/png", to_png(self.image, self.settings))]
        pictures = (f"data:{kind};base64,{base64.b64encode(data).decode()}" for kind, data in seen)
        shown = "".join(f'<img width="256" src="{source}">' for source in pictures)
        return f"<p>{html.escape(self.text)}</p>{shown}<br>{player(self.audio)}"
