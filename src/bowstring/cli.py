"""The command `bowstring`. Heavy modules are imported inside commands, so that help is instant."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One local generative engine.",
)

Model = Annotated[
    Path | None, typer.Option(help="Folder of a model, or text-int4, text-int2; default: text.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Seed = Annotated[int, typer.Option(help="Same seed, same output.")]


@app.command()
def run(
    prompt: Annotated[str, typer.Argument(help='What to write, for example "a story about a fox".')],
    mode: Annotated[str, typer.Option(help="diffusion or ar")] = "diffusion",
    kind: Annotated[str, typer.Option(help="text or code")] = "text",
    max_tokens: Annotated[int, typer.Option(help="Longest text.")] = 192,
    block: Annotated[int, typer.Option(help="Tokens that are denoised together, 1 to 32.")] = 4,
    steps: Annotated[int, typer.Option(help="Network evaluations per block.")] = 4,
    order: Annotated[str, typer.Option(help="confidence, margin, entropy, leftmost or random")] = "leftmost",
    temperature: float = 0.7,
    top_p: float = 0.95,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Write a text; it unmasks live, coloured by confidence."""
    from .engine import ArrowEngine

    engine = ArrowEngine.load(model)
    options = dict(
        max_tokens=max_tokens,
        block=block,
        steps=steps,
        order=order,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    frames = engine.stream(prompt, mode, kind, **options)
    _print(_show_live(frames, engine) if not as_json else [*frames][-1], as_json)


@app.command()
def infill(
    prefix: Annotated[str, typer.Argument(help="What comes before.")],
    suffix: Annotated[str, typer.Option(help="What comes after.")],
    length: Annotated[int | None, typer.Option(help="Tokens of the middle; default: found out.")] = None,
    prompt: Annotated[str, typer.Option(help="What the whole is about.")] = "",
    mode: Annotated[str, typer.Option(help="diffusion or ar")] = "diffusion",
    kind: Annotated[str | None, typer.Option(help="text or code; default: guessed.")] = None,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Write the middle between a prefix and a suffix."""
    from .engine import ArrowEngine

    unescape = lambda text: text.replace("\\n", "\n")  # noqa: E731  shells pass a backslash and an n
    _print(
        ArrowEngine.load(model).infill(
            unescape(prefix), unescape(suffix), length, mode, kind, prompt, seed=seed
        ),
        as_json,
    )


@app.command()
def encode(text: str, model: Model = None) -> None:
    """Print a text's unit vector as JSON."""
    from .engine import ArrowEngine

    typer.echo(json.dumps([round(float(v), 6) for v in ArrowEngine.load(model).encode(text)]))


@app.command()
def show(model: Model = None, as_json: AsJson = False) -> None:
    """Sizes and shares of the network, and the presets."""
    from .report import network_facts

    facts = network_facts(model)
    typer.echo(json.dumps(facts, indent=1)) if as_json else _table("network", facts)


@app.command()
def data(
    corpus: Annotated[str, typer.Argument(help="text or code")],
    out: Path = Path("runs/data"),
    source: Annotated[
        Path | None,
        typer.Option(help="File of tales; default: the environment variable BOWSTRING_DATA, else none."),
    ] = None,
    download: Annotated[
        bool, typer.Option(help="Fetch the permissive packages whose functions are learned.")
    ] = False,
) -> None:
    """Build a corpus, split by document."""
    from .train.data.build import PACKAGES, build

    given = source or (Path(os.environ["BOWSTRING_DATA"]) if "BOWSTRING_DATA" in os.environ else None)
    _table(f"{corpus} in {out}", build(corpus, out, given, PACKAGES if download else ()))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="text, text-baseline or tiny")],
    data: Path = Path("runs/data"),
    out: Annotated[
        Path | None, typer.Option(help="Checkpoints and the finished model; default runs/RECIPE.")
    ] = None,
) -> None:
    """Train, or go on where it stopped. Ctrl-C is safe: the last checkpoint stays."""
    from .train.run import train as start

    start(recipe, data, out or Path("runs") / recipe)


