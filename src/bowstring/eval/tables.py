"""The README's tables of numbers, made from the results files: `python -m bowstring.eval.tables`.

A table stands between `<!-- table: TOPIC -->` and `<!-- end of table -->`; its rows are those of
`bench/tables/TOPIC.md`, where `{path/of/keys:format}` is a number with its standard error, and a format that
begins with ~ leaves the error out. Every machine is a column, made from one file; results of before version
0.2, which do not say what they were made with, stand only where there are no others, and are called so. With
`--check` nothing is written and a difference is an error.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.files import replacing
from .results import RESULTS

Result = Mapping[str, Any]

TEMPLATES = Path("bench/tables")


def expanded(template: str) -> str:
    """Several numbers in the place of `{path/a&b:format}`: named ones, or a curve of steps without names.

    >>> expanded("{gap/real&tale:.1%}")
    'real {gap/real:.1%}; tale {gap/tale:.1%}'
    >>> expanded("{curve/4&50/fd:~.1f}")
    '{curve/4/fd:~.1f} / {curve/50/fd:~.1f}'
    """

    def expand(match: re.Match[str]) -> str:
        before, names, after = match[1], match[2].split("&"), match[3]
        cells = [f"{{{before}{name}{after}}}" for name in names]
        if names[0].isdigit():
            return " / ".join(cells)
        return "; ".join(f"{name} {cell}" for name, cell in zip(names, cells, strict=True))

    return re.sub(r"\{([^{}&]*?)([^{}/&]+(?:&[^{}/&:]+)+)([^{}]*)\}", expand, template)


def rows_of_table(path: Path) -> list[tuple[str, str, str]]:
    """(label, cell, gate) of every line of a template.

    Raises:
        ValueError: a line that is no row of three cells.
    """
    rows = []
    for line_number, line in enumerate(path.read_text("utf-8").splitlines()[2:], 3):
        cells = [expanded(cell.strip()) for cell in line.strip().strip("|").split("|")]
        if len(cells) != 3:
            raise ValueError(
                f"{path}, line {line_number}: expected three cells, what | measured | gate, in {line!r}"
            )
        rows.append((cells[0], cells[1], cells[2]))
    return rows


def found(tree: Any, path: str) -> Any:
    """The value at a path of keys; KeyError where there is none."""
    for key in path.split("/"):
        if not isinstance(tree, Mapping):
            raise KeyError(path)
        tree = tree[key]
    return tree


def number_text(result: Result, path: str, form: str) -> str:
    """One number as text, with its standard error if it has one; a dash for one that was never asked for."""
    try:
        value = found(result, path)
    except KeyError:
        return "–"
    if value is None:
        return "not measured"
    if isinstance(value, str):
        return value
    plain = form.lstrip("~")
    text = format(value, plain).replace("%", " %")
    try:
        se = found(result.get("se", {}), path)
    except KeyError:
        return text
    return text if form.startswith("~") else f"{text} ± {format(se, plain.lstrip('+')).replace('%', ' %')}"


def with_numbers(template: str, result: Result) -> str:
    """Words with numbers in the places of their paths."""
    return re.sub(r"\{([^:}]+):?([^}]*)\}", lambda m: number_text(result, m[1], m[2]), template)


def count_of(template: str, result: Result) -> str:
    """Over how many things the first number of a cell was taken."""
    first = re.search(r"\{([^:}]+)", template)
    try:
        return str(found(result.get("n", {}), first[1])) if first else ""
    except KeyError:
        return ""


def heading(result: Result) -> str:
    """The machine, when, and what makes numbers less good than they could be."""
    about = result.get("about")
    if about is None:
        return "measured before version 0.2"
    words = [about["cpu"], about["date"][:10], f"load {about['load_before']} to {about['load_after']}"]
    return ", ".join(words + ["quick"] * bool(about["quick"]))


def is_unknown(cell: str) -> bool:
    """Whether a cell has no number at all."""
    return "–" in cell and not re.search(r"\d|not measured", cell)


def topic_table(rows: Sequence[tuple[str, str, str]], topic: str, results: Sequence[Result]) -> str:
    """A topic's table in Markdown, a column for each machine; labels, counts and gates are of the first one.
    A row that no file knows is left out.
    """
    first = results[0]
    head = [topic, "n", *map(heading, results), "gate or rival"]
    lines = [head, ["---"] * len(head)]
    for label, cell, gate in rows:
        cells = [with_numbers(cell, one) for one in results]
        if not all(map(is_unknown, cells)):
            lines.append(
                [with_numbers(label, first), count_of(cell, first), *cells, with_numbers(gate, first)]
            )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def footnote(results: Sequence[Result]) -> str:
    """What is missing, and which commit and weights the numbers are of."""
    notes = []
    for result in results:
        if about := result.get("about"):
            commit = (about["commit"] or "no commit")[:10] + (" with changes" if about["changed"] else "")
            lacks = "; ".join(f"{name}: {why}" for name, why in about["missing"].items())
            notes.append(
                f"Commit {commit}. " + (f"Not measured: {lacks}." if lacks else "Nothing is missing.")
            )
    return " ".join(notes)


def results_of(folder: Path, topic: str) -> list[Result]:
    """Complete results of a topic, one of each machine; those of before version 0.2 if there are none."""
    files = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    complete = [one for one in files.values() if one.get("about", {}).get("topic") == topic]
    return complete or [
        one for name, one in files.items() if name.split("-")[0] == topic and "about" not in one
    ]


def block(topic: str, results: Sequence[Result], templates: Path) -> str:
    """What stands between a topic's markers.

    Raises:
        FileNotFoundError: there is no table of this name.
    """
    rows = rows_of_table(templates / f"{topic}.md")
    if not results:
        return f"No results of {topic} yet: `make bench-{topic}`."
    note = footnote(results)
    return topic_table(rows, topic, results) + (f"\n\n{note}" if note else "")


def with_tables(text: str, folder: Path = RESULTS, templates: Path = TEMPLATES) -> str:
    """A README with all tables made anew from the results in a folder."""
    return re.sub(
        r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)",
        lambda match: f"{match[1]}\n{block(match[2], results_of(folder, match[2]), templates)}\n\n{match[3]}",
        text,
        flags=re.DOTALL,
    )


def write_tables(arguments: Sequence[str]) -> int:
    """Writes README.md, or says that it differs."""
    readme = Path("README.md")
    before = readme.read_text("utf-8")
    after = with_tables(before)
    if before == after:
        return 0
    if "--check" in arguments:
        print(f"{readme} differs from {RESULTS}; run `python -m bowstring.eval.tables`", file=sys.stderr)
        return 1
    with replacing(readme) as partial:
        partial.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(write_tables(sys.argv[1:]))
