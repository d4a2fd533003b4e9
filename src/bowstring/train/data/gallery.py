"""The pictures that are learned, drawn once: every curated icon in four styles, and scenes.

A gallery is `gallery.npy`, `(n, 512, 512, 3)` bytes, to be memory-mapped, and `gallery.jsonl`, one line a
picture. Which pictures are held out is decided by `pair_held_out` before anything is drawn.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from .pictures import (
    STYLE_PACKAGES,
    Concept,
    Icons,
    Scene,
    icon_caption,
    icon_picture,
    icon_view,
    load_icons,
    pair_held_out,
    scene_picture,
    scenes,
)

CURATED = {0, 3, 4, 5, 6, 7}  # smileys, animals, food, places, games, objects; people look too much alike
LEARNED = CURATED  # what the trunk learns to paint; a model says in its metadata what it did learn
GALLERY_SIDE = 512
SCENES, HELD_OUT_SCENES = 600, 100


@dataclass(frozen=True)
class Picture:
    """One picture of a gallery: ways to ask for it, its style, and the things that are in it. A `view`
    above 0 is an icon's picture seen otherwise.
    """

    captions: tuple[str, ...]
    style: str
    concept: str  # the icon's name; empty for a scene
    held_out: bool
    scene: Scene | None = None
    view: int = 0


def curated(concepts: list[Concept], groups: Container[int] = CURATED) -> list[Concept]:
    return [concept for concept in concepts if concept.group in groups]


def ways(concept: Concept) -> tuple[str, ...]:
    """All captions of an icon that some draw of `captions` gives, at most eight, the label first."""
    rng = random.Random(concept.name)
    drawn_ways = {icon_caption(concept, rng) for _ in range(24)} - {concept.label}
    return (concept.label, *sorted(drawn_ways)[:7])


def plan(
    concepts: list[Concept],
    count: int = SCENES,
    held_out: int = HELD_OUT_SCENES,
    groups: Container[int] = CURATED,
) -> list[Picture]:
    """Every picture of a gallery, in order: icons of these groups, then scenes of them."""
    concepts = curated(concepts, groups)
    icons = [
        Picture(ways(concept), style, concept.name, pair_held_out(concept.name, style))
        for concept in concepts
        for style in STYLE_PACKAGES
    ]
    made = [
        Picture((scene.caption(),), scene.style, "", hidden, scene)
        for hidden, number in ((False, count), (True, held_out))
        for scene in scenes(concepts, number, held_out=hidden)
    ]
    return icons + made


def views(pictures: list[Picture], count: int) -> list[Picture]:
    """So many views of every icon that may be learned from."""
    icons = [picture for picture in pictures if picture.scene is None and not picture.held_out]
    return [replace(picture, view=number) for picture in icons for number in range(1, count + 1)]


def render_picture(picture: Picture, icons: Icons, by_name: dict[str, Concept], side: int) -> np.ndarray:
    """`(side, side, 3)` bytes."""
    if picture.scene is not None:
        return scene_picture(picture.scene, icons, side)
    if picture.view:
        return icon_view(by_name[picture.concept], icons, picture.style, side, picture.view)
    return icon_picture(by_name[picture.concept], icons, picture.style, side)


def _paint_some(pictures: list[Picture], source: Path, side: int) -> list[np.ndarray]:
    icons, concepts = load_icons(source)
    by_name = {concept.name: concept for concept in concepts}
    return [render_picture(picture, icons, by_name, side) for picture in pictures]


def painted(pictures: list[Picture], source: Path, side: int, workers: int = 2) -> Iterator[np.ndarray]:
    """The pictures in order, drawn by several processes."""
    chunks = [pictures[i : i + 128] for i in range(0, len(pictures), 128)]
    work: Callable[..., list[np.ndarray]] = partial(_paint_some, source=source, side=side)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for made in pool.map(work, chunks):
            yield from made


def build_gallery(source: Path, out: Path) -> list[Picture]:
    """Draws the gallery into `out`, unless it lies there, and returns its pictures.

    Raises:
        FileNotFoundError: the icons were not fetched into `source`.
    """
    _, concepts = load_icons(source)
    pictures = plan(concepts)
    if (out / "gallery.jsonl").exists():
        return pictures
    out.mkdir(parents=True, exist_ok=True)
    shape = (len(pictures), GALLERY_SIDE, GALLERY_SIDE, 3)
    pixels = np.lib.format.open_memmap(out / "gallery.npy", "w+", np.uint8, shape)
    for i, image in enumerate(painted(pictures, source, GALLERY_SIDE)):
        pixels[i] = image
    pixels.flush()
    with (out / "gallery.jsonl").open("w") as file:
        for picture in pictures:
            file.write(json.dumps(asdict(picture)) + "\n")
    return pictures


def pixels_of(out: Path) -> np.ndarray:
    """The gallery's pixels, memory-mapped."""
    return np.load(out / "gallery.npy", mmap_mode="r")
