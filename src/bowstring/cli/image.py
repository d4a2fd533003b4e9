"""Commands that make pictures: image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import AsJson, Model, Seed, app, finish


@app.command()
def image(
    prompt: Annotated[str, typer.Argument(help='What to paint, for example "a sleepy fox".')],
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG file; it carries prompt, seed and settings.")],
    style: Annotated[str, typer.Option(help="noto, flat, fluent or twemoji; default: any.")] = "",
    steps: Annotated[int, typer.Option(help="Steps of the flow.")] = 16,
    guidance_scale: Annotated[float, typer.Option(help="How much the prompt counts; 1 is off.")] = 3.0,
    start: Annotated[Path | None, typer.Option(help="A picture to begin from.")] = None,
    strength: Annotated[float, typer.Option(help="How much of it is made new, 0 to 1.")] = 0.7,
    mask: Annotated[Path | None, typer.Option(help="White where the picture is painted anew.")] = None,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Paint a picture of 512 x 512 pixels; it is seen denoising in the terminal."""
    from ..engine import ArrowEngine
    from ..image.pipeline import ImageResult
    from ..weights.shipped import MULTIMODAL

    engine = ArrowEngine.load(model or MULTIMODAL)
    options: dict[str, Any] = {"style": style, "steps": steps, "cfg_scale": guidance_scale, "seed": seed}
    if start is not None:
        options |= {"start": start, "strength": strength}
    if mask is not None:
        options["mask"] = mask
    frames = engine.image_stream(prompt, **options)
    result: ImageResult = [*frames][-1] if as_json else show_painting(frames, engine)  # type: ignore[assignment]
    result.save(out)
    facts = {"file": str(out), "nfe": result.nfe, "seconds": result.seconds, **result.settings}
    finish(result, out, facts if as_json else None)


def show_painting(frames: Any, engine: Any) -> Any:
    """Shows what the picture is expected to become, two pixels a character."""
    from rich.live import Live

    result = None
    with Live(refresh_per_second=12, transient=True) as live:
        for frame in frames:
            if hasattr(frame, "image"):
                result = frame
                continue
            live.update(half_blocks(engine.image_pipeline.picture(frame.expected)))
    return result


def half_blocks(image: Any, width: int = 48) -> Any:
    """A picture as coloured characters; each shows two pixels, one above the other."""
    from rich.text import Text

    step = image.shape[0] // width
    small = image[step // 2 :: step, step // 2 :: step][:width, :width].astype(int)
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=False):
        for above, below in zip(upper, lower, strict=True):
            text.append("\u2580", f"rgb({','.join(map(str, above))}) on rgb({','.join(map(str, below))})")
        text.append("\n")
    return text
