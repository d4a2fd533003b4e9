"""`bowstring train`: corpus in, progress on screen, checkpoints and a finished model folder out."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ...text.sampling import Sampling, sample_text
from ...text.tokenizer import TextTokenizer
from ...text.weights import load_model, save_model
from ...weights.layout import carry_over
from ...weights.metadata import read_metadata
from ..data.corpora import Document, corpus_documents
from ..data.splits import RULE
from ..progress import PROGRESS_COLUMNS
from .loop import WHOLE_BODY, batches, fit
from .packing import Corpus, prompt_tokens
from .qat import QATRecipe, fit_qat, pack_student, quantise_at_once
from .recipes import RECIPES

TOKENIZER_MIX = {"tale": 1.0, "story": 0.25, "function": 3.0, "snippet": 3.0}


def corpus_tokenizer(documents: list[Document], path: Path, vocab: int) -> TextTokenizer:
    """The tokenizer at `path`, trained on a fixed mix of the documents if it is not there yet."""
    if not path.exists():
        rng = random.Random(0)
        bodies = [d.body for d in documents for _ in range(int(TOKENIZER_MIX[d.source] + rng.random()))]
        prompts = [prompt for d in documents if rng.random() < 0.1 for prompt in d.prompts[:2]]
        TextTokenizer.train(bodies + prompts, vocab).save(path)
    return TextTokenizer.load(path)


def train_text(name: str, data: Path, out: Path) -> None:
    """Runs a named recipe to its end and writes the model to `out/model`.

    Raises:
        ValueError: an unknown recipe.
        FileNotFoundError: the model that the recipe goes on from is not beside `out`.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; expected one of {sorted(RECIPES)}")
    recipe = RECIPES[name]()
    documents = corpus_documents(data, "train")
    codec = corpus_tokenizer(documents, data / "tokenizer.json", recipe.network.vocab)
    corpus = Corpus.of(documents, codec)
    out.mkdir(parents=True, exist_ok=True)
    prompt = prompt_tokens(codec, "text", "a story about a fox")
    before = load_model(out.parent / recipe.start / "model")[0] if recipe.start else None
    console, network = Console(), None
    with Progress(*PROGRESS_COLUMNS, console=console) as bar, (out / "log.jsonl").open("a") as log:
        task = bar.add_task("train", total=recipe.steps, phase="", note="")
        for progress, network in fit(recipe, corpus, out, start_from=before):
            log.write(json.dumps(asdict(progress)) + "\n")
            log.flush()
            losses = f"next token {progress.ar:.3f}  diffusion {progress.diffusion:.3f}"
            note = f"{losses}  {progress.tokens_per_second:,.0f} tokens/s"
            bar.update(task, completed=progress.step + 1, phase=progress.phase, note=note)
            if (progress.step + 1) % 200 == 0:
                *_, sample = sample_text(
                    network.eval(), [prompt], Sampling(mode="ar", max_tokens=60), recipe.length
                )
                network.train()
                console.print(f"[dim]{progress.step + 1}: {codec.decode(sample.x[0].tolist())}[/dim]")  # type: ignore[index]
    if network is None:
        raise ValueError(f"{out} holds a finished training; choose another --out to train anew")
    sizes = [size for size in recipe.blocks if size < WHOLE_BODY]
    rule = read_metadata(out.parent / recipe.start / "model").split_rule if recipe.start else RULE
    save_model(out / "model", network, codec, blocks=sizes, context=recipe.length, split_rule=rule)
    console.print(f"model written to {out / 'model'}")


def quantise_model(out: Path, bits: int, steps: int, data: Path, model: Path) -> None:
    """Writes a model with packed matrices: rounded at once, or after `steps` of QAT.

    Raises:
        ValueError: bits that no kernel has.
    """
    if bits not in (2, 4):
        raise ValueError(f"bits is {bits}; expected 2 or 4")
    network, codec, metadata = load_model(model)
    recipe = RECIPES["text"]()
    corpus = Corpus.of(corpus_documents(data, "train"), codec)
    rows = next(batches(corpus, recipe, 0))
    if steps:
        plan, student = QATRecipe(bits, steps, recipe=recipe), None
        with Progress(*PROGRESS_COLUMNS, console=Console()) as bar:
            task = bar.add_task("qat", total=steps, phase=f"INT{bits}", note="")
            for step, loss, latest in fit_qat(network, corpus, plan, out / "qat"):
                bar.update(task, completed=step + 1, note=f"divergence {loss:.3f} nats a token")
                student = latest
        if student is None:
            raise ValueError(f"{out} holds a finished run; choose another folder")
        small = pack_student(student, bits)
    else:
        small = quantise_at_once(network, bits, rows)
    save_model(out, small, codec, **metadata.settings())
    carry_over(model, out)
