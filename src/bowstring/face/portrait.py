"""A picture of a face that moves: shapes bend the picture, so it needs no network and no second picture.

Every pixel of a frame is looked up where the motion took it from (backward warping). A mouth that opens shows
what is behind lips, a lid that falls is the skin above it. Coordinates: the distance between the eyes is 1,
the origin lies between them, x goes along them to the right, y down to the mouth. Of the 52 shapes those move
it that speech and blinking need: jawOpen, mouthClose, Press, Pucker, Funnel, Stretch, Smile, Frown, Left,
Right, UpperUp, LowerDown, eyeBlink, browInnerUp, browOuterUp and browDown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..core.options import real, settle, shown, whole
from ..image.files import as_picture
from .shapes import SHAPES

INSIDE, TEETH, TONGUE = np.array([(72, 24, 28), (238, 232, 224), (186, 92, 92)], np.float32)
LASHES = 0.45  # how much darker the line is that closed lids make
EYE = 0.26, 0.15  # half of an eye's width and height, with its edge
LID = 0.08  # height of the skin above an eye that becomes its lid
BROW = 0.32  # how far the brows lie above the eyes
LIPS, NARROWEST, WIDEST = 0.8, 0.4, 2.0  # width of a mouth for which none is given; what it may be
DROP, CHIN, NECK = 0.32, 0.7, 1.4  # how far a jaw falls, and from where to where below the mouth that ends
JAW, CHEEK = 0.7, 1.3  # and from where to where beside it
LIFT, NOSE = 0.08, 0.35  # how far the upper lip rises, and where above the mouth that ends
STILL = 1e-3  # pixels of rounding
LARGEST = 2048  # pixels along a side
NEAREST = 8  # pixels between the eyes that a face needs at least

Point = tuple[float, float]


@dataclass(frozen=True)
class Landmarks:
    """Where a face is in a picture: middles of the eyes, as you look at the upright face, and of the line
    between the lips, `(x, y)` in shares of the picture's width and height from its upper left corner;
    and the mouth's width, a share of the picture's (0.8 distances of the eyes where none is given).

    Raises:
        TypeError, ValueError: a place that is no pair of numbers from 0 to 1.
    """

    left_eye: Point = (0.36, 0.43)
    right_eye: Point = (0.64, 0.43)
    mouth: Point = (0.5, 0.7)
    mouth_width: float | None = None

    def __post_init__(self) -> None:
        width = self.mouth_width
        settle(
            self,
            left_eye=_point(self.left_eye, "left_eye"),
            right_eye=_point(self.right_eye, "right_eye"),
            mouth=_point(self.mouth, "mouth"),
            mouth_width=None if width is None else real(width, "mouth_width", above=0, high=1),
        )

    @classmethod
    def parse(cls, text: str) -> Landmarks:
        """From places in words, and the mouth's width behind them if it is known.

        >>> Landmarks.parse("0.3,0.4 0.6,0.4 0.45,0.7").mouth
        (0.45, 0.7)

        Raises:
            ValueError: something else.
        """
        try:
            places = [tuple(float(number) for number in word.split(",")) for word in text.split()]
            if [len(place) for place in places] not in ([2, 2, 2], [2, 2, 2, 1]):
                raise ValueError
        except ValueError:
            raise ValueError(
                f"landmarks are {shown(text)}; expected the places of left eye, right eye and mouth in "
                'shares of width and height, like "0.36,0.43 0.64,0.43 0.5,0.7", and the mouth\'s width if '
                "you like"
            ) from None
        (left, right, mouth), width = places[:3], [p[0] for p in places[3:]]
        return cls(left, right, mouth, *width)  # type: ignore[arg-type]


def _point(value: Any, name: str) -> Point:
    if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        raise TypeError(
            f"{name} is {shown(value)}; expected (x, y) in shares of the picture's width and height"
        )
    return real(value[0], f"{name}[0]", 0, 1), real(value[1], f"{name}[1]", 0, 1)


class Portrait:
    """A picture whose face can be posed.

    Args:
        picture: what `image` takes as a picture: a file, a PIL image, an array.
        landmarks: where its face is, or that in words; see `Landmarks.parse`.
        side: pixels along the longer side of what is drawn, made even.

    Raises:
        FileNotFoundError, TypeError: no picture, or no landmarks. ValueError: landmarks between which no face
        can be, or a side out of range.
    """

    def __init__(self, picture: Any, landmarks: Landmarks | str | None = None, side: int = 256) -> None:
        if isinstance(landmarks, str):
            landmarks = Landmarks.parse(landmarks)
        if not isinstance(landmarks, Landmarks | None):
            raise TypeError(f"landmarks are {shown(landmarks)}; expected Landmarks, or places in words")
        side = whole(side, "side", 16, LARGEST)
        pixels = Image.fromarray(as_picture(picture, "the portrait"))
        pairs = side / max(pixels.size) / 2  # films need even sides
        width, height = (max(2, round(length * pairs) * 2) for length in pixels.size)
        self.picture = np.asarray(pixels.resize((width, height), Image.Resampling.LANCZOS))
        self._place(landmarks or Landmarks())

    def _place(self, landmarks: Landmarks) -> None:
        """Finds where every pixel lies in the coordinates of the face."""
        height, width = self.picture.shape[:2]
        size = np.array([width, height], np.float32)
        left, right, mouth = (
            np.array(p, np.float32) * size - 0.5  # the first pixel's middle is 0
            for p in (landmarks.left_eye, landmarks.right_eye, landmarks.mouth)
        )
        self.middle, along = (left + right) / 2, right - left
        self.unit = float(np.hypot(*along))  # pixels
        if self.unit < NEAREST:
            raise ValueError(
                f"the eyes are {self.unit:.1f} pixels apart in a picture of {width} x {height}; expected at "
                f"least {NEAREST}: check the landmarks, or cut the picture closer to the face"
            )
        across = along / self.unit
        self.axes = np.stack([across, np.array([-across[1], across[0]])]) / self.unit
        self.mouth = self.axes @ (mouth - self.middle)
        if self.mouth[1] < BROW:
            raise ValueError(
                f"the mouth lies {self.mouth[1]:.2f} distances of the eyes below them; expected at least "
                f"{BROW}, the left eye of the upright face first: check the landmarks"
            )
        wide = LIPS if landmarks.mouth_width is None else landmarks.mouth_width * width / self.unit
        if not NARROWEST <= wide <= WIDEST:
            raise ValueError(
                f"the mouth is {wide:.2f} distances of the eyes wide; expected {NARROWEST} to {WIDEST}: "
                "check the landmarks"
            )
        self.lips = wide / 2
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        offset = np.stack([columns, rows], -1) - self.middle
        self.x, self.y = np.moveaxis(offset @ self.axes.T.astype(np.float32), -1, 0)

    def posed(self, shapes: np.ndarray) -> np.ndarray:
        """The picture with its face as `shapes` `(52,)` say, `(h, w, 3)` bytes; zeros leave it as it is."""
        value = {name: min(max(float(v), 0.0), 1.0) for name, v in zip(SHAPES, shapes, strict=True)}
        x, y = self._lips_shaped(self.x - self.mouth[0], self.y - self.mouth[1], value)
        y, inside = self._jaw_fallen(x, y, value)
        x, y = x + self.mouth[0], y + self.mouth[1]
        y = self._brows_moved(x, y, value)
        y, shade = self._lids_moved(x, y, value)
        away = np.maximum(np.abs(x - self.x), np.abs(y - self.y)) * self.unit
        between = inside.alpha
        moved = (away > STILL) | (between > 0) | (shade < 1)
        out = self.picture.copy()
        if moved.any():
            seen = self._looked_up(x[moved], y[moved]) * shade[moved][:, None]
            alpha = between[moved][:, None]
            out[moved] = (seen + alpha * (inside.colours(moved) - seen)).round().clip(0, 255)
        return out

    def _looked_up(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Colours of the picture between its pixels, `(n, 3)`, the nearest at its edges."""
        height, width = self.picture.shape[:2]
        across, down = self.axes * self.unit**2
        column = (self.middle[0] + x * across[0] + y * down[0]).clip(0, width - 1)
        row = (self.middle[1] + x * across[1] + y * down[1]).clip(0, height - 1)
        left, top = column.astype(int).clip(0, width - 2), row.astype(int).clip(0, height - 2)
        u, v = (column - left)[:, None], (row - top)[:, None]
        upper = self.picture[top, left] * (1 - u) + self.picture[top, left + 1] * u
        lower = self.picture[top + 1, left] * (1 - u) + self.picture[top + 1, left + 1] * u
        return upper * (1 - v) + lower * v

    def _lips_shaped(
        self, x: np.ndarray, y: np.ndarray, value: dict[str, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where pixels come from if the mouth becomes wide or narrow, smiles or goes to a side; seen from its
        middle.
        """
        near = np.exp(-(x**2 + (1.5 * y) ** 2) / (1.6 * self.lips) ** 2)
        x = x - 0.12 * (value["mouthLeft"] - value["mouthRight"]) * near
        narrow = 0.35 * value["mouthPucker"] + 0.2 * value["mouthFunnel"]
        width = 1 - narrow + 0.15 * _both(value, "mouthStretch") + 0.2 * _both(value, "mouthSmile")
        x = x * (1 + (1 / width - 1) * near)
        up = 0.12 * (_both(value, "mouthSmile") - _both(value, "mouthFrown"))
        return x, y + up * np.minimum((x / self.lips) ** 2, 1.5) * near

    def _jaw_fallen(self, x: np.ndarray, y: np.ndarray, value: dict[str, float]) -> tuple[np.ndarray, Inside]:
        """Where pixels come from if the jaw falls and lips part, seen from the middle of the mouth; and what
        is between the lips.
        """
        shut = max(_both(value, "mouthPress"), value["mouthClose"])
        drop = (DROP * value["jawOpen"] + 0.06 * _both(value, "mouthLowerDown")) * (1 - 0.9 * shut)
        lift = LIFT * (0.6 * value["jawOpen"] + _both(value, "mouthUpperUp")) * (1 - shut)
        arch = (1 - (x / self.lips) ** 2).clip(0, 1)
        below, above = drop * arch, lift * arch
        jaw = drop * (1 - _smooth((np.abs(x) - JAW) / (CHEEK - JAW)))
        falls = below + (jaw - below) * _smooth((y - below) / 0.6)
        falls = falls * (1 - _smooth((y - CHIN) / (NECK - CHIN)))
        rises = above * (1 - _smooth((-y - above) / NOSE))
        source = np.where(
            y > (below - above) / 2, y - np.minimum(falls, y.clip(0)), y + np.minimum(rises, (-y).clip(0))
        )
        return source, Inside(y, above, below, self.unit)

    def _brows_moved(self, x: np.ndarray, y: np.ndarray, value: dict[str, float]) -> np.ndarray:
        """Where pixels come from if the brows move; the left one of the shapes is at the picture's right."""
        for sign, name in ((1, "Left"), (-1, "Right")):
            up = 0.1 * max(value["browInnerUp"], value[f"browOuterUp{name}"])
            up -= 0.08 * value[f"browDown{name}"]
            y = y + up * np.exp(-(((x - sign * 0.5) / 0.35) ** 2) - ((y + BROW) / 0.15) ** 2)
        return y

    def _lids_moved(
        self, x: np.ndarray, y: np.ndarray, value: dict[str, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where pixels come from if the upper lids fall, and how bright they are then."""
        shade, (half, height) = np.ones_like(y), EYE
        for sign, name in ((1, "Left"), (-1, "Right")):
            blink = value[f"eyeBlink{name}"]
            arch = np.sqrt((1 - ((x - sign * 0.5) / half) ** 2).clip(0, 1))
            open_edge = -height * arch
            edge = open_edge + 1.7 * blink * height * arch
            still = open_edge - LID
            covered = (y > still) & (y < edge) & (arch > 0)
            skin = still + (y - still) * (open_edge - still) / (edge - still)
            line = np.exp(-(((y - edge) * self.unit) ** 2) / max(1.0, 0.03 * self.unit) ** 2)
            shade = shade * (1 - LASHES * min(1, 2 * blink) * line * (arch > 0.2))
            y = np.where(covered, skin, y)
        return y, np.where(shade < 1 - STILL, shade, 1)


@dataclass(frozen=True)
class Inside:
    """What is seen between lips: y below the line between them, how far lips are above and below it there."""

    y: np.ndarray
    above: np.ndarray
    below: np.ndarray
    unit: float

    @property
    def alpha(self) -> np.ndarray:
        """How much of a pixel is between the lips."""
        upper, lower = (self.y + self.above) * self.unit, (self.below - self.y) * self.unit
        gap = (self.above + self.below) * self.unit
        return np.where(gap > 0, (upper + 0.5).clip(0, 1) * (lower + 0.5).clip(0, 1) * gap.clip(0, 1), 0)

    def colours(self, where: np.ndarray) -> np.ndarray:
        """Dark, with teeth above and a tongue below where there is room, `(n, 3)`."""
        y, above, below = self.y[where], self.above[where], self.below[where]
        soft = 0.02 + 1 / self.unit
        teeth = _smooth((0.07 - (y + above)) / soft + 0.5) * _smooth((above + below - 0.08) / 0.06)
        tongue = _smooth((y - 0.55 * below) / soft) * _smooth((below - 0.12) / 0.08)
        out = INSIDE + tongue[:, None] * (TONGUE - INSIDE)
        return out + teeth[:, None] * (TEETH - out)


def _both(value: dict[str, float], name: str) -> float:
    """The mean of a shape's two sides."""
    return (value[f"{name}Left"] + value[f"{name}Right"]) / 2


def _smooth(u: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, and 3 u^2 - 2 u^3 between."""
    u = u.clip(0, 1)
    return u * u * (3 - 2 * u)
