"""Commands that answer with everything at once: converse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import AsJson, Model, Seed, app
from .image import Steps, painting
from .memory import Folder, Namespace, Remembered, loaded, note_memories
from .speech import Voice, store_of_voice
from .terminal import note, note_doubt, note_faults, put, put_json, read_stdin_for, watch
from .text import unmasking


@app.command()
def converse(
    prompt: Annotated[str, typer.Argument(help='What to tell of and to show, for example "a sleepy fox".')],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for text, speech, face (GIF, JSON) and picture.")
    ],
    text: Annotated[str | None, typer.Option(help="What to say; default: the model writes it.")] = None,
    voice: Voice = None,
    style: Annotated[str, typer.Option(help="Style of the picture: noto, flat, fluent or twemoji.")] = "",
    picture: Annotated[bool, typer.Option(help="Paint what the prompt asks for.")] = True,
    portrait: Annotated[
        Path | None, typer.Option(help="A picture of a face that speaks in place of the plain one.")
    ] = None,
    landmarks: Annotated[
        str | None,
        typer.Option(
            help="Where its left eye (as you look at it), right eye and mouth are, in shares of its width "
            'and height: "0.36,0.43 0.64,0.43 0.5,0.7", the default; a fourth number is the mouth\'s width.'
        ),
    ] = None,
    steps: Steps = None,
    seed: Seed = 0,
    remembered: Remembered = False,
    memory: Folder = None,
    namespace: Namespace = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Answer with text, speech, a moving face and a picture, made together on one clock."""
    from ..core.files import output_folder

    out = output_folder(out)
    from ..face.animate import FRAME
    from ..face.draw import as_portrait
    from ..weights.shipped import MULTIMODAL

    face = as_portrait(portrait, landmarks)
    engine = loaded(model or MULTIMODAL, memory, namespace, guided=remembered)
    engine.memory = engine.memory or store_of_voice(voice, memory)
    frames = engine.converse_stream(
        read_stdin_for(prompt).removesuffix("\n"),
        text,
        picture=picture,
        style=style,
        voice=voice,
        steps=steps,
        seed=seed,
        memory_guided=bool(remembered or memory or namespace),
    )
    result = watch(frames, lambda frame: answering(frame, engine))
    files = [str(file) for file in result.save(out, face)]
    note_faults(result)
    if as_json:
        made = {"files": files, "text": result.text, "steps": result.steps, "forwards": result.forwards}
        return put_json(
            made
            | {"seconds": result.seconds, "notes": result.notes, "unspoken": result.unspoken}
            | {"memories": [one.to_json() for one in result.memories]}
            | {name: result.to_json()[name] for name in ("uncertainty", "uncertainties", "doubtful")}
            | result.settings
        )
    put(result.text)
    cost = f"{result.forwards} passes for {result.steps} steps, {sum(result.seconds.values()):.2f} s"
    note(f"{len(result.face) * FRAME:.2f} s of speech and a face, {cost}")
    note_doubt(result)
    note_memories(result)
    note(f"written to {out}")


def answering(frame: Any, engine: Any) -> Any:
    """The text as it is written, then the picture as it is expected to become."""
    return painting(frame, engine) if hasattr(frame, "expected") else unmasking(frame, engine)
