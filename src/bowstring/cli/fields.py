"""The command that samples physical fields."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Annotated

import typer

from .common import Seed, app
from .terminal import note

MOST = 10_000


@app.command()
def sample(
    family: Annotated[str, typer.Argument(help="phi4, ising, cahn-hilliard or heat")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A picture (.png) or the numbers (.npy).")],
    beta: Annotated[
        float, typer.Option(help="Coupling of neighbours over temperature (phi4, ising).")
    ] = 0.45,
    time: Annotated[float, typer.Option(help="Time since the start (cahn-hilliard, heat).")] = 30.0,
    mean: Annotated[float, typer.Option(help="Composition, -0.4 to 0.4 (cahn-hilliard).")] = 0.0,
    size: Annotated[int, typer.Option(help="Side: 64, 128 or 256.")] = 64,
    count: Annotated[int, typer.Option("--count", "-n", help="How many fields.")] = 1,
    steps: Annotated[int, typer.Option("--steps", "--num-inference-steps", help="Network evaluations.")] = 50,
    scales: Annotated[bool, typer.Option(help="phi4 from coarse to fine, 64 to 128 to 256.")] = False,
    relax: Annotated[int, typer.Option(help="Sweeps of an exact chain afterwards (phi4, ising).")] = 0,
    plot: Annotated[bool, typer.Option(help="Also write OUT.plot.png: strip, spectrum, histogram.")] = False,
    seed: Seed = 0,
    model: Annotated[
        Path | None, typer.Option(help="Folder of a field model; default: the shipped one.")
    ] = None,
) -> None:
    """Sample physical fields from the network."""
    from ..core.files import output, replacing
    from ..core.options import real, whole
    from ..fields.picture import FIELD_ENDINGS, write_fields

    out = output(out, FIELD_ENDINGS)
    overview_out = output(out.with_suffix(".plot.png")) if plot else None
    if plot and importlib.util.find_spec("matplotlib") is None:
        raise ImportError('plots need matplotlib; install it with pip install "bowstring[report]"')
    beta, time, mean = real(beta, "--beta"), real(time, "--time", 0), real(mean, "--mean")
    count, steps = whole(count, "--count", 1, MOST), whole(steps, "--steps", 1, 1000)
    relax = whole(relax, "--relax", 0, MOST)
    from ..fields.sampling import MultiScaleGenerator, fields
    from ..fields.weights import load_fields

    if scales and (family != "phi4" or relax):
        raise ValueError("--scales is for phi4 and ends with what the network made; leave out --relax")
    loaded = load_fields(model)
    value = beta if family in ("phi4", "ising") else math.log10(max(time, 1e-9))
    frames = []
    if scales:
        shown = MultiScaleGenerator(loaded).sample(beta, count, seed)[-1]
    else:
        shown = fields(
            loaded,
            family,
            value,
            size,
            count,
            steps,
            seed,
            mean,
            relax=relax,
            watch=lambda x: frames.append(x[0]),
        )
    settings = {"family": family, "value": value, "mean": mean, "size": shown.shape[1], "steps": steps}
    settings |= {"relax": relax, "seed": seed, "scales": scales}
    write_fields(out, shown, settings)
    note(f"{len(shown)} x {shown.shape[1]} x {shown.shape[2]} written to {out}")
    if overview_out is not None:
        from ..fields.plot import overview

        with replacing(overview_out) as partial:
            overview(partial, shown, frames, f"{family}, {settings}")
        note(f"plots written to {overview_out}")
