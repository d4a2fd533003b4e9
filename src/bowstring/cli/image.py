"""Commands that make pictures: image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import Adapters, AsJson, Model, Seed, app, with_adapters
from .memory import Folder, Namespace, Remembered, WriteBack, loaded, note_memories
from .terminal import HALF, can_show, note, put_json, read_stdin_for, watch

Steps = Annotated[
    int | None,
    typer.Option("--steps", "--num-inference-steps", help="Steps of the flow; default: the model's."),
]


@app.command()
def image(
    prompt: Annotated[str, typer.Argument(help='What to paint, for example "a sleepy fox".')],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="PNG or JPEG file; it carries prompt, seed and settings.")
    ],
    style: Annotated[str, typer.Option(help="noto, flat, fluent or twemoji; default: any.")] = "",
    negative_prompt: Annotated[str, typer.Option(help="What the picture is to be unlike.")] = "",
    size: Annotated[int, typer.Option(help="Pixels along a side, up to 512.")] = 512,
    steps: Steps = None,
    cfg_scale: Annotated[
        float,
        typer.Option("--guidance-scale", "--cfg-scale", help="How much the prompt counts; 1 is off."),
    ] = 3.0,
    start: Annotated[Path | None, typer.Option(help="A picture to begin from.")] = None,
    strength: Annotated[float, typer.Option(help="How much of it is made new, 0 to 1.")] = 0.7,
    mask: Annotated[Path | None, typer.Option(help="White where the picture is painted anew.")] = None,
    seed: Seed = 0,
    adapter: Adapters = None,
    remembered: Remembered = False,
    memory: Folder = None,
    namespace: Namespace = None,
    write_back: WriteBack = False,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Paint a picture; on a terminal it is seen denoising."""
    from ..core.files import output
    from ..image.files import ENDINGS

    out = output(out, ENDINGS)
    from ..weights.shipped import MULTIMODAL

    engine = loaded(model or MULTIMODAL, memory, namespace, guided=remembered, write_back=write_back)
    engine = with_adapters(engine, adapter)
    options: dict[str, Any] = {"style": style, "steps": steps, "cfg_scale": cfg_scale, "seed": seed}
    options |= {"negative_prompt": negative_prompt, "size": size, "write_back": write_back}
    options |= {"memory_guided": bool(remembered or memory or namespace)}
    options |= {} if start is None else {"start": start, "strength": strength}
    options |= {} if mask is None else {"mask": mask}
    frames = engine.image_stream(read_stdin_for(prompt).removesuffix("\n"), **options)
    result = watch(frames, lambda frame: painting(frame, engine))
    result.save(out)
    if as_json:
        made = {"file": str(out), "nfe": result.nfe, "seconds": result.seconds}
        guides = [one.to_json() for one in result.memories]
        return put_json(made | {"memories": guides, "notes": result.notes} | result.settings)
    h, w = result.image.shape[:2]
    note(f"{w} x {h} pixels, {result.nfe} evaluations, {sum(result.seconds):.2f} s")
    note_memories(result)
    note(f"written to {out}")


def painting(frame: Any, engine: Any) -> Any:
    """What the picture is expected to become; nothing of the result, which is in a file."""
    return half_blocks(engine.image_pipeline.picture(frame.expected)) if hasattr(frame, "expected") else None


def half_blocks(image: Any, width: int = 48) -> Any:
    """A picture as coloured characters; each shows two pixels, one above the other, or the mean of both where
    the terminal has no such character.
    """
    from rich.text import Text

    step = image.shape[0] // width
    small = image[step // 2 :: step, step // 2 :: step][:width, :width].astype(int)
    text, halves = Text(), can_show(HALF)
    for upper, lower in zip(small[::2], small[1::2], strict=False):
        for above, below in zip(upper, lower, strict=True):
            if halves:
                text.append(HALF, f"{_rgb(above)} on {_rgb(below)}")
            else:
                text.append(" ", f"on {_rgb((above + below) // 2)}")
        text.append("\n")
    return text


def _rgb(colour: Any) -> str:
    return f"rgb({','.join(map(str, colour))})"
