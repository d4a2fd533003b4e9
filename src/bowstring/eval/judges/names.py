"""The judge of pictures of one thing: which name do they bear?

It learns nothing. A picture is compared with drawings of every name by people who drew none of the painted
styles, in fixed features; the nearest drawing decides. Its ceiling is measured on real pictures of those
styles. Shapes: b pictures `(b, 3, h, w)` in -1..1, n names, r drawings.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...train.data.gallery import curated
from ...train.data.pictures import JUDGE_PACKAGES, STYLE_PACKAGES, Concept, load_icons, on_white
from ...train.image.autoencoder import as_pixels
from .features import POOLED_FEATURES, appearance

SIDE = 256  # of a drawing on white
# What earlier layers and colours say crosses styles better than the last layer.
PARTS = slice(POOLED_FEATURES, None)


@dataclass(frozen=True)
class NameJudge:
    """Scores of names for pictures: the cosine with the nearest of a name's drawings.

    drawings: standardised features `(r, f)`; number: whose name each is; mean, std: of the drawings, `(f,)`.
    """

    names: tuple[str, ...]
    drawings: Tensor
    number: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, names: Sequence[str], seen: Tensor, number: Tensor) -> NameJudge:
        """From the appearances `(r, 2752)` of drawings."""
        seen = seen[:, PARTS]
        mean, std = seen.mean(0), seen.std(0) + 1e-3
        return cls(tuple(names), F.normalize((seen - mean) / std, dim=-1), number, mean, std)

    @classmethod
    def load(cls, folder: Path, groups: Container[int]) -> NameJudge:
        """Of the concepts of these groups that at least one of the judge's sets draws.

        Raises:
            FileNotFoundError: the icons were not fetched into `folder`. ImportError: nothing is installed
            that renders them or tells their features.
        """
        icons, everything = load_icons(folder, (*STYLE_PACKAGES, *JUDGE_PACKAGES))
        sets = [icons.drawings[name] for name in JUDGE_PACKAGES]
        found = [(one, drawn) for one in curated(everything, groups) if (drawn := [*drawings(one, sets)])]
        seen = [look(as_pixels(np.stack([on_white(icon, SIDE) for icon in drawn]))) for _, drawn in found]
        number = torch.tensor([i for i, (_, drawn) in enumerate(found) for _ in drawn])
        return cls.of([one.name for one, _ in found], torch.cat(seen), number)

    def scores(self, seen: Tensor) -> Tensor:
        """Appearances `(b, 2752)` -> `(b, n)`."""
        near = F.normalize((seen[:, PARTS] - self.mean) / self.std, dim=-1) @ self.drawings.T
        out = near.new_full((len(seen), len(self.names)), -1.0)
        return out.scatter_reduce(1, self.number.expand(len(seen), -1), near, "amax")

    def ranks(self, seen: Tensor, names: Sequence[str], among: int = 100, seed: int = 0) -> Tensor:
        """How many of `among` - 1 other names, drawn at random, score above the one asked for, `(b,)`."""
        scores, out = self.scores(seen), []
        for i, name in enumerate(names):
            own, rng = self.names.index(name), random.Random(f"{seed}-{i}")
            others = rng.sample([j for j in range(len(self.names)) if j != own], among - 1)
            out.append((scores[i, others] > scores[i, own]).sum())
        return torch.stack(out)


def drawings(concept: Concept, sets: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Every drawing of a concept in these sets, as an SVG document."""
    for icons in sets:
        yield from (icons[name] for name in spellings(concept.name) if name in icons)


def spellings(name: str) -> list[str]:
    """How other sets call a concept: without hyphens, as a face, or numbered.

    >>> "foxface" in spellings("fox"), "polarbear" in spellings("polar-bear")
    (True, True)
    """
    return [
        spelt
        for form in (name, f"{name}-face")
        for hyphened in (form, f"{form}-1", f"{form}-2")
        for spelt in dict.fromkeys((hyphened, hyphened.replace("-", "")))
    ]


def look(pixels: Tensor, width: int = 32) -> Tensor:
    """Appearances in batches, `(b, 2752)`."""
    return torch.cat([appearance(part) for part in pixels.split(width)])
