"""Commands that tell and measure: show, tiers, doctor, selftest, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.options import real
from .common import AsJson, Model, app
from .terminal import note, put_json, put_line, table


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="A model, as --model.")] = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Sizes and shares of a network and what a modality costs here; of an imported model, what it is."""
    from ..llm.folder import is_imported
    from ..weights.shipped import model_folder

    folder = model_folder(name if model is None else model)
    if is_imported(folder):
        from ..llm.about import about

        told = about(folder)
        return put_json(told, indent=1) if as_json else table(folder.name, told)
    model = folder
    from ..eval.report import modality_costs, network_report

    rows = network_report(model) | modality_costs(model)
    put_json(rows, indent=1) if as_json else table("network", rows)


@app.command()
def tiers(as_json: AsJson = False) -> None:
    """Presets, their sizes, and which of them this machine can run."""
    from ..eval.report import tier_rows as presets

    found = presets()
    if as_json:
        return put_json(found, indent=1)
    for row in found:
        size = f"{row['parameters'] / 1e6:8,.0f} M parameters  INT{row['bits']}  {row['file_mb']:8,.1f} MB"
        fits = "runs here" if row["runs"] else "does not fit"
        put_line(f"{row['preset']:12} {size}  {fits}: needs {row['why']}")


@app.command()
def doctor() -> None:
    """What this machine has and what is missing."""
    from ..eval.report import machine_report

    table("doctor", machine_report())


@app.command()
def selftest(
    board: Annotated[
        bool, typer.Option("--board", help="Kill, cut off, fill and damage stores instead.")
    ] = False,
    long: Annotated[bool, typer.Option("--long", help="With --board: every case, for hours.")] = False,
    write: Annotated[bool, typer.Option("--write", help="With --board: write docs/BOARD.md.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="With --long: at most so many for kills of a kind and for images.")
    ] = None,
) -> None:
    """Check this installation, in under a minute; or what it survives."""
    if minutes is not None:
        minutes = real(minutes, "minutes", 0.01, 1e5)
        if not long:
            raise ValueError("--minutes belongs to --board --long")
    if board:
        return survive(long=long, write=write, minutes=minutes)
    if long or write:
        raise ValueError("--long and --write belong to --board")
    from ..eval.report import checks

    failed = 0
    for name, fault in checks():
        put_line(f"{'ok  ' if fault is None else 'FAIL'} {name}{'' if fault is None else ': ' + fault}")
        failed += fault is not None
    raise typer.Exit(1 if failed else 0)


def survive(*, long: bool, write: bool, minutes: float | None) -> None:
    """Rows of the board as they come; exit code 1 if one of them failed."""
    from ..core.files import write as write_file
    from ..eval.board import rows

    found = []
    for one in rows.board(long=long, minutes=minutes):
        found.append(one)
        head = "none" if one.missing else "FAIL" if one.failures else "ok  "
        put_line(
            f"{head} {one.row.what}: {one.missing or f'{one.tries:,} tries, {len(one.failures):,} failures'}"
        )
        for failure in one.failures[: rows.SHOWN]:
            put_line(f"     {failure}")
    if write:
        write_file(Path("docs/BOARD.md"), rows.markdown(found, long=long, minutes=minutes).encode())
        note("docs/BOARD.md is written")
    raise typer.Exit(1 if any(one.failures for one in found) else 0)


@app.command()
def bench(
    topic: Annotated[
        str, typer.Argument(help="text, skeleton, physics, quality, speed, models, memory or evolve")
    ],
    quick: Annotated[bool, typer.Option(help="A fixed subset, in under five minutes.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")] = Path("runs/data"),
    baseline: Annotated[Path, typer.Option(help="Model folder of the autoregressive baseline.")] = Path(
        "bench/baseline"
    ),
    model: Model = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results to write the file into.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure; every number of the README comes from here."""
    from ..eval.results import Setting, write_result
    from ..eval.topics import measure

    result = measure(topic, Setting(quick, data, baseline, model))
    if out is not None:
        typer.echo(f"written to {write_result(result, out)}", err=True)
    put_json(result, indent=1) if as_json else table(topic, result)
