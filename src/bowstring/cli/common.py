"""What commands share: the application and the options that mean the same everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import put_line

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def show_version(wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if wanted:
        from .. import __version__

        put_line(f"bowstring {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error happened.")] = False,
) -> None:
    """One local generative engine.

    A text may come from standard input: write - for it. One that begins with a hyphen goes last, behind --.
    """


def chosen_model(name: str) -> Path:
    """The folder that --model means, by the form of what was typed."""
    from ..weights.shipped import model_folder

    return model_folder(name)


Model = Annotated[
    Path | None,
    typer.Option(
        parser=chosen_model, metavar="MODEL", help="Name of a model that ships, or a folder: ./folder."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Seed = Annotated[
    int, typer.Option(help="Same seed, same output: 0 to 2**64 - 1; -1 is the last one, and so on.")
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="PATH[:WEIGHT]",
        help="An adapter's folder, or the name of one that ships, and its weight; may be repeated.",
    ),
]
SchemaFile = Annotated[
    Path | None, typer.Option("--schema", help="A file with a JSON schema that the text must fit.")
]
Regex = Annotated[str | None, typer.Option("--regex", help="A pattern that the whole text must match.")]
Choices = Annotated[
    list[str] | None, typer.Option("--choices", help="A text that may be the answer; repeat it for others.")
]


def with_adapters(engine: Any, given: list[str] | None) -> Any:
    """The engine, with those of --adapter active.

    Raises:
        FileNotFoundError, ValueError: there is none, or it does not belong to this model.
    """
    for one in given or ():
        path, weight = weighted(one)
        engine.load_adapter(path, one, weight)
    return engine


def weighted(given: str) -> tuple[str, float]:
    """A path or name, and the weight behind its last colon.

    Raises:
        ValueError: what stands there is no number.

    >>> weighted("tales:0.5"), weighted("./tales")
    (('tales', 0.5), ('./tales', 1.0))
    """
    path, colon, weight = given.rpartition(":")
    if not colon or any(mark in weight for mark in "/\\"):  # C:\\tales is a path
        return given, 1.0
    try:
        return path, float(weight)
    except ValueError:
        if Path(given).exists():
            return given, 1.0
        raise ValueError(
            f"the weight of the adapter {given!r} is {weight!r}; expected a number, for example {path}:0.5"
        ) from None


def form_options(schema: Path | None, regex: str | None, choices: list[str] | None) -> dict[str, Any]:
    """Those of --schema, --regex and --choices that are given.

    Raises:
        ValueError: the file holds no JSON.
    """
    found = {} if schema is None else {"schema": read_json(schema, "schema")}
    return found | {k: v for k, v in {"regex": regex, "choices": choices}.items() if v}


def read_json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds no JSON of {what}: {error}") from None
