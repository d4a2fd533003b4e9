"""Commands by which a model teaches itself: adapt, teach, adaptations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import AsJson, Model, Seed, app
from .terminal import note, put_json, put_line, read_stdin_for, table

if TYPE_CHECKING:
    from ..adapt.ledger import Adaptation, Ledger
    from ..adapt.lesson import Lesson
    from ..adapt.router import EvolutionRouter

adaptations = typer.Typer(no_args_is_help=True, help="Look at what was learned, and take it back.")
app.add_typer(adaptations, name="adaptations")

Folder = Annotated[
    Path | None,
    typer.Option("--adaptations", help="The ledger's folder; default: ~/.local/share/bowstring/adaptations."),
]
Level = Annotated[
    str | None, typer.Option(help="L0 to L4; default: what doubt, examples and seconds call for.")
]
Seconds = Annotated[float, typer.Option(help="Seconds of learning; judging takes some more.")]
Id = Annotated[str, typer.Argument(help="The id, or its beginning.")]


@app.command()
def adapt(
    data: Annotated[
        Path, typer.Argument(help='Examples: .jsonl of {"prompt", "answer"} or {"text"}, .txt or .md.')
    ],
    domain: Annotated[str | None, typer.Option(help="Its name; default: the file's.")] = None,
    test: Annotated[
        Path | None, typer.Option(help="Examples that judge; default: a quarter of the data's contexts.")
    ] = None,
    level: Level = None,
    seconds: Seconds = 60.0,
    uncertainty: Annotated[float, typer.Option(help="How unsure the model is; 1 is typical.")] = 2.0,
    folder: Folder = None,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Learn from examples, and keep what was learned only if it proves better on others.

    About 40 different contexts are needed, at least 8 examples to learn from and 8 to judge by.
    """
    lesson = lesson_of(data, test)
    router = router_of(model, folder)
    made = router.evolve(
        lesson,
        domain or data.stem,
        level=level,
        uncertainty=uncertainty,
        seconds=seconds,
        seed=seed,
        progress=None if as_json else tell_progress,
    )
    tell(made, as_json=as_json)


def lesson_of(data: Path, test: Path | None) -> Lesson:
    """Examples of one file, judged by those of another, or by a part of them set aside."""
    from ..adapt.lesson import Lesson, read_examples, split

    examples = read_examples(data)
    if test is None:
        return split(examples)
    return Lesson(tuple(examples), tuple(read_examples(test)))


def router_of(model: Path | None, folder: Path | None) -> EvolutionRouter:
    from ..adapt.router import EvolutionRouter
    from ..engine import ArrowEngine

    return EvolutionRouter(ArrowEngine.load(model), folder)


def tell_progress(said: Mapping[str, Any]) -> None:
    """A line of standard error for a stage, and now and then for a step."""
    if "stage" in said:
        note(f"{said['stage']} {said['examples']} examples")
    elif "aside" in said:
        note(
            f"step {said['step']} of {said['steps']}: {said['aside']:.3f} nats a token on examples set aside"
        )


def tell(made: Adaptation, *, as_json: bool) -> None:
    """What came of a lesson."""
    if as_json:
        return put_json(made.to_json())
    *verdict, numbers = verdict_of(made)
    for line in verdict:
        put_line(line)
    note(numbers)


def verdict_of(made: Adaptation) -> list[str]:
    """What came of a lesson, in lines: whether it is kept, the reason if it is not, and the numbers."""
    verdict, facts = made.verdict, made.provenance
    numbers = (
        f"held-out loss {verdict.gain:+.1%} +- {verdict.gain_se:.1%} better, old domains "
        f"{verdict.base_loss:+.2%} +- {verdict.base_loss_se:.2%} worse, {facts.share:.1%} of the parameters, "
        f"{facts.steps} steps, {facts.seconds:.0f} s"
    )
    kept = f"{'kept' if made.kept else 'thrown away'}: {made.domain}, {facts.level}, {made.id}"
    return [kept, *([] if made.kept else [verdict.reason]), numbers]


def ledger_of(folder: Path | None) -> Ledger:
    """The ledger, whatever the model."""
    from ..adapt.ledger import Ledger
    from ..adapt.router import FOLDER

    return Ledger(folder or FOLDER, "any")


@adaptations.command("list")
def listing(
    folder: Folder = None,
    rejected: Annotated[bool, typer.Option(help="Those that were thrown away, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what was learned, the newest first."""
    with ledger_of(folder) as ledger:
        found = ledger.list(rejected=rejected)
        if as_json:
            return put_json([one.to_json() for one in found])
        for one in found:
            state = "kept" if one.kept else "thrown away"
            put_line(f"{one.id}  {one.provenance.level}  {state}  {one.verdict.gain:+.1%}  {one.domain}")
        if not found:
            note("nothing was learned yet; `bowstring adapt DATA` learns from examples")


@adaptations.command()
def show(id: Id, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show where an adaptation comes from and what it was judged by."""
    with ledger_of(folder) as ledger:
        one = ledger.show(id)
        if as_json:
            return put_json(one.to_json())
        facts = one.to_json()
        rows = {name: facts[name] for name in ("domain", "kept", "version", "threshold", "sha256")}
        table(one.id, rows | facts["verdict"] | facts["provenance"])


@adaptations.command()
def undo(id: Id, folder: Folder = None) -> None:
    """Take an adaptation back; what it superseded is in force again."""
    with ledger_of(folder) as ledger:
        before = ledger.show(id)
        back = ledger.undo(id)
        put_line(f"took back {before.domain}, version {before.version}")
        put_line(
            "nothing of this domain is in force" if back is None else f"version {back.version} is in force"
        )


@adaptations.command()
def prune(
    keep: Annotated[int, typer.Option(help="How many of the newest stay.")],
    folder: Folder = None,
) -> None:
    """Erase all but the newest adaptations, and what was thrown away; this cannot be undone."""
    with ledger_of(folder) as ledger:
        put_line(f"erased {len(ledger.prune(keep))}")


@adaptations.command()
def export(
    id: Id,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the adapter, as load_adapter takes it.")
    ],
    folder: Folder = None,
) -> None:
    """Write an adaptation as an adapter's folder."""
    from ..core.files import output_folder

    out = output_folder(out)
    with ledger_of(folder) as ledger:
        one = ledger.show(id)
        out.mkdir(parents=True, exist_ok=True)
        name = "mixture.json" if one.provenance.level == "L0" else "adapter_model.safetensors"
        put_line(str(ledger.export(id, out / name)))


@app.command()
def teach(
    prompt: Annotated[str, typer.Argument(help="The prompt that should be answered otherwise.")],
    answer: Annotated[
        Path, typer.Option(help="A file with the right answer; - for standard input.", allow_dash=True)
    ],
    domain: Annotated[str | None, typer.Option(help="Its name; default: the prompt.")] = None,
    level: Level = None,
    seconds: Seconds = 60.0,
    folder: Folder = None,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Teach one answer: the prompt in several wordings, judged by wordings that were not taught."""
    from ..adapt.lesson import named, worded

    prompt = read_stdin_for(prompt).strip()
    said = read_stdin_for("-") if str(answer) == "-" else answer.read_text("utf-8")
    lesson = worded(prompt, said.strip())
    made = router_of(model, folder).evolve(
        lesson,
        domain or named(prompt),
        level=level or "L2",
        seconds=seconds,
        seed=seed,
        progress=None if as_json else tell_progress,
    )
    tell(made, as_json=as_json)
