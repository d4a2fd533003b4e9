"""Pictures with exact captions: emoji of four styles, alone and composed into scenes.

Icons are drawings (SVG) in npm packages, which `fetch` downloads when asked; names and keywords come with
them. A scene is a description from which picture and caption both follow, so whatever a picture is asked
about is known. Arrays are `(side, side, 3)` bytes. Rendering needs resvg-py, `pip install
"bowstring[pictures]"`.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from .npm import archive_of, download, member
from .splits import RULE, bucket

STYLE_PACKAGES = {  # name: (package, version, licence)
    "noto": ("@iconify-json/noto", "1.2.9", "Apache-2.0"),
    "flat": ("@iconify-json/fluent-emoji-flat", "1.2.6", "MIT"),
    "fluent": ("@iconify-json/fluent-emoji", "1.2.7", "MIT"),
    "twemoji": ("@iconify-json/twemoji", "1.2.5", "CC-BY-4.0"),
}
JUDGE_PACKAGES = {  # what only the judge of pictures knows; none is an edition of a set above
    "emojione": ("@iconify-json/emojione", "1.2.3", "CC-BY-4.0"),
    "streamline": ("@iconify-json/streamline-emojis", "1.2.4", "CC-BY-4.0"),
    "fxemoji": ("@iconify-json/fxemoji", "1.2.2", "Apache-2.0"),
}
NAMES_PACKAGE = ("emojibase-data", "17.0.0", "MIT")
TINTS = {
    "red": (214, 40, 40),
    "orange": (240, 130, 30),
    "yellow": (245, 205, 50),
    "green": (60, 160, 70),
    "blue": (45, 100, 205),
    "purple": (130, 70, 180),
    "pink": (240, 130, 175),
    "brown": (130, 85, 50),
}
MORE_TINTS = {  # that no scene has
    "black": (35, 35, 40),
    "grey": (125, 125, 130),
    "turquoise": (40, 185, 180),
    "golden": (212, 165, 30),
}
ALL_TINTS = TINTS | MORE_TINTS
GROUNDS = {"": (255, 255, 255), "grey": (205, 205, 205), "sky": (190, 222, 245), "sand": (243, 228, 190)}
THING_SIZES = {"small": 0.24, "": 0.36, "big": 0.5}
RELATIONS = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
TWINS = {"flat": "fluent"}  # styles whose drawings of one thing are nearly the same, by the style they follow
PAIRS_HELD_OUT = 15  # per cent of (concept, style) pairs
THINGS = {3, 4, 5, 6, 7}  # groups of animals, food, places, games and objects: what a scene is made of


@dataclass(frozen=True)
class Concept:
    """A thing that all four styles draw: the icons' name, its label, words for it, and emojibase's group."""

    name: str
    label: str
    tags: tuple[str, ...]
    group: int = 7


@dataclass(frozen=True)
class Thing:
    """A concept at a place: centre and side as shares of the picture's side."""

    concept: Concept
    colour: str
    size: str
    x: float
    y: float

    @property
    def side(self) -> float:
        return THING_SIZES[self.size]

    def words(self) -> str:
        words = " ".join(word for word in (self.size, self.colour, self.concept.label) if word)
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True)
class Scene:
    """One to three things of one style on a ground."""

    things: tuple[Thing, ...]
    style: str
    ground: str = ""

    def caption(self) -> str:
        """What is seen, in words: the first two things by their relation, a third one after them."""
        words = [thing.words() for thing in self.things]
        text = words[0]
        if len(words) > 1:
            text += f" {relation(*self.things[:2])} {words[1]}"
        if len(words) > 2:
            text += f", and {words[2]} {relation(self.things[2], self.things[1])} it"
        return text + (f" on {self.ground}" if self.ground else "")


def relation(a: Thing, b: Thing) -> str:
    """Where a is, seen from b: the larger of the two distances decides."""
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def slug(label: str) -> str:
    """
    >>> slug("woman's sandal")
    'womans-sandal'
    """
    return re.sub(r"[^a-z0-9]+", "-", label.lower().replace("\u2019", "").replace("'", "")).strip("-")


