"""Commands that write text: run, infill, encode."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .common import (
    Adapters,
    AsJson,
    Choices,
    Model,
    Regex,
    SchemaFile,
    Seed,
    app,
    form_options,
    with_adapters,
)
from .memory import Folder, Namespace, Remembered, WriteBack, loaded, note_memories
from .terminal import (
    CONTROL,
    SHADE,
    can_show,
    filled,
    note,
    on_terminal,
    put,
    put_json,
    read_stdin_for,
    watch,
)

MaxTokens = Annotated[int, typer.Option("--max-tokens", "--max-new-tokens", help="Longest text.")]
Steps = Annotated[
    int | None,
    typer.Option("--steps", "--num-inference-steps", help="Evaluations per block; default: the model's."),
]

OURS_ALONE = ("n", "kind", "min_tokens", "block", "remembered", "memory", "namespace", "write_back")
SHARED = ("mode", "stop", "steps", "order", "top_k", "repetition_penalty")


@app.command()
def run(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help='What to write, for example "a story about a fox".')],
    mode: Annotated[
        str, typer.Option(help="auto, ar or diffusion; auto writes what ar does, fast.")
    ] = "auto",
    kind: Annotated[str, typer.Option(help="text or code")] = "text",
    n: Annotated[int, typer.Option("--n", "-n", help="How many texts.")] = 1,
    max_tokens: MaxTokens = 192,
    min_tokens: Annotated[int, typer.Option(help="Shortest text.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End where this would come; may be repeated.")
    ] = None,
    block: Annotated[int, typer.Option(help="Tokens that are denoised together, 1 to 32.")] = 4,
    steps: Steps = None,
    order: Annotated[str, typer.Option(help="confidence, margin, entropy, leftmost or random")] = "leftmost",
    temperature: Annotated[float, typer.Option(help="Below 1 surer words, above 1 rarer ones.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens of this share.")] = 0.95,
    top_k: Annotated[int, typer.Option(help="Draw from so many of the likeliest tokens; 0 is off.")] = 0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1, repeat less; 1 is off.")] = 1.0,
    seed: Seed = 0,
    schema: SchemaFile = None,
    regex: Regex = None,
    choices: Choices = None,
    adapter: Adapters = None,
    remembered: Remembered = False,
    memory: Folder = None,
    namespace: Namespace = None,
    write_back: WriteBack = False,
    learn: Annotated[
        bool, typer.Option(help="Use what was learned for it; if unsure all the same, learn from memories.")
    ] = False,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Write a text; on a terminal it unmasks live, coloured by confidence."""
    from ..llm.folder import is_imported

    wanted = form_options(schema, regex, choices)
    if model is not None and is_imported(model):
        if learn:
            raise ValueError("--learn needs a model of ours; `adapt` and `teach` take imported ones")
        options = {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed}
        options |= imported_options(context) | wanted
        return run_imported(model, read_stdin_for(prompt), options, adapter, as_json=as_json)
    prompt = read_stdin_for(prompt).removesuffix("\n")
    engine = loaded(model, memory, namespace, guided=remembered, write_back=write_back)
    engine = with_adapters(engine, adapter)
    router = None
    if learn:
        router, engine = learned(engine, prompt)
    frames = engine.stream(
        prompt,
        mode,
        kind,
        n=n,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        stop=stop or (),
        block=block,
        steps=steps,
        order=order,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=repetition_penalty,
        seed=seed,
        memory_guided=bool(remembered or memory or namespace),
        write_back=write_back,
        **wanted,
    )
    made: list[Any] = []
    if as_json:
        deque(collected(frames, made), maxlen=0)
        put_json([one.to_json() for one in made] if n > 1 else made[0].to_json())
    else:
        watch(collected(frames, made), lambda frame: unmasking(frame, engine))
        show_texts(made)
        note_memories(made[0])
    if router is not None:
        learn_more(router, prompt, made[0], memory, namespace)


def learned(engine: Any, prompt: str) -> tuple[Any, Any]:
    """A router, and the engine bent by what was learned for prompts like this one."""
    from ..adapt.router import EvolutionRouter

    router = EvolutionRouter(engine)
    bent, found = router.adapted(prompt)
    for one in found:
        note(f"adapted by {one.adaptation.id}, {one.adaptation.domain}, similarity {one.similarity:.2f}")
    return router, bent


def learn_more(router: Any, prompt: str, result: Any, memory: Path | None, namespace: str | None) -> None:
    """Learns from memories what the result was unsure of, and says what came of it."""
    from ..adapt.loop import learn_if_unsure
    from .adapt import tell_progress, verdict_of
    from .memory import MEMORY, is_begun, memory_in, where_of

    def recall(subject: str, most: int) -> list[str]:
        if not is_begun(memory or MEMORY):
            return []
        with memory_in(memory) as store:
            return lesson_texts(store, subject, most, where_of(namespace, None))

    made = learn_if_unsure(router, prompt, result, recall, progress=tell_progress)
    if made is None:
        return note(f"an uncertainty of {result.uncertainty:.2f} calls for no learning")
    for line in verdict_of(made):
        note(line)


