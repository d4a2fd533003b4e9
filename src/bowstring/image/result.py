"""A finished picture: an array that knows how it was made and shows itself in notebooks.

Pictures are `(h, w, 3)` bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..core.calibration import TRIGGER
from ..energy.steering import Try
from ..memory.record import Guide
from .files import save_picture, to_png


@dataclass(frozen=True, eq=False, repr=False)
class ImageResult:
    """A picture and how it was made; `np.asarray(result)` is its pixels.

    seconds: of each step, then of the decoder. notes: what may have spoiled it. memories: which of
    them guided it, with their weights. uncertainty: calibrated, 1.0 is typical and above 1.5 is doubtful;
    None where the model was not calibrated. places: of every eighth of it across and down, `(8, 8)`.
    tries: what was painted until a picture was valid, this one last.
    """

    image: np.ndarray
    nfe: int
    seconds: tuple[float, ...]
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    memories: tuple[Guide, ...] = ()
    uncertainty: float | None = None
    places: np.ndarray | None = None
    tries: tuple[Try, ...] = ()

    @property
    def doubtful(self) -> tuple[tuple[int, int], ...]:
        """Which places, (row, column) of eight, are beyond the trigger."""
        found = () if self.places is None else np.argwhere(self.places > TRIGGER)
        return tuple((int(row), int(column)) for row, column in found)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  numpy's protocol
        return np.array(self.image, dtype, copy=copy)

    @property
    def pil(self) -> Image.Image:
        """The picture as a PIL image."""
        return Image.fromarray(self.image)

    def save(self, path: Path | str) -> None:
        """Writes a PNG or JPEG that carries prompt, seed and settings.

        Raises:
            ValueError: another ending. OSError: it cannot be written.
        """
        save_picture(path, self.image, self.settings)

    def to_json(self) -> dict[str, Any]:
        """Everything but the pixels, ready for JSON."""
        height, width, _ = self.image.shape
        cost = {"nfe": self.nfe, "seconds": [*self.seconds]}
        doubt: dict[str, Any] = {
            "uncertainty": self.uncertainty,
            "doubtful": [[*place] for place in self.doubtful],
        }
        doubt |= {"tries": [one.to_json() for one in self.tries]}
        known = {"notes": [*self.notes], "memories": [one.to_json() for one in self.memories]}
        made = {"width": width, "height": height, **cost, **doubt}
        return made | {"settings": self.settings, **known}

    def __repr__(self) -> str:
        return f"ImageResult({self.settings.get('prompt')!r}, {self})"

    def __str__(self) -> str:
        side = f"{self.image.shape[1]} x {self.image.shape[0]}"
        cost = f"{side} pixels, {self.nfe} evaluations, {sum(self.seconds):.2f} s"
        return cost + ("" if self.uncertainty is None else f", uncertainty {self.uncertainty:.2f}")

    def __rich__(self) -> str:
        return str(self)

    def _repr_png_(self) -> bytes:
        return to_png(self.image, self.settings)
