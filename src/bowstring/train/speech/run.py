"""`bowstring train postfilter | g2p`: reads what was made before, trains, writes."""

from __future__ import annotations

import gzip
import json
import lzma
import random
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from ...core.files import replacing
from ...nn.network import UnifiedScoreNetwork
from ...speech.baseline import ResidualCoder
from ...speech.g2p import SYMBOLS
from ...speech.g2p_network import G2PNetwork
from ...speech.letters import letter_ids
from ...speech.postfilter import Postfilter
from ...speech.source_filter import HOP, Frames
from ...speech.weights import load_speech
from ...text.weights import load_model
from ...weights.format.parquet import write
from ...weights.layout import POSTFILTER, SPEECH, find
from ...weights.quant.rounded import few_bit_tensors
from ...weights.tensors import arrays_of
from ..data.corpora import corpus_documents
from ..data.sentences import sentences
from ..progress import tell
from ..schedule import Run
from .g2p import fit_g2p, g2p_errors, is_held_out_word
from .postfilter import PIECE_FRAMES, run_postfilter
from .reading import Reading
from .teacher import Teacher

POSTFILTER_SENTENCES = 600  # read aloud, a share of those that the network learned from


@dataclass(frozen=True)
class PostfilterStart:
    """What a postfilter is trained with: the model that speaks, in its folder, and what the teacher read."""

    before: Path
    network: UnifiedScoreNetwork
    coder: ResidualCoder[Frames]
    voice: np.ndarray
    readings: list[Reading]


def prepare_postfilter(data: Path, runs: Path, before: Path | None = None) -> PostfilterStart:
    """For the model `before`, by default the result of `bowstring train face`, or of `shortcut` or
    `multimodal`, in `runs`.
    """
    made = [runs / name / "model" for name in ("face", "shortcut", "multimodal")]
    before = before or next((folder for folder in made if folder.exists()), made[0])
    network, _, _ = load_model(before)
    codec, table, voice = load_speech(find(before, SPEECH))
    teacher = Teacher()
    texts = sentences(corpus_documents(data, "train"), POSTFILTER_SENTENCES)
    read = [one for text in track(texts, "reading aloud") for one in teacher.read(text)]
    read = [one for one in read if one.is_short and len(one.signal) > PIECE_FRAMES * HOP]
    return PostfilterStart(before, network, ResidualCoder(codec, table), voice, read)


def save_postfilter(folder: Path, postfilter: Postfilter) -> None:
    """Writes it beside the network that it was made for, in 8 bits."""
    (folder / POSTFILTER).parent.mkdir(parents=True, exist_ok=True)
    write(folder / POSTFILTER, few_bit_tensors(arrays_of(postfilter)), {})


def train_postfilter(data: Path, run: Run, steps: int = 3000, before: Path | None = None) -> None:
    """`bowstring train postfilter`: the model that speaks is copied, and its network stays as it is."""
    start = prepare_postfilter(data, run.out.parent, before)
    postfilter = run_postfilter(start.readings, start.network, start.coder, start.voice, run, steps)
    shutil.copytree(start.before, run.out / "model", dirs_exist_ok=True)
    save_postfilter(run.out / "model", postfilter)
    tell(f"model written to {run.out / 'model'}")


def dictionary_words(assets: Path, name: str) -> dict[str, str]:
    """Words and phonemes of one of the dictionaries; where it depends on the part of speech, the default."""
    with gzip.open(assets / f"lexicon_us_{name}.json.gz") as file:
        found = json.load(file)
    plain = {word: s["DEFAULT"] if isinstance(s, dict) else s for word, s in found.items()}
    fits = lambda word, s: word.isascii() and s and set(s) <= set(SYMBOLS) and word.replace("'", "").isalpha()  # noqa: E731
    return {word: phonemes for word, phonemes in plain.items() if fits(word, phonemes)}


@dataclass(frozen=True)
class Dictionary:
    """Words and phonemes: those that are looked up, those that the network learns from, those that judge."""

    kept: dict[str, str]
    learned: list[tuple[str, str]]
    held_out: list[tuple[str, str]]


def dictionary() -> Dictionary:
    """
    Raises:
        ImportError: hibari-tts, which brings the dictionaries, is not installed.
    """
    import hibari

    assets = Path(hibari.__file__).parent / "assets"
    gold = dictionary_words(assets, "gold")
    rows = [*(dictionary_words(assets, "silver") | gold).items()]
    fits = lambda word, phonemes: letter_ids(word) and len(phonemes) <= 3 * len(letter_ids(word))  # noqa: E731
    rows = [row for row in rows if fits(*row)]
    held_out = random.Random(0).sample([row for row in rows if is_held_out_word(row[0])], 1500)
    return Dictionary(gold, [row for row in rows if not is_held_out_word(row[0])], held_out)


def save_g2p(out: Path, network: G2PNetwork, words: dict[str, str]) -> None:
    """Writes network.parquet and dictionary.xz."""
    out.mkdir(parents=True, exist_ok=True)
    write(out / "network.parquet", few_bit_tensors(arrays_of(network)), {})
    text = "".join(f"{word}\t{phonemes}\n" for word, phonemes in sorted(words.items()))
    with replacing(out / "dictionary.xz") as partial_file:
        partial_file.write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))


def train_g2p(run: Run) -> None:
    """`bowstring train g2p`; see `save_g2p`."""
    words = dictionary()
    network = fit_g2p(words.learned, device=run.device, shown=partial(track, description="g2p"))
    save_g2p(run.out, network.cpu(), words.kept)
    tell(f"{len(words.kept):,} words; {g2p_errors(network, words.held_out)} on held-out words; in {run.out}")
