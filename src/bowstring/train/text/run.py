"""`bowstring train`: corpus in, progress on screen, checkpoints and a finished model folder out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch

from ...nn.network import UnifiedScoreNetwork
from ...text.tokenizer import TextTokenizer
from ...text.weights import load_model, save_model
from ...weights.layout import carry_over
from ...weights.metadata import Settings, read_metadata
from ...weights.quant.packed import unpacked
from ...weights.tensors import round_module
from ..data.corpora import Document, corpus_documents
from ..data.splits import RULE
from ..progress import tell
from ..schedule import CPU, Run
from .loop import WHOLE_BODY, Recipe, batches, run_text, share_past
from .packing import Corpus
from .qat import QATRecipe, quantise_at_once, run_qat
from .recipes import RECIPES, known_recipe

TOKENIZER_MIX = {"tale": 1.0, "story": 0.25, "function": 3.0, "snippet": 1.0}


def corpus_tokenizer(documents: list[Document], path: Path, vocab: int) -> TextTokenizer:
    """The tokenizer at `path`, trained on a fixed mix of the documents if it is not there yet."""
    if not path.exists():
        rng = random.Random(0)
        bodies = [d.body for d in documents for _ in range(int(TOKENIZER_MIX[d.source] + rng.random()))]
        prompts = [prompt for d in documents if rng.random() < 0.1 for prompt in d.prompts[:2]]
        TextTokenizer.train(bodies + prompts, vocab).save(path)
    return TextTokenizer.load(path)


def text_metadata(recipe: Recipe, split_rule: int) -> Settings:
    """What metadata.json says of a model of this recipe."""
    blocks = [size for size in recipe.blocks if size < WHOLE_BODY]
    return Settings(blocks=blocks, context=recipe.length, split_rule=split_rule)


@dataclass(frozen=True)
class TextStart:
    """What a training of text begins with: the corpus, its tokenizer, the network to go on from, and what the
    metadata of the result say.
    """

    corpus: Corpus
    tokenizer: TextTokenizer
    network: UnifiedScoreNetwork | None
    metadata: Settings


def prepare_text(name: str, data: Path, runs: Path) -> TextStart:
    """
    Raises:
        ValueError: an unknown recipe.
        FileNotFoundError: there is no corpus, or the model that the recipe goes on from is not in `runs`.
    """
    recipe = known_recipe(name)
    documents = corpus_documents(data, "train")
    tokenizer = corpus_tokenizer(documents, data / "tokenizer.json", recipe.network.vocab)
    before = runs / recipe.start / "model"
    network = load_model(before)[0] if recipe.start else None
    rule = read_metadata(before).split_rule if recipe.start else RULE
    return TextStart(Corpus.of(documents, tokenizer), tokenizer, network, text_metadata(recipe, rule))


def train_text(name: str, data: Path, run: Run) -> None:
    """Runs a named recipe to its end and writes the model to `run.out/model`; see `prepare_text`."""
    start, recipe = prepare_text(name, data, run.out.parent), known_recipe(name)
    if share_past(recipe, run):
        tell(f"the first {recipe.causal_steps} steps are those of its rival, which are the same")
    network = run_text(recipe, start.corpus, run, start.network)
    save_model(run.out / "model", network, start.tokenizer, **start.metadata)
    tell(f"model written to {run.out / 'model'}")


def prepare_qat(data: Path, model: Path) -> TextStart:
    """The model that is to be packed, its matrices in FP32, and the corpus."""
    network, tokenizer, metadata = load_model(model)
    corpus = Corpus.of(corpus_documents(data, "train"), tokenizer)
    return TextStart(corpus, tokenizer, unpacked(network), metadata.settings())


def quantise_model(
    out: Path, bits: int, steps: int, data: Path, model: Path, device: torch.device = CPU
) -> None:
    """Writes a model with packed matrices: rounded at once, or after `steps` of QAT.

    Raises:
        ValueError: bits that no kernel has.
    """
    if bits not in (2, 4):
        raise ValueError(f"bits is {bits}; expected 2 or 4")
    start = prepare_qat(data, model)
    assert start.network is not None
    recipe = RECIPES["text"]()
    if steps:
        plan = QATRecipe(bits, steps, recipe=recipe)
        small = run_qat(start.network, start.corpus, plan, Run(out / "qat", device))
    else:
        small = quantise_at_once(start.network, bits, next(batches(start.corpus, recipe, 0)))
        round_module(small.heads)
    save_model(out, small, start.tokenizer, **start.metadata)
    carry_over(model, out)
