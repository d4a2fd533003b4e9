"""Commands that answer with everything at once: converse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import AsJson, Model, Seed, app, finish


@app.command()
def converse(
    prompt: Annotated[str, typer.Argument(help='What to tell of and to show, for example "a sleepy fox".')],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for text, speech, face (GIF, JSON) and picture.")
    ],
    text: Annotated[str | None, typer.Option(help="What to say; default: the model writes it.")] = None,
    voice: Annotated[Path | None, typer.Option(help="WAV file of the voice to match, about 5 s.")] = None,
    style: Annotated[str, typer.Option(help="Style of the picture: noto, flat, fluent or twemoji.")] = "",
    picture: Annotated[bool, typer.Option(help="Paint what the prompt asks for.")] = True,
    steps: Annotated[int, typer.Option(help="Steps of the flow.")] = 8,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Answer with text, speech, a moving face and a picture, made together on one clock."""
    from ..engine import ArrowEngine
    from ..joint.pipeline import JointResult
    from ..weights.shipped import MULTIMODAL

    engine = ArrowEngine.load(model or MULTIMODAL)
    frames = engine.converse_stream(
        prompt, text, picture=picture, style=style, voice=voice, steps=steps, seed=seed
    )
    result: JointResult = [*frames][-1] if as_json else show_answer(frames, engine)  # type: ignore[assignment]
    files = [str(file) for file in result.save(out)]
    facts = {"files": files, "text": result.text, "steps": result.steps, "forwards": result.forwards}
    facts |= {"seconds": result.seconds, **result.settings}
    finish(result, out, facts if as_json else None)


def show_answer(frames: Any, engine: Any) -> Any:
    """The text as it is written, then the picture as it is expected to become."""
    from rich.live import Live

    from .image import half_blocks

    result = None
    with Live(refresh_per_second=12, transient=True) as live:
        for frame in frames:
            if hasattr(frame, "tokens") and hasattr(frame, "confidence"):
                live.update("".join(engine.tokenizer.pieces(frame.tokens)))
            elif hasattr(frame, "expected"):
                live.update(half_blocks(engine.image_pipeline.picture(frame.expected)))
            elif hasattr(frame, "face"):
                result = frame
    return result
