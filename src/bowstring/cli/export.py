"""The command that writes models as folders for other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import app, chosen_model
from .terminal import put_line


@app.command()
def export(
    tier: Annotated[str, typer.Option(help="edge: text and speech at 2 bits; workstation: all that ships.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to fill.")],
    text: Annotated[
        Path | None,
        typer.Option(
            parser=chosen_model, metavar="MODEL", help="Of edge: text at 2 bits; default: that of a checkout."
        ),
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(parser=chosen_model, metavar="MODEL", help="Of edge: who speaks.")
    ] = None,
    speech_bits: Annotated[
        int, typer.Option(help="Of edge: 2, or 4 to leave the speech model as it is: clearer.")
    ] = 2,
) -> None:
    """Write models as a folder: edge runs with numpy alone, `python FOLDER write PROMPT`."""
    from ..core.options import choice
    from ..engine.export import export_edge, export_workstation, megabytes
    from ..eval.text import FP16_TEXT
    from ..weights.shipped import EDGE_TEXT, MULTIMODAL

    if choice(tier, "tier", ("edge", "workstation")) == "edge":
        export_edge(out, text or EDGE_TEXT, speech or MULTIMODAL, speech_bits)
    elif text or speech:
        raise ValueError("--text and --speech are of edge; a workstation gets every model that ships")
    else:
        export_workstation(out, FP16_TEXT)
    put_line(f"{megabytes(out):.1f} MB in {out}")
