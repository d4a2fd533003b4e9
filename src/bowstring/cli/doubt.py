"""The command that fits what tells how unsure a model is: calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Model, app
from .terminal import put_line


@app.command()
def calibrate(
    model: Model = None,
    data: Annotated[Path, typer.Option(help="Where `bowstring data` put the corpora.")] = Path("runs/data"),
    count: Annotated[int, typer.Option(help="Held-in prompts of each kind.")] = 600,
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="File; default: the model's own calibration.json.")
    ] = None,
) -> None:
    """Learn where a model's uncertainty lies on what it knows: 1.0 typical, 1.5 beyond 97 in 100."""
    from ..engine.calibration import calibrate_model
    from ..weights.layout import CALIBRATION
    from ..weights.shipped import model_folder

    folder = model_folder(model)
    found = calibrate_model(folder, data, count)
    path = out or folder / CALIBRATION
    found.write(path)
    put_line(f"{path}: {', '.join(sorted(found.gauges))}")
