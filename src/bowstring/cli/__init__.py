"""The command `bowstring`. Heavy modules are imported inside commands, so that help is instant."""

from __future__ import annotations

import sys

import typer

from . import fields, image, inspect, joint, speech, text, train  # noqa: F401  each adds its commands
from .common import app


def main() -> None:
    """Entry point: a mistake of the user is one sentence and exit code 2, not a traceback."""
    try:
        app()
    except (ValueError, TypeError, FileNotFoundError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(2)
