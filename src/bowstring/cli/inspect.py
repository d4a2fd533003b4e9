"""Commands that tell and measure: show, tiers, doctor, selftest, bench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import AsJson, Model, app, table


@app.command()
def show(model: Model = None, as_json: AsJson = False) -> None:
    """Sizes and shares of the network, what a modality costs here, and the presets."""
    from ..eval.report import modality_costs, network_facts

    facts = network_facts(model) | modality_costs(model)
    typer.echo(json.dumps(facts, indent=1)) if as_json else table("network", facts)


@app.command()
def tiers(as_json: AsJson = False) -> None:
    """Presets, their sizes, and which of them this machine can run."""
    from ..eval.report import tiers as rows

    found = rows()
    if as_json:
        return typer.echo(json.dumps(found, indent=1))
    for row in found:
        size = f"{row['parameters'] / 1e6:8,.0f} M parameters  INT{row['bits']}  {row['file_mb']:8,.1f} MB"
        typer.echo(
            f"{row['preset']:12} {size}  {'runs here' if row['runs'] else 'does not fit'}: needs {row['why']}"
        )


@app.command()
def doctor() -> None:
    """What this machine has and what is missing."""
    from ..eval.report import machine_facts

    table("doctor", machine_facts())


@app.command()
def selftest() -> None:
    """Check this installation, in under a minute."""
    from ..eval.report import checks

    failed = 0
    for name, fault in checks():
        typer.echo(f"{'ok  ' if fault is None else 'FAIL'} {name}{'' if fault is None else ': ' + fault}")
        failed += fault is not None
    raise typer.Exit(1 if failed else 0)


@app.command()
def bench(
    topic: Annotated[str, typer.Argument(help="text, skeleton, physics, quality or speed")],
    quick: Annotated[bool, typer.Option(help="A fixed subset, in under ten minutes.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")] = Path("runs/data"),
    baseline: Annotated[Path, typer.Option(help="Model folder of the autoregressive baseline.")] = Path(
        "bench/baseline"
    ),
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Measure; every number of the README comes from here."""
    from ..eval import TOPICS

    if topic not in TOPICS:
        raise ValueError(f"unknown topic {topic!r}; expected one of {sorted(TOPICS)}")
    numbers = TOPICS[topic](quick=quick, data=data, baseline=baseline, model=model)
    typer.echo(json.dumps(numbers, indent=1)) if as_json else table(topic, numbers)
