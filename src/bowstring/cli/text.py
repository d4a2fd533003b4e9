"""Commands that write text: run, infill, encode."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from .common import AsJson, Model, Seed, app


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
    from ..engine import ArrowEngine

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
    show_result(show_live(frames, engine) if not as_json else [*frames][-1], as_json)


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
    from ..engine import ArrowEngine

    unescape = lambda text: text.replace("\\n", "\n")  # noqa: E731  shells pass a backslash and an n
    show_result(
        ArrowEngine.load(model).infill(
            unescape(prefix), unescape(suffix), length, mode, kind, prompt, seed=seed
        ),
        as_json,
    )


@app.command()
def encode(text: str, model: Model = None) -> None:
    """Print a text's unit vector as JSON."""
    from ..engine import ArrowEngine

    typer.echo(json.dumps([round(float(v), 6) for v in ArrowEngine.load(model).encode(text)]))


def show_result(result: Any, as_json: bool) -> None:  # noqa: FBT001
    from rich import print as rich_print

    typer.echo(json.dumps(result.to_json())) if as_json else rich_print(result)


def show_live(frames: Any, engine: Any) -> Any:
    from rich.live import Live
    from rich.text import Text

    result = None
    with Live(refresh_per_second=24, transient=True) as live:
        for frame in frames:
            if hasattr(frame, "text"):
                result = frame
                continue
            text = Text()
            for piece, sure in zip(engine.tokenizer.pieces(frame.tokens), frame.confidence, strict=True):
                text.append(
                    piece,
                    "grey42"
                    if piece == "\u2591"
                    else f"rgb({int(255 - 155 * sure)},{int(120 + 135 * sure)},120)",
                )
            live.update(text)
    return result
