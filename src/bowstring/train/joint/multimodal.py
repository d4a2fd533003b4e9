"""Pictures and speech on one trunk, step by step, text being replayed: goes on from the text model, or from
one that has these heads already.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from ...image.weights import load_autoencoder
from ...nn.network import UnifiedScoreNetwork
from ...speech.baseline import ResidualCoder
from ...speech.codec import SpeechCodec
from ...speech.source_filter import Frames
from ...speech.voice import FEWEST, voice_of
from ...speech.weights import load_speech, save_speech
from ...text.tokenizer import TextTokenizer
from ...text.weights import load_model, save_model
from ...weights.layout import DECODER, ENCODER, SPEECH, carry_over, find
from ...weights.metadata import Metadata, Settings
from ...weights.quant.packed import unpacked
from ...weights.shipped import MULTIMODAL, SHIPPED
from ..data.corpora import corpus_documents
from ..image.flow import ImageRecipe, build_latents, image_source, latent_std
from ..loop import Source, TaskSchedule, run_tasks
from ..speech.flow import TrainingUtterance, coder_examples, fit_coder, load_utterances, speech_source
from ..speech.voices import is_held_out_voice
from ..text.losses import recall_loss
from ..text.packing import Corpus, Rows
from ..text.recipes import text_more_recipe
from ..text.replay import TextLoss, text_source

EARLY_STAGE = ("image", "image", "audio", "image", "image", "text")
# what was learned first is remembered best at low rates
LATE_STAGE = ("audio", "text", "image", "text", "audio", "text", "audio", "image", "text")
HELD_OUT_UTTERANCES = 40  # the last utterances of the teacher are not learned from


def training_utterances(data: Path) -> list[TrainingUtterance]:
    """What is learned of speech: the teacher's, and other voices' if `bowstring data voices` made them."""
    more = data / "voices.safetensors"
    others = load_utterances(more) if more.exists() else []
    return load_utterances(data / "speech.safetensors")[:-HELD_OUT_UTTERANCES] + [
        o for o in others if not is_held_out_voice(o)
    ]


def well_voiced(utterances: list[TrainingUtterance]) -> list[TrainingUtterance]:
    """Those from which a voice can be estimated with room to spare."""
    return [one for one in utterances if (one.frames.voiced > 0.5).sum() > 2 * FEWEST]


def mean_voice(utterances: list[TrainingUtterance]) -> np.ndarray:
    """What the teacher's voice is on average, `(103,)`."""
    return np.mean([voice_of(one.frames) for one in well_voiced(utterances)], 0)


def fitted_coder(utterances: list[TrainingUtterance], path: Path) -> ResidualCoder[Frames]:
    """The coder, fitted once with the teacher's own voice and then read from `path`."""
    if not path.exists():
        coder = fit_coder(utterances)
        assert isinstance(coder.codec, SpeechCodec)
        save_speech(path, coder.codec, coder.table, mean_voice(utterances))
    codec, table, _ = load_speech(path)
    return ResidualCoder(codec, table)


def residual_std(utterances: list[TrainingUtterance], coder: ResidualCoder[Frames]) -> torch.Tensor:
    """Standard deviation of every channel of what the flow has to learn."""
    rows = [coder.encode(*one) for one in coder_examples(utterances[:400], 5)]
    return torch.from_numpy(np.concatenate(rows)).std(0)


def starting_network(start: Path) -> tuple[UnifiedScoreNetwork, TextTokenizer, Metadata]:
    """The network to go on from. The times that a model of text has never seen are damped; a head for faces
    is left out, because it learns from a trunk that stays.
    """
    network, codec, metadata = load_model(start)
    network = unpacked(network)
    if [*network.heads] == ["text"]:
        network.trunk.modulation.damp(0.1)
    if "avatar" in network.heads:
        del network.heads["avatar"]
    return network.train().requires_grad_(), codec, metadata


def curriculum(steps: int, late: float = 0.4) -> tuple[str, ...]:
    """Which modality each step improves: mostly pictures, and in the last share of the steps all of them,
    four of nine steps being text.
    """
    early = round((1 - late) * steps / len(EARLY_STAGE))
    return EARLY_STAGE * early + LATE_STAGE * (steps // len(LATE_STAGE) + 1)


def replay_source(data: Path, codec: TextTokenizer, measure: TextLoss, seed: int) -> Source:
    """A loss of the text that was learned."""
    recipe = replace(text_more_recipe(), rows=4, seed=seed + 2)
    return text_source(Corpus.of(corpus_documents(data, "train"), codec), recipe, measure)


def recall_source(data: Path, codec: TextTokenizer, seed: int = 0) -> Source:
    """The text that was learned, so that it is not forgotten: what the model of text foretells of it."""
    teacher, _, _ = load_model(SHIPPED)

    def forgotten(network: UnifiedScoreNetwork, rows: Rows, size: int, rng: torch.Generator) -> torch.Tensor:
        following, masked = recall_loss(network, teacher, rows, size, rng)
        return following + masked

    return replay_source(data, codec, forgotten, seed)


def train_multimodal(data: Path, out: Path, steps: int = 3300, start: Path = SHIPPED, seed: int = 0) -> None:
    """`bowstring train multimodal`: after `bowstring data speech`; with the autoencoder that the beginning
    has, or else your own, or else the shipped one. `seed` chooses the batches; who goes on takes another.
    """
    network, codec, metadata = starting_network(start)
    console, own = Console(), out.parent / "autoencoder" / "model"
    pictured = own if own.exists() else MULTIMODAL
    if "image" in network.heads:
        pictured = start
    utterances = training_utterances(data)
    teachers = [one for one in utterances if one.speaker == 0]
    out.mkdir(parents=True, exist_ok=True)
    if "audio" in network.heads:
        shutil.copy(find(start, SPEECH), out / "speech.parquet")
    coder = fitted_coder(teachers, out / "speech.parquet")
    console.print("drawing pictures and encoding them; the first time takes some minutes")
    pictures, tokens = build_latents(data, out.parent / "image-tokens", load_autoencoder(pictured))
    torch.manual_seed(seed + 1)
    late, rate = (1.0, 6e-4) if "image" in network.heads else (0.4, 8e-4)
    if "image" not in network.heads:
        network.add_head("image").std.copy_(latent_std(pictures, tokens))
    if "audio" not in network.heads:
        network.add_head("audio").std.copy_(residual_std(teachers, coder))
    schedule = TaskSchedule(
        curriculum(steps, late), steps, rate, constant=0.1, weights=(("text", 2.0),), modulation=0.2
    )
    sources = {
        "audio": speech_source(utterances, coder, seed),
        "image": image_source(pictures, tokens, codec, ImageRecipe(seed=seed)),
        "text": recall_source(data, codec, seed),
    }
    if not run_tasks(schedule, network, sources, out, console):
        raise ValueError(f"{out} holds a finished training; choose another --out to train anew")
    learned = metadata.settings() | Settings(distilled=False)
    save_model(out / "model", network.eval(), codec, **learned)
    carry_over(pictured, out / "model", (ENCODER, DECODER))
    (out / "model" / SPEECH).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(out / "speech.parquet", out / "model" / SPEECH)
    console.print(f"model written to {out / 'model'}")
