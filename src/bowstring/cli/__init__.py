"""The command `bowstring`. Heavy modules are imported inside commands, so that help is instant."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from . import (  # each adds its commands
    adapt,  # noqa: F401
    doubt,  # noqa: F401
    export,  # noqa: F401
    fields,  # noqa: F401
    image,  # noqa: F401
    inspect,  # noqa: F401
    joint,  # noqa: F401
    memory,  # noqa: F401
    models,  # noqa: F401
    speech,  # noqa: F401
    text,  # noqa: F401
    train,  # noqa: F401
)
from .common import app
from .terminal import INTERRUPTED, explain, prepare


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: whatever goes wrong is one sentence and an exit code, not a traceback."""
    debug, arguments = without_debug(sys.argv[1:] if arguments is None else arguments)
    prepare()
    try:
        code = app(arguments, prog_name="bowstring", standalone_mode=False)
        if code == INTERRUPTED:  # so typer says that Ctrl-C was pressed
            explain(KeyboardInterrupt(), debug=False)
    except (Exception, KeyboardInterrupt) as error:
        code = explain(KeyboardInterrupt() if isinstance(error, typer.Abort) else error, debug=debug)
    sys.exit(code if isinstance(code, int) else 0)


def without_debug(arguments: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether --debug stands anywhere among the options, and the arguments without it.

    >>> without_debug(["run", "a fox", "--debug", "--", "--debug"])
    (True, ['run', 'a fox', '--', '--debug'])
    """
    end = [*arguments].index("--") if "--" in arguments else len(arguments)
    options = [one for one in arguments[:end] if one != "--debug"]
    return len(options) < end, [*options, *arguments[end:]]