def pair_held_out(concept: str, style: str) -> bool:
    """Whether this pair is kept from training, with the pairs of all styles that draw it nearly the same; the
    concept is then seen in other styles, and the style in other concepts.
    """
    return bucket(f"{concept}|{TWINS.get(style, style)}") < PAIRS_HELD_OUT


def pair_unseen(concept: str, style: str, rule: int = RULE) -> bool:
    """Whether a model that was trained under this rule of splitting has seen neither the pair nor a twin.

    The first rule held every pair out for itself, so a pair counts only if it held all of its twins out;
    a training that goes on under this rule spoils nothing.
    """
    if rule == RULE:
        return pair_held_out(concept, style)
    family = TWINS.get(style, style)
    twins = [one for one in STYLE_PACKAGES if TWINS.get(one, one) == family]
    return pair_held_out(concept, style) and all(
        bucket(f"{concept}|{twin}") < PAIRS_HELD_OUT for twin in twins
    )


def pair_learned(concept: str, style: str, rule: int = RULE) -> bool:
    """Whether a model that was trained under this rule may have learned from the pair itself."""
    key = f"{concept}|{style}"
    return not pair_held_out(concept, style) if rule == RULE else bucket(key) >= PAIRS_HELD_OUT


def fetch(folder: Path) -> None:
    """Downloads the packages of icons and names that are missing in `folder`, as `npm.fetch` does."""
    download(folder, (*STYLE_PACKAGES.values(), *JUDGE_PACKAGES.values(), NAMES_PACKAGE))


@dataclass(frozen=True)
class Icons:
    """Drawings of every style, as SVG documents."""

    drawings: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls, folder: Path, styles: Iterable[str] = STYLE_PACKAGES) -> Icons:
        drawings: dict[str, dict[str, str]] = {}
        for style in styles:
            package, version, _ = (STYLE_PACKAGES | JUDGE_PACKAGES)[style]
            data = member(archive_of(folder, package, version), "icons.json")
            assert isinstance(data, dict)
            side = data.get("width", 16)
            head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}">'
            drawings[style] = {name: f"{head}{icon['body']}</svg>" for name, icon in data["icons"].items()}
        return cls(drawings)

    def concepts(self, names: Sequence[Mapping[str, object]]) -> list[Concept]:
        """Everything that all styles draw and `names` (emojibase's compact list) tells the words of."""
        common = set.intersection(*(set(self.drawings[style]) for style in STYLE_PACKAGES))
        out = []
        for row in names:
            label, tags = str(row["label"]), row.get("tags") or ()
            if (name := slug(label)) in common:
                assert isinstance(tags, Sequence)
                group = int(str(row.get("group", 8)))
                out.append(Concept(name, label.lower(), tuple(map(str, tags)), group))
        return out


@lru_cache(maxsize=4096)
def render_icon(svg: str, side: int) -> Image.Image:
    """An icon with its transparency, `side` pixels wide."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGBA")


def tinted(icon: Image.Image, colour: str) -> Image.Image:
    """The icon in shades of one colour: darkest to the colour's own dark, lightest to nearly white."""
    pixels = np.asarray(icon).astype(np.float32)
    light = (pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) / 255)[..., None]
    tone = np.array(ALL_TINTS[colour], np.float32)
    shaded = np.where(light < 0.6, tone * (0.35 + light / 0.6 * 0.65), tone + (245 - tone) * (light - 0.6))
    return Image.fromarray(
        np.concatenate([shaded, pixels[..., 3:]], -1).clip(0, 255).astype(np.uint8), "RGBA"
    )


def scene_picture(scene: Scene, icons: Icons, side: int) -> np.ndarray:
    """The picture of a scene, `(side, side, 3)` bytes."""
    canvas = Image.new("RGBA", (side, side), (*GROUNDS[scene.ground], 255))
    for thing in scene.things:
        wide = round(thing.side * side)
        icon = render_icon(icons.drawings[scene.style][thing.concept.name], wide)
        icon = tinted(icon, thing.colour) if thing.colour else icon
        canvas.alpha_composite(icon, (round(thing.x * side - wide / 2), round(thing.y * side - wide / 2)))
    return np.asarray(canvas.convert("RGB"))


