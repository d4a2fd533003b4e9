"""What commands share: the application, options that mean the same everywhere, and how facts are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One local generative engine.",
)


def chosen_model(name: str) -> Path:
    """The folder that --model means, by the form of what was typed."""
    from ..weights.shipped import model_folder

    try:
        return model_folder(name)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error)) from None


Model = Annotated[
    Path | None,
    typer.Option(
        parser=chosen_model, metavar="MODEL", help="Name of a model that ships, or a folder: ./folder."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Seed = Annotated[int, typer.Option(help="Same seed, same output.")]


def finish(result: Any, out: Path, facts: dict[str, Any] | None) -> None:
    """Says what was made and where it lies: `facts` as JSON, or the result itself."""
    if facts is not None:
        typer.echo(json.dumps(facts))
        return
    from rich import print as rich_print

    rich_print(result)
    rich_print(f"written to {out}")


def table(title: str, facts: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", title, title_justify="left", box=None)
    for name, value in facts.items():
        table.add_row(
            str(name),
            f"{value:,}"
            if isinstance(value, int)
            else f"{value:.4g}"
            if isinstance(value, float)
            else str(value),
        )
    Console().print(table)
