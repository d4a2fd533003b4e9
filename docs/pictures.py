"""Draws the README's pictures: concepts by styles, one picture while it denoises, and faces that speak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bowstring import ArrowEngine, Portrait
from bowstring.face.draw import strip
from bowstring.image.pipeline import ImageFrame
from bowstring.image.sampling import STYLES

HERE = Path(__file__).parent
THINGS = ("fox", "frog", "octopus", "tulip", "penguin", "maple leaf", "cactus", "spouting whale")
CELL = 144


def small(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((CELL, CELL), Image.Resampling.LANCZOS)


def grid(engine: ArrowEngine) -> None:
    """Every thing in every style, the seed being 0: nothing is chosen."""
    sheet = Image.new("RGB", (60 + CELL * len(THINGS), 20 + CELL * len(STYLES)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, thing in enumerate(THINGS):
        pen.text((64 + column * CELL, 4), thing, fill="black")
        for row, style in enumerate(STYLES):
            made = engine.image(thing, style=style, steps=24, seed=0)
            sheet.paste(small(made.image), (60 + column * CELL, 20 + row * CELL))
    for row, style in enumerate(STYLES):
        pen.text((4, 20 + row * CELL + CELL // 2), style, fill="black")
    sheet.quantize(160).save(HERE / "pictures.png", optimize=True)


def denoising(engine: ArrowEngine, prompt: str = "fox", steps: int = 16) -> None:
    """What a picture is expected to become, at eight of its steps."""
    frames = [
        frame
        for frame in engine.image_stream(prompt, style="noto", steps=steps, seed=2)
        if isinstance(frame, ImageFrame)
    ]
    shown = [frames[i] for i in np.linspace(0, len(frames) - 1, 8).round().astype(int)]
    strip = Image.new("RGB", (CELL * 8, CELL), "white")
    for i, frame in enumerate(shown):
        strip.paste(small(engine.image_pipeline.picture(frame.expected)), (i * CELL, 0))
    strip.quantize(160).save(HERE / "denoising.png", optimize=True)


def speaking(engine: ArrowEngine) -> None:
    """Moments of a face that says a sentence."""
    made = engine.converse("a fox", text="My small boat is moving over the warm blue bay.", picture=False)
    Image.fromarray(strip(made.face, count=8, side=CELL)).quantize(64).save(HERE / "face.png", optimize=True)


def portrait(engine: ArrowEngine) -> None:
    """Moments of a painted face that says a sentence."""
    panda = engine.image("a panda", style="fluent", seed=0).image
    panda = Portrait(panda, "0.33,0.53 0.63,0.53 0.5,0.72 0.22", CELL)
    made = engine.converse("a panda", text="Hello, I am a panda. Papa made me.", picture=False)
    moments = Image.fromarray(strip(made.face, count=8, portrait=panda))
    moments.quantize(128).save(HERE / "portrait.png", optimize=True)


if __name__ == "__main__":
    engine = ArrowEngine.load("multimodal")
    grid(engine)
    denoising(engine)
    speaking(engine)
    portrait(engine)
