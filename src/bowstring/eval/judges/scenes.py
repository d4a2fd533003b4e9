"""What stands where in a scene: every drawing that could be there is tried at every place, in every colour
and size, and the one that explains most is taken away, over and over.

So a thing counts as the right one only if no other drawing of its style fits better. The drawings are ours to
know; nothing is learned. Shapes: pictures `(256, 256, 3)` in 0..1, taken apart on a grid of 64 x 64 cells.
Source: matching pursuit (Mallat and Zhang 1993) with drawings that keep their contrast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from ...train.data.pictures import (
    GROUNDS,
    THING_SIZES,
    TINTS,
    Concept,
    Icons,
    Scene,
    relation,
    render_icon,
    tinted,
)

SCENE_SIDE, CELLS = 256, 64
STEP = SCENE_SIDE // CELLS
PALETTE = ("", *TINTS)


@dataclass(frozen=True)
class Found:
    """A thing in a picture: what it is, its colour and size, and its centre as shares of the side."""

    name: str
    colour: str
    size: str
    x: float
    y: float


def cells(picture: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 pixels, `(h, w, c)` -> `(h / 4, w / 4, c)`; what is left over is cut off."""
    high, wide = (n // STEP for n in picture.shape[:2])
    return (
        picture[: high * STEP, : wide * STEP].reshape(high, STEP, wide, STEP, picture.shape[2]).mean((1, 3))
    )


def ground_of(seen: np.ndarray) -> np.ndarray:
    """The one of the four grounds that is nearest to the border of `(64, 64, 3)`, as a colour in 0..1."""
    border = np.median(np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]]), 0)
    known = np.array([*GROUNDS.values()]) / 255
    return known[np.square(known - border).sum(1).argmin()]


class Detector:
    """Finds the things that one style draws."""

    def __init__(self, icons: Icons, concepts: Sequence[Concept], style: str) -> None:
        self.labels = [(concept.name, colour) for concept in concepts for colour in PALETTE]
        self.drawings: dict[str, Tensor] = {}  # by size: colours times opacity, and opacity, (n, 4, w, w)
        for size, share in THING_SIZES.items():
            wide = -(-round(share * SCENE_SIDE) // STEP) * STEP
            made = []
            for concept in concepts:
                icon = render_icon(icons.drawings[style][concept.name], wide)
                for colour in PALETTE:
                    pixels = np.asarray(tinted(icon, colour) if colour else icon, np.float32) / 255
                    pixels[..., :3] *= pixels[..., 3:]
                    made.append(cells(pixels).transpose(2, 0, 1))
            self.drawings[size] = torch.from_numpy(np.stack(made))

    def explained(self, rest: Tensor, ground: Tensor) -> Iterable[tuple[str, Tensor, Tensor]]:
        """For every size: how much less is left of `(3, 64, 64)` with each drawing at each place,
        `(n, y, x)`, and what the drawings add to the ground, `(n, 3, w, w)`.
        """
        seen = torch.fft.rfft2(rest)
        for size, drawing in self.drawings.items():
            added = drawing[:, :3] - drawing[:, 3:] * ground[:, None, None]
            free = CELLS - added.shape[-1] + 1
            spectrum = torch.fft.rfft2(added, s=(CELLS, CELLS)).conj()
            overlap = torch.fft.irfft2((spectrum * seen).sum(1), s=(CELLS, CELLS))[:, :free, :free]
            yield size, 2 * overlap - added.square().sum((1, 2, 3))[:, None, None], added

    def find(self, picture: np.ndarray, count: int) -> list[Found]:
        """The `count` things that explain most of a picture, plainest first; fewer if nothing more helps."""
        seen = cells(picture.astype(np.float32))
        ground = torch.from_numpy(ground_of(seen).astype(np.float32))
        rest = torch.from_numpy(seen).permute(2, 0, 1) - ground[:, None, None]
        found: list[Found] = []
        for _ in range(count):
            best, top = None, 0.0
            for size, less, added in self.explained(rest, ground):
                if (most := float(less.max())) > top:
                    which, y, x = (int(i) for i in np.unravel_index(int(less.argmax()), less.shape))
                    best, top = (size, which, y, x, added[which]), most
            if best is None:
                break
            size, which, y, x, part = best
            wide = part.shape[-1]
            rest[:, y : y + wide, x : x + wide] -= part
            name, colour = self.labels[which]
            found.append(Found(name, colour, size, (x + wide / 2) / CELLS, (y + wide / 2) / CELLS))
        return found


def judged_scene(scene: Scene, found: Sequence[Found]) -> dict[str, bool]:
    """Are these the right things, in the asked colours and relations? Where things are wrong, they are taken
    for those that they agree with best.
    """
    wanted = scene.things
    if len(found) < len(wanted):
        return {"objects": False, "colours": False, "relations": False}
    pairs = [(0, 1), (2, 1)][: len(wanted) - 1]

    def judged(placed: Sequence[Found]) -> dict[str, bool]:
        both = [*zip(wanted, placed, strict=True)]
        return {
            "objects": all(thing.concept.name == one.name for thing, one in both),
            "colours": all(thing.colour == one.colour for thing, one in both),
            "relations": all(
                relation(wanted[a], wanted[b]) == relation(placed[a], placed[b])  # type: ignore[arg-type]
                for a, b in pairs
            ),
        }

    def agreement(placed: Sequence[Found]) -> int:
        return sum(
            2 * (thing.concept.name == one.name) + (thing.colour == one.colour)
            for thing, one in zip(wanted, placed, strict=True)
        )

    return judged(max(permutations(found, len(wanted)), key=agreement))
