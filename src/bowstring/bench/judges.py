"""Judges of pictures: which name does it bear, and what stands where in a scene.

None of them had a part in training. Shapes: b pictures `(b, 3, h, w)` in -1..1, n names.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from ..train.data.pictures import COLOURS, Scene, relation
from ..train.features import appearance
from ..train.judge import read_judge

CELLS = 64  # a scene is taken apart on a grid of so many cells
STANDS_OUT = 0.12  # difference to the ground, of the full range, from which a cell belongs to a thing
SMALLEST = 24  # cells of a thing


@dataclass(frozen=True)
class NameJudge:
    """Scores of names for pictures, by cosine."""

    names: tuple[str, ...]
    tower: Tensor
    shift: Tensor
    table: Tensor

    @classmethod
    def load(cls, path: Path) -> NameJudge:
        parts = read_judge(path)
        with safe_open(path, "pt") as file:
            names = tuple(file.metadata()["names"].split("\n"))
        return cls(names, parts["tower"], parts["shift"], parts["names"])

    def scores(self, seen: Tensor) -> Tensor:
        """Appearances `(b, 2752)` -> `(b, n)`."""
        return F.normalize((seen - self.shift) @ self.tower.T, dim=-1) @ self.table.T

    def ranks(self, seen: Tensor, asked: Sequence[str], among: int = 100, seed: int = 0) -> Tensor:
        """How many of `among` - 1 other names, drawn at random, score above the one asked for, `(b,)`."""
        scores, out = self.scores(seen), []
        for i, name in enumerate(asked):
            own, rng = self.names.index(name), random.Random(f"{seed}-{i}")
            others = rng.sample([j for j in range(len(self.names)) if j != own], among - 1)
            out.append((scores[i, others] > scores[i, own]).sum())
        return torch.stack(out)


def look(pixels: Tensor, width: int = 32) -> Tensor:
    """Appearances in batches, `(b, 2752)`."""
    return torch.cat([appearance(part) for part in pixels.split(width)])


@dataclass(frozen=True)
class Found:
    """A thing in a picture: its centre as shares of the side, its cells' box, its colour `(3,)` in 0..1."""

    x: float
    y: float
    box: tuple[int, int, int, int]
    colour: str


def components(mask: np.ndarray) -> list[np.ndarray]:
    """Connected cells `(n, 2)` of a plane of booleans, gaps of two cells being bridged."""
    left, out = mask.copy(), []
    while left.any():
        stack, cells = [tuple(np.argwhere(left)[0])], []
        left[stack[0]] = False
        while stack:
            y, x = stack.pop()
            cells.append((y, x))
            top, side = max(0, y - 2), max(0, x - 2)
            for dy, dx in np.argwhere(left[top : y + 3, side : x + 3]):
                left[top + dy, side + dx] = False
                stack.append((top + dy, side + dx))
        out.append(np.array(cells))
    return out


def named_colour(pixels: np.ndarray) -> str:
    """The colour that is nearest to the mean of the more saturated half of `(n, 3)` in 0..1, in any shade."""
    spread = pixels.max(1) - pixels.min(1)
    strong = pixels[spread >= np.median(spread)].mean(0)
    shades = {}
    for name, tone in COLOURS.items():
        target = np.array(tone) / 255
        shades[name] = min(
            float(np.square(strong - shade).sum()) for shade in (target * k for k in (0.5, 0.7, 0.85, 1.0))
        )
    return min(shades, key=lambda name: shades[name])


def things(picture: np.ndarray) -> list[Found]:
    """What stands out from the ground of `(256, 256, 3)` in 0..1, largest first."""
    step = len(picture) // CELLS
    cells = picture.reshape(CELLS, step, CELLS, step, 3).mean((1, 3))
    border = np.concatenate([cells[0], cells[-1], cells[:, 0], cells[:, -1]])
    ground = np.median(border, 0)
    parts = [c for c in components(np.abs(cells - ground).max(-1) > STANDS_OUT) if len(c) >= SMALLEST]
    out = []
    for part in sorted(parts, key=len, reverse=True):
        (top, left), (bottom, right) = part.min(0), part.max(0) + 1
        y, x = (top + bottom) / 2 / CELLS, (left + right) / 2 / CELLS
        inside = cells[part[:, 0], part[:, 1]]
        out.append(Found(float(x), float(y), (top, left, bottom, right), named_colour(inside)))
    return out


def crop(picture: np.ndarray, found: Found) -> Tensor:
    """A thing with a margin, scaled to a square, `(3, 128, 128)` in -1..1."""
    step = len(picture) // CELLS
    top, left, bottom, right = (edge * step for edge in found.box)
    half = round(max(bottom - top, right - left) * 0.55)
    y, x = (top + bottom) // 2, (left + right) // 2
    padded = np.pad(picture, [(half, half), (half, half), (0, 0)], "edge")
    part = torch.from_numpy(padded[y : y + 2 * half, x : x + 2 * half]).permute(2, 0, 1)[None].float()
    return F.interpolate(part, (128, 128), mode="bilinear", antialias=True)[0] * 2 - 1


def judged_scene(judge: NameJudge, scene: Scene, picture: np.ndarray, seed: int) -> dict[str, bool]:
    """Are the right things there (each among the best 5 of 100 names), in the asked colours and relations?"""
    found = things(picture)[:4]
    wanted = scene.things
    if len(found) < len(wanted):
        return {"objects": False, "colours": False, "relations": False}
    seen = look(torch.stack([crop(picture, one) for one in found]))
    taken: dict[int, int] = {}
    ranks = torch.stack([judge.ranks(seen, [thing.concept.name] * len(found), seed=seed) for thing in wanted])
    for _ in wanted:  # the surest pair first
        flat = ranks.clone()
        for i, j in taken.items():
            flat[i], flat[:, j] = 10_000, 10_000
        i, j = divmod(int(flat.argmin()), len(found))
        taken[i] = j
    placed = [found[taken[i]] for i in range(len(wanted))]
    objects = all(int(ranks[i, j]) < 5 for i, j in taken.items())
    colours = all(not t.colour or t.colour == f.colour for t, f in zip(wanted, placed, strict=True))
    pairs = [(0, 1), (2, 1)][: len(wanted) - 1]
    relations = all(
        relation(wanted[a], wanted[b]) == relation(placed[a], placed[b])  # type: ignore[arg-type]
        for a, b in pairs
    )
    return {"objects": objects, "colours": colours, "relations": relations}