@app.command()
def bench(
    topic: Annotated[str, typer.Argument(help="text or skeleton")],
    quick: Annotated[bool, typer.Option(help="A fixed subset, in under ten minutes.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")] = Path("runs/data"),
    baseline: Annotated[Path, typer.Option(help="Model folder of the autoregressive baseline.")] = Path(
        "bench/baseline"
    ),
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Measure; every number of the README comes from here."""
    from .bench import TOPICS

    if topic not in TOPICS:
        raise ValueError(f"unknown topic {topic!r}; expected one of {sorted(TOPICS)}")
    numbers = TOPICS[topic](quick=quick, data=data, baseline=baseline, model=model)
    typer.echo(json.dumps(numbers, indent=1)) if as_json else _table(topic, numbers)


@app.command()
def quantise(
    out: Annotated[Path, typer.Argument(help="Folder of the new model.")],
    bits: Annotated[int, typer.Option(help="2 or 4")] = 4,
    finish: Annotated[
        int, typer.Option(help="Steps of training with the rounding inside; 2 bits want some.")
    ] = 0,
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")] = Path("runs/data"),
    model: Model = None,
) -> None:
    """Pack a model's matrices into few bits."""
    from .engine import model_folder
    from .train.run import quantise as start

    start(out, bits, finish, data, model_folder(model))


@app.command()
def verify(model: Model = None) -> None:
    """Check every tensor of a model against its hash."""
    from .engine import model_folder
    from .weights.parquet import WeightsFile

    file = WeightsFile(model_folder(model) / "network.parquet")
    file.verify()
    typer.echo(f"{len(file)} tensors match their hashes")


@app.command()
def convert(source: Path, target: Path) -> None:
    """Convert weights between .parquet and .safetensors; the endings say which way."""
    from .weights.convert import from_safetensors, to_safetensors

    ways = {(".parquet", ".safetensors"): to_safetensors, (".safetensors", ".parquet"): from_safetensors}
    if (source.suffix, target.suffix) not in ways:
        raise ValueError(
            f"cannot convert {source.name} to {target.name}; one ends in .parquet, the other in .safetensors"
        )
    typer.echo(f"{ways[source.suffix, target.suffix](source, target)} tensors written to {target}")


@app.command()
def tiers(as_json: AsJson = False) -> None:
    """Presets, their sizes, and which of them this machine can run."""
    from .report import tiers as rows

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
    from .report import machine_facts

    _table("doctor", machine_facts())


@app.command()
def selftest() -> None:
    """Check this installation, in under a minute."""
    from .report import checks

    failed = 0
    for name, fault in checks():
        typer.echo(f"{'ok  ' if fault is None else 'FAIL'} {name}{'' if fault is None else ': ' + fault}")
        failed += fault is not None
    raise typer.Exit(1 if failed else 0)


def _print(result: Any, as_json: bool) -> None:  # noqa: FBT001
    from rich import print as rich_print

    typer.echo(json.dumps(result.to_json())) if as_json else rich_print(result)


def _show_live(frames: Any, engine: Any) -> Any:
    from rich.live import Live
    from rich.text import Text

    result = None
    with Live(refresh_per_second=24, transient=True) as live:
        for frame in frames:
            if hasattr(frame, "text"):
                result = frame
                continue
            text = Text()
            for piece, sure in zip(engine.codec.pieces(frame.tokens), frame.confidence, strict=True):
                text.append(
                    piece,
                    "grey42"
                    if piece == "\u2591"
                    else f"rgb({int(255 - 155 * sure)},{int(120 + 135 * sure)},120)",
                )
            live.update(text)
    return result


def _table(title: str, facts: Any) -> None:
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


def main() -> None:
    """Entry point: a mistake of the user is one sentence and exit code 2, not a traceback."""
    try:
        app()
    except (ValueError, TypeError, FileNotFoundError) as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
