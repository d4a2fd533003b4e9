"""Commands that make sound: say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import AsJson, Model, Seed, app, finish


@app.command()
def say(
    text: Annotated[str, typer.Argument(help='What to say, for example "hello there".')],
    out: Annotated[Path, typer.Option("--out", "-o", help="WAV file, 24 kHz.")],
    voice: Annotated[
        Path | None, typer.Option(help="WAV file of the voice to match, about 5 s; default: the model's own.")
    ] = None,
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps of the flow.")] = 8,
    temperature: Annotated[float, typer.Option(help="0 is steady and dull, 1 lively and rough.")] = 0.0,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Speak; the result knows when each word and sound is heard."""
    from ..engine import ArrowEngine
    from ..speech.pipeline import SpeechResult
    from ..weights.shipped import MULTIMODAL

    engine = ArrowEngine.load(model or MULTIMODAL)
    how = {"speed": speed, "steps": steps, "temperature": temperature, "seed": seed}
    frames = engine.say_stream(text, voice=voice, **how)
    result: SpeechResult = [*frames][-1] if as_json else show_speaking(frames)  # type: ignore[assignment]
    result.save(out)
    times = {name: [asdict(span) for span in getattr(result, name)] for name in ("words", "phonemes")}
    facts = {"file": str(out), "nfe": result.nfe, "seconds": result.seconds, **result.settings}
    finish(result, out, facts | times if as_json else None)


def show_speaking(frames: Any) -> Any:
    """A bar that grows with what has been said."""
    from rich.progress import Progress

    result = None
    with Progress(transient=True) as bar:
        task = bar.add_task("speaking", total=1.0)
        for frame in frames:
            if hasattr(frame, "rate"):
                result = frame
            else:
                bar.update(task, completed=frame.share)
    return result
