"""Finished speech: sound that knows when each word is heard and plays itself in notebooks.

Sound is `(s,)` samples in -1..1 at 24 kHz.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.calibration import TRIGGER
from ..energy.steering import Try
from .alignment import Span
from .files import save_wav, to_wav
from .source_filter import RATE


@dataclass(frozen=True, eq=False, repr=False)
class SpeechResult:
    """Sound and how it was made; `np.asarray(result)` is its samples.

    words, phonemes: when each is heard, seconds. seconds: of each part of the text, its sound included.
    notes: what may have spoiled it. unspoken: what of the text cannot be said, as it is written there.
    uncertainty: calibrated, 1.0 is typical and above 1.5 is doubtful, of a long text the mean of its parts;
    None where the model was not calibrated for these steps, speed and temperature. uncertainties: of each
    word.
    tries: what was spoken until it was valid, this one last.
    """

    audio: np.ndarray
    words: tuple[Span, ...]
    phonemes: tuple[Span, ...]
    nfe: int
    seconds: tuple[float, ...]
    settings: dict[str, Any]
    rate: int = RATE
    notes: tuple[str, ...] = ()
    unspoken: tuple[str, ...] = ()
    uncertainty: float | None = None
    uncertainties: tuple[float, ...] = ()
    tries: tuple[Try, ...] = ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  numpy's protocol
        return np.array(self.audio, dtype, copy=copy)

    @property
    def doubtful(self) -> tuple[Span, ...]:
        """Which words are beyond the trigger, and when they are heard."""
        return doubtful_words(self.words, self.uncertainties)

    @property
    def length(self) -> float:
        """Seconds that it is heard."""
        return len(self.audio) / self.rate

    def save(self, path: Path | str) -> None:
        """Writes a WAV file of 16 bits that carries text, seed and settings.

        Raises:
            ValueError: another ending. OSError: it cannot be written.
        """
        save_wav(path, self.audio, self.rate, self.settings)

    def to_json(self) -> dict[str, Any]:
        """Everything but the samples, ready for JSON."""
        times = {name: [asdict(span) for span in getattr(self, name)] for name in ("words", "phonemes")}
        cost = {"nfe": self.nfe, "seconds": [*self.seconds]}
        made = {"rate": self.rate, "length": self.length, **times, **cost}
        remarks: dict[str, Any] = {"notes": [*self.notes], "unspoken": [*self.unspoken]}
        remarks |= {"uncertainty": self.uncertainty, "uncertainties": [*self.uncertainties]}
        remarks |= {"doubtful": [asdict(span) for span in self.doubtful]}
        remarks |= {"tries": [one.to_json() for one in self.tries]}
        return made | {"settings": self.settings} | remarks

    def __repr__(self) -> str:
        text = str(self.settings.get("text", ""))
        return f"SpeechResult({text if len(text) <= 40 else text[:39] + '…'!r}, {self})"

    def __str__(self) -> str:
        cost = f"{self.length:.2f} s of speech, {self.nfe} evaluations, {sum(self.seconds):.2f} s"
        return cost + ("" if self.uncertainty is None else f", uncertainty {self.uncertainty:.2f}")

    def __rich__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return player(self.audio, self.rate)


def doubtful_words(words: Sequence[Span], doubts: Sequence[float]) -> tuple[Span, ...]:
    """Words beyond the trigger."""
    return tuple(word for word, doubt in zip(words, doubts, strict=False) if doubt > TRIGGER)


def player(audio: np.ndarray, rate: int = RATE) -> str:
    """An HTML element that plays a sound, without any file."""
    data = base64.b64encode(to_wav(audio, rate)).decode()
    return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
