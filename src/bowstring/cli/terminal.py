"""The one way out of the command: results go to standard output, to the byte; everything about them goes to
standard error; the work is shown only where somebody looks.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import typer

MISTAKE, INTERRUPTED = 2, 130  # exit codes
SHADE, HALF = "\u2591", "\u2580"
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
DEBUG = "the option --debug shows where"


def on_terminal() -> bool:
    """Whether somebody looks at standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def prepare() -> None:
    """Lets a terminal show a question mark for what its encoding lacks, so that no result is lost for it."""
    if on_terminal() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")


def harmless(text: str) -> str:
    """A text whose control characters a terminal shows instead of obeying; lines and tabs stay.

    >>> harmless("a\\x1b[2Jb\\n")
    'a\\\\x1b[2Jb\\n'
    """
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def can_show(char: str) -> bool:
    """Whether the encoding of standard output has a character."""
    try:
        char.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def put(result: str) -> None:
    """Writes a result to standard output: into files and pipes in UTF-8 to the byte, on a terminal as a line.

    Raises:
        OSError: nothing more can be written there.
    """
    try:
        if on_terminal() or not hasattr(sys.stdout, "buffer"):
            print(harmless(result) if on_terminal() else result, flush=True)
            return
        sys.stdout.flush()
        sys.stdout.buffer.write(result.encode())
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _leave_stdout()
        raise OSError(error.errno, f"standard output cannot be written: {error.strerror}") from error


def put_line(line: str) -> None:
    put(line if on_terminal() else line + "\n")


def put_json(value: Any, indent: int | None = None) -> None:
    put_line(json.dumps(value, indent=indent))


def note(text: str) -> None:
    """Says something about a result, on standard error."""
    typer.secho(harmless(text) if sys.stderr.isatty() else text, err=True, dim=True)


def note_faults(result: Any) -> None:
    """Says what may have spoiled speech, and what of the text was not spoken."""
    for fault in result.notes:
        note(f"note: {fault}")
    if result.unspoken:
        note(f"note: not spoken: {' '.join(result.unspoken)}")


def note_doubt(result: Any) -> None:
    """Says which spoken words are beyond the trigger of doubt."""
    if result.doubtful:
        note(f"unsure of: {', '.join(span.text for span in result.doubtful)}")


def table(title: str, rows: Mapping[str, Any]) -> None:
    """Names and values, in columns on a terminal and as lines elsewhere."""
    cells = {str(name): shown(value) for name, value in rows.items()}
    if not on_terminal():
        width = max(map(len, cells), default=0)
        return put_line("\n".join(f"{name:<{width}}  {value}" for name, value in cells.items()))
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    grid = Table("", Column(Text(title)), title_justify="left", box=None)
    for name, value in cells.items():
        grid.add_row(Text(harmless(name)), Text(harmless(value)))
    Console().print(grid)


def shown(value: Any) -> str:
    """A value of a table."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def watch(frames: Iterable[Any], draw: Callable[[Any], Any]) -> Any:
    """The last of the frames; on a terminal the others are shown as they come.

    Args:
        draw: what rich can show of a frame, or None.
    """
    if not on_terminal():
        return deque(frames, maxlen=1)[0]
    from rich.live import Live

    last = None
    with Live(refresh_per_second=12, transient=True) as live:
        for last in frames:
            if (picture := draw(last)) is not None:
                live.update(picture)
    return last


def read_stdin_for(argument: str) -> str:
    """The argument, or all of standard input if it is "-".

    Raises:
        ValueError: standard input is no UTF-8.
    """
    if argument != "-":
        return argument
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is no UTF-8 at byte {error.start}; expected text") from None


def filled(argument: str, what: str) -> str:
    """What `read_stdin_for` gives, which must not be blank.

    Raises:
        ValueError: there is nothing in it.
    """
    if not (found := read_stdin_for(argument)).strip():
        raise ValueError(f"the {what} is empty; expected some text")
    return found


def explain(error: BaseException, *, debug: bool) -> int:
    """Says in one sentence on standard error what went wrong, and returns the exit code."""
    if debug:
        traceback.print_exception(error)
    if type(error).__name__ != "NoArgsIsHelpError":  # typer has printed the help
        said = sentence(error)
        print(f"bowstring: {harmless(said) if sys.stderr.isatty() else said}", file=sys.stderr)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else MISTAKE


def sentence(error: BaseException) -> str:
    """An error on one line; what is no mistake of the user says how to see where it happened."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    ):
        return "there is not enough memory; ask for something smaller or shorter"
    if hasattr(error, "format_message"):
        return _usage(error)
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if text and isinstance(error, ValueError | TypeError | OSError | ImportError):
        return text
    return f"{type(error).__name__}: {text or 'no more is known'}; this is a fault of the program, {DEBUG}"


def _usage(error: Any) -> str:
    """A command line that is not understood."""
    message = " ".join(error.format_message().split()).rstrip(".")
    path = error.ctx.command_path if getattr(error, "ctx", None) else "bowstring"
    if message.startswith("No such option: -") and not message.startswith("No such option: --"):
        return f'{message}; a text that begins with a hyphen goes behind --: {path} ... -- "-5 degrees"'
    return f"{message}; `{path} --help` lists what there is"


def _leave_stdout() -> None:
    """Points standard output at nothing: what is left in its buffer would fail once more when Python ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return