def icon_picture(concept: Concept, icons: Icons, style: str, side: int) -> np.ndarray:
    """One icon on white with a small margin, `(side, side, 3)` bytes."""
    return on_white(icons.drawings[style][concept.name], side)


def on_white(svg: str, side: int) -> np.ndarray:
    """A drawing on white with a small margin, `(side, side, 3)` bytes."""
    wide = round(0.92 * side)
    canvas = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    canvas.alpha_composite(render_icon(svg, wide), ((side - wide) // 2,) * 2)
    return np.asarray(canvas.convert("RGB"))


def icon_view(concept: Concept, icons: Icons, style: str, side: int, number: int) -> np.ndarray:
    """One icon seen otherwise, `(side, side, 3)` bytes: turned a little, smaller, somewhere else, and every
    other one in a mirror.
    """
    rng = random.Random(f"{concept.name}|{style}|{number}")
    icon = render_icon(icons.drawings[style][concept.name], round(0.92 * side))
    icon = icon.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else icon
    wide = round(rng.uniform(0.72, 0.95) * side)
    icon = icon.rotate(rng.gauss(0, 6), resample=Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    where = (rng.randint(0, side - wide), rng.randint(0, side - wide))
    canvas.alpha_composite(icon.resize((wide, wide), Image.Resampling.LANCZOS), where)
    return np.asarray(canvas.convert("RGB"))


def compose(rng: random.Random, concepts: Sequence[Concept], style: str) -> Scene:
    """A scene of one to three different things that do not overlap and whose relations are clear."""
    for _ in range(200):
        chosen = rng.sample(concepts, rng.choice((1, 2, 2, 3)))
        things: list[Thing] = []
        for concept in chosen:
            size = rng.choice(("small", "", "", "big")) if len(chosen) < 3 else rng.choice(("small", ""))
            half = THING_SIZES[size] / 2
            colour = rng.choice(("", "", *TINTS))
            x, y = (rng.uniform(half, 1 - half) for _ in range(2))
            things.append(Thing(concept, colour, size, x, y))
        if all(clear(a, b) for i, a in enumerate(things) for b in things[:i]):
            return Scene(tuple(things), style, rng.choice(("", "", *GROUNDS)))
    return Scene((Thing(concepts[0], "", "", 0.5, 0.5),), style)


def clear(a: Thing, b: Thing) -> bool:
    """The two do not overlap, and one distance is twice the other, so that their relation is beyond doubt."""
    far, near = sorted((abs(a.x - b.x), abs(a.y - b.y)), reverse=True)
    return far >= 0.9 * (a.side + b.side) / 2 and far >= 2 * near


def scenes(
    concepts: Sequence[Concept], count: int, seed: int = 0, *, held_out: bool = False
) -> Iterator[Scene]:
    """Scenes that depend on (seed, number) alone. Training scenes use no held-out pair of concept and
    style.
    """
    for i in range(count):
        rng = random.Random(f"scene-{seed}-{i}-{held_out}")
        style = rng.choice([*STYLE_PACKAGES])
        allowed = [c for c in concepts if c.group in THINGS and pair_held_out(c.name, style) == held_out]
        yield compose(rng, allowed, style)


def icon_caption(concept: Concept, rng: random.Random) -> str:
    """One way to ask for an icon: its label, with or without an article, or with a keyword."""
    label = concept.label
    ways = [label, f"{'an' if label[0] in 'aeiou' else 'a'} {label}", f"a picture of {label}"]
    if concept.tags:
        ways.append(f"{label}, {rng.choice(concept.tags)}")
    return rng.choice(ways)


def load_icons(folder: Path, styles: Iterable[str] = STYLE_PACKAGES) -> tuple[Icons, list[Concept]]:
    """Icons and concepts of the packages in `folder`."""
    icons = Icons.load(folder, styles)
    names = member(archive_of(folder, NAMES_PACKAGE[0], NAMES_PACKAGE[1]), "en/compact.json")
    assert isinstance(names, list)
    return icons, icons.concepts(names)
