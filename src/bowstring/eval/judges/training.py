"""The judge of pictures: names against pictures, on fixed features.

It learns from further sets of icons, none of them an edition of a style that the network paints; its ceiling
is measured on real pictures of those. Shapes: n names, features of 2752.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from ...train.data.gallery import LEARNED, curated
from ...train.data.pictures import (
    GROUNDS,
    JUDGE_PACKAGES,
    STYLE_PACKAGES,
    TINTS,
    Concept,
    load_icons,
    render_icon,
    tinted,
)
from ...train.image.autoencoder import as_pixels
from .features import appearance

VARIANTS = 5  # pictures of each drawing, the first one plain


def varied(icon: str, rng: random.Random, *, plain: bool) -> np.ndarray:
    """A drawing on a ground, `(128, 128, 3)` bytes; perhaps tinted, smaller, off the middle."""
    side = 118 if plain else rng.randint(70, 124)
    image = render_icon(icon, side)
    if not plain and rng.random() < 0.5:
        image = tinted(image, rng.choice([*TINTS]))
    ground = GROUNDS["" if plain else rng.choice(("", "", *GROUNDS))]
    canvas = Image.new("RGBA", (128, 128), (*ground, 255))
    free = 128 - side
    place = (free // 2, free // 2) if plain else (rng.randint(0, free), rng.randint(0, free))
    canvas.alpha_composite(image, place)
    return np.asarray(canvas.convert("RGB"))


def drawings(concepts: list[Concept], sets: list[Mapping[str, str]]) -> Iterator[tuple[int, str]]:
    """(number of the concept, SVG) of everything that the judge learns from."""
    for number, concept in enumerate(concepts):
        for icons in sets:
            yield from ((number, icons[name]) for name in spellings(concept.name) if name in icons)


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


def drawn_by_any(concepts: list[Concept], sets: list[Mapping[str, str]]) -> list[Concept]:
    """Those that at least one of the sets draws: a name that was never seen cannot be judged."""
    return [
        concept
        for concept in concepts
        if any(name in one for one in sets for name in spellings(concept.name))
    ]


def fit_names(seen: Tensor, names: Tensor, count: int, steps: int = 600, seed: int = 0) -> dict[str, Tensor]:
    """A linear map of standardised features and a vector for each name, by cross-entropy over all names."""
    torch.manual_seed(seed)
    mean, std = seen.mean(0), seen.std(0) + 1e-3
    x = (seen - mean) / std
    tower = torch.nn.Linear(x.shape[1], 192, bias=False)
    table = torch.nn.Parameter(0.1 * torch.randn(count, 192))
    optimiser = torch.optim.AdamW([*tower.parameters(), table], lr=2e-3, weight_decay=0.05)
    for step in range(steps):
        rng = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = torch.randint(len(x), (512,), generator=rng)
        noisy = x[index] * (torch.rand(512, x.shape[1], generator=rng) > 0.3)
        scores = 12 * F.normalize(tower(noisy), dim=-1) @ F.normalize(table, dim=-1).T
        loss = F.cross_entropy(scores, names[index], label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        weight = tower.weight / std
        return {"tower": weight.half(), "shift": mean.half(), "names": F.normalize(table, dim=-1).half()}


def train_judge(data: Path, out: Path) -> None:
    """`bowstring train judge`: writes `judge.safetensors`, which the bench reads."""
    icons, everything = load_icons(data, (*STYLE_PACKAGES, *JUDGE_PACKAGES))
    sets = [icons.drawings[name] for name in JUDGE_PACKAGES]
    concepts = drawn_by_any(curated(everything, LEARNED), sets)
    seen, numbers = [], []
    pairs, rng = [*drawings(concepts, sets)], random.Random(0)
    for i in track(range(0, len(pairs), 16), "looking"):
        some = pairs[i : i + 16]
        pictures = [varied(icon, rng, plain=v == 0) for _, icon in some for v in range(VARIANTS)]
        seen.append(appearance(as_pixels(np.stack(pictures))))
        numbers += [number for number, _ in some for _ in range(VARIANTS)]
    judge = fit_names(torch.cat(seen), torch.tensor(numbers), len(concepts))
    out.mkdir(parents=True, exist_ok=True)
    save_file(judge, out / "judge.safetensors", {"names": "\n".join(c.name for c in concepts)})
    Console().print(f"{len(pairs)} drawings of {len(concepts)} names; written to {out / 'judge.safetensors'}")


def read_judge(path: Path) -> dict[str, Tensor]:
    """
    Raises:
        FileNotFoundError: no judge was trained.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; make it with `bowstring train judge`")
    return {name: tensor.float() for name, tensor in load_file(path).items()}
