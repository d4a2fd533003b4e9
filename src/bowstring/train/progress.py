"""What a training shows while it runs."""

from __future__ import annotations

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

PROGRESS_COLUMNS = (
    TextColumn("{task.fields[phase]}"),
    BarColumn(),
    TextColumn("{task.completed}/{task.total}  {task.fields[note]}"),
    TimeRemainingColumn(),
)