def lesson_texts(store: Any, subject: str, most: int, where: Mapping[str, Any]) -> list[str]:
    """Facts of a store that have to do with a subject, the best first."""
    from ..memory.conditioner import LEAST
    from ..memory.facts import facts

    hits = [] if (among := facts(store, where)) is None else store.search(subject, most, among)
    near = [hit for hit in hits if hit.similarity is not None and hit.similarity >= LEAST]
    return [hit.memory.text for hit in near if hit.memory.text]


@app.command()
def infill(
    prefix: Annotated[str, typer.Argument(help="What comes before; kept to the byte, as the suffix is.")],
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

    before = read_stdin_for(prefix)
    result = ArrowEngine.load(model).infill(before, suffix, length, mode, kind, prompt, seed=seed)
    put_json(result.to_json()) if as_json else show_texts([result])


@app.command()
def encode(
    text: Annotated[str, typer.Argument(help="The text, or - for standard input.")], model: Model = None
) -> None:
    """Print a text's unit vector as JSON."""
    from ..engine import ArrowEngine

    vector = ArrowEngine.load(model).encode(filled(text, "text"))
    put_json([round(float(v), 6) for v in vector])


def imported_options(context: typer.Context) -> dict[str, Any]:
    """What was typed of the options that our models and imported ones share.

    Raises:
        ValueError: one that an imported model does not have.
    """
    usual = {one.name: one.default for one in context.command.params}
    for name in OURS_ALONE:
        if (context.params[name] or None) != (usual[name] or None):
            raise ValueError(
                f"--{name.replace('_', '-')} is for models of ours; an imported one does not have it"
                + (" here: `bowstring chat` recalls" if name in ("remembered", "memory", "namespace") else "")
            )
    typed = [one for one in SHARED if context.get_parameter_source(one).name == "COMMANDLINE"]  # type: ignore[union-attr]
    found = {name: context.params[name] for name in typed}
    return found | ({"mode": None} if found.get("mode") == "auto" else {})


def run_imported(
    model: Path, prompt: str, options: Mapping[str, Any], adapters: list[str] | None, *, as_json: bool
) -> None:
    """Goes on from a prompt with an imported model, piece by piece on a terminal."""
    from ..llm.pipeline import LanguageModel

    result: Any = None
    for result in with_adapters(LanguageModel.load(model), adapters).stream(prompt, **options):
        if on_terminal() and not as_json and not hasattr(result, "tokens"):
            print(result, end="", flush=True)
    if as_json:
        return put_json(result.to_json())
    if on_terminal():
        print()
        return note(result.facts())
    show_texts([result])


def collected(frames: Iterable[Any], made: list[Any]) -> Iterator[Any]:
    """The frames, whose results are put into a list."""
    for frame in frames:
        if not hasattr(frame, "confidence"):
            made.append(frame)
        yield frame


def show_texts(results: list[Any]) -> None:
    """Texts to standard output, an empty line between them; what they cost to standard error."""
    if on_terminal() and any(one.doubtful for one in results):
        show_doubts(results)
    else:
        put("\n\n".join(one.text for one in results))
    for result in results:
        note(result.facts())


def show_doubts(results: list[Any]) -> None:
    """Texts on a terminal, their doubtful spans in colour, redder where the doubt is larger."""
    from rich.console import Console

    Console().print(*(doubtful(one) for one in results), sep="\n\n", soft_wrap=True)


def doubtful(result: Any) -> Any:
    """A text with its doubtful spans coloured, from yellow at the trigger to red at twice of it."""
    from rich.text import Text

    from ..core.calibration import TRIGGER

    text = Text(CONTROL.sub("\ufffd", result.text))  # of the same length, so that spans stay
    for span in result.doubtful:
        green = int(215 * max(0.0, min(1.0, (2 * TRIGGER - span.uncertainty) / TRIGGER)))
        text.stylize(f"rgb(255,{green},60)", span.start, span.end)
    return text


def unmasking(frame: Any, engine: Any) -> Any:
    """A moment of writing, coloured by confidence; nothing of the result, which is printed."""
    from rich.text import Text

    if not hasattr(frame, "confidence") or frame.number:
        return None
    text, masked = Text(), SHADE if can_show(SHADE) else "."
    for piece, sure in zip(engine.tokenizer.pieces(frame.tokens), frame.confidence, strict=True):
        colour = f"rgb({int(255 - 155 * sure)},{int(120 + 135 * sure)},120)"
        text.append(*((masked, "grey42") if piece == SHADE else (piece, colour)))
    return text
