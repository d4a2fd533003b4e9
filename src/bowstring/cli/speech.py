"""Commands that make sound: say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import Adapters, AsJson, Model, Seed, app, with_adapters
from .image import Steps
from .memory import Folder, storage
from .terminal import note, note_doubt, note_faults, put_json, read_stdin_for, watch

if TYPE_CHECKING:
    from ..memory.store import ArrowStorage

Voice = Annotated[
    str | None,
    typer.Option(
        help="The voice to match: a recording of about 5 s (WAV, FLAC, OGG or MP3), or the name of a "
        "remembered one; default: its own."
    ),
]


def store_of_voice(voice: str | None, folder: Path | None) -> ArrowStorage | None:
    """The store that knows a voice by its name; None where it is a file."""
    return None if voice is None or Path(voice).exists() else storage(folder)


@app.command()
def say(
    text: Annotated[str, typer.Argument(help='What to say, for example "hello there".')],
    out: Annotated[Path, typer.Option("--out", "-o", help="WAV file, 24 kHz.")],
    voice: Voice = None,
    speed: Annotated[float, typer.Option(help="2 is twice as fast.")] = 1.0,
    steps: Steps = None,
    temperature: Annotated[float, typer.Option(help="0 is steady and dull, 1 lively and rough.")] = 0.0,
    seed: Seed = 0,
    adapter: Adapters = None,
    memory: Folder = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Speak; the result knows when each word and phoneme is heard."""
    from ..core.files import output
    from ..speech.files import ENDINGS

    out = output(out, ENDINGS)
    from ..engine import ArrowEngine
    from ..weights.shipped import MULTIMODAL

    spoken = read_stdin_for(text)
    engine = ArrowEngine.load(model or MULTIMODAL, memory=store_of_voice(voice, memory))
    frames = with_adapters(engine, adapter).say_stream(
        spoken, voice=voice, speed=speed, steps=steps, temperature=temperature, seed=seed
    )
    result = watch(frames, speaking)
    result.save(out)
    note_faults(result)
    if as_json:
        times = {name: [asdict(span) for span in getattr(result, name)] for name in ("words", "phonemes")}
        made = {"file": str(out), "nfe": result.nfe, "seconds": result.seconds, "notes": result.notes}
        made["unspoken"] = result.unspoken
        made |= {name: result.to_json()[name] for name in ("uncertainty", "uncertainties", "doubtful")}
        return put_json(made | result.settings | times)
    note(str(result))
    note_doubt(result)
    note(f"written to {out}")


def speaking(frame: Any) -> Any:
    """A bar that grows with what has been spoken."""
    from rich.progress_bar import ProgressBar

    return None if hasattr(frame, "rate") else ProgressBar(1.0, frame.share, 40)
