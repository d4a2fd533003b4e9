"""`bowstring train multimodal | shortcut`: reads what was made before, trains, writes a model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...image.weights import load_autoencoder
from ...nn.config import SPEAKER as SPEAKER_NUMBERS
from ...nn.config import VOICE
from ...nn.network import UnifiedScoreNetwork
from ...speech.baseline import ResidualCoder
from ...speech.codec import SpeechCodec
from ...speech.source_filter import Frames
from ...speech.speaker import SpeakerEncoder, load_speaker, numbers_of_voice
from ...speech.voice import FEWEST
from ...speech.weights import load_speech, save_speech
from ...text.tokenizer import TextTokenizer
from ...text.weights import load_model, save_model
from ...weights.layout import CODECS, DECODER, ENCODER, SPEAKER, SPEECH, find
from ...weights.metadata import Metadata, Settings
from ...weights.placement import placed
from ...weights.quant.packed import plain, unpacked
from ...weights.shipped import MULTIMODAL, SHIPPED
from ..data.corpora import corpus_documents
from ..data.gallery import LEARNED
from ..image.flow import latent_std
from ..image.latents import build_latents, captioned
from ..progress import tell
from ..schedule import Run
from ..speech.files import load_utterances
from ..speech.flow import TrainingUtterance, coder_examples, fit_coder
from ..speech.speaker import SPEAKER_FILE
from ..speech.voices import is_held_out_voice
from ..text.packing import Corpus
from .multimodal import JointData, run_multimodal
from .shortcut import run_shortcut

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


def mean_voice(utterances: list[TrainingUtterance], speaker: SpeakerEncoder | None) -> np.ndarray:
    """What the teacher's voice is on average, `(103,)`, or `(167,)` with a speaker encoder, whose numbers
    keep their mean square of 1.
    """
    mean = np.mean([numbers_of_voice(one.frames, speaker) for one in well_voiced(utterances)], 0)
    if speaker is not None:
        mean[VOICE:] /= np.sqrt(np.square(mean[VOICE:]).mean())
    return mean


def fitted_coder(
    utterances: list[TrainingUtterance], path: Path, speaker: SpeakerEncoder | None = None
) -> ResidualCoder[Frames]:
    """The coder, fitted once with the teacher's own voice and then read from `path`."""
    if not path.exists():
        coder = fit_coder(utterances)
        assert isinstance(coder.codec, SpeechCodec)
        save_speech(path, coder.codec, coder.table, mean_voice(utterances, speaker))
    codec, table, voice = load_speech(path)
    if len(voice) != VOICE + (
        0 if speaker is None else SPEAKER_NUMBERS
    ):  # it was fitted with another encoder
        save_speech(path, codec, table, mean_voice(utterances, speaker))
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


@dataclass(frozen=True)
class JointStart:
    """What a joint training begins with: the network, the model of text that it is not to forget, the data,
    and what lies beside the network in the folder of the result.
    """

    network: UnifiedScoreNetwork
    text_teacher: UnifiedScoreNetwork
    data: JointData
    tokenizer: TextTokenizer
    metadata: Settings
    beside: dict[str, Path]  # codecs by their place in a model folder
    fresh: bool = False

    def on(self, device: torch.device) -> tuple[UnifiedScoreNetwork, UnifiedScoreNetwork]:
        """Network and teacher on a device."""
        return self.network.to(device), placed(self.text_teacher, device)


def joint_data(
    data: Path,
    tokens: Path,
    autoencoder: Path | None,
    coder: ResidualCoder[Frames],
    words: TextTokenizer,
    speaker: SpeakerEncoder | None = None,
) -> JointData:
    """What was built in `data`; pictures are drawn and encoded into `tokens` the first time."""
    tell("drawing pictures and encoding them; the first time takes some minutes")
    pictures, latents = build_latents(
        data, tokens, None if autoencoder is None else load_autoencoder(autoencoder)
    )
    corpus = Corpus.of(corpus_documents(data, "train"), words)
    spoken = training_utterances(data)
    return JointData(corpus, spoken, coder, captioned(pictures, words), latents, speaker)


def text_teacher(model: Path) -> UnifiedScoreNetwork:
    """The model of text that is not to be forgotten, its matrices in FP32."""
    return plain(load_model(model)[0])


def prepare_multimodal(
    data: Path, out: Path, start: Path = SHIPPED, seed: int = 0, teacher: Path = SHIPPED
) -> JointStart:
    """Goes on from the model in `start`, after `bowstring data speech`; with the autoencoder that it has, or
    else your own, or else the shipped one. teacher: the model whose text is not to be forgotten.
    """
    network, words, metadata = starting_network(start)
    own = out.parent / "autoencoder" / "model"
    autoencoder = own if own.exists() else MULTIMODAL
    if "image" in network.heads:
        autoencoder = start
    out.mkdir(parents=True, exist_ok=True)
    tells = out.parent / "speaker" / SPEAKER_FILE  # what tells voices apart, if it was trained before
    if "audio" in network.heads:
        shutil.copy(find(start, SPEECH), out / "speech.parquet")
        tells = find(start, SPEAKER)
    elif tells.exists():
        network.config = replace(network.config, speaker=SPEAKER_NUMBERS)
    speaker = load_speaker(tells) if network.config.speaker else None
    teachers = [one for one in training_utterances(data) if one.speaker == 0]
    coder = fitted_coder(teachers, out / "speech.parquet", speaker)
    learned = joint_data(data, out.parent / "image-tokens", autoencoder, coder, words, speaker)
    torch.manual_seed(seed + 1)
    fresh = "image" not in network.heads
    if fresh:
        network.add_head("image").std.copy_(latent_std(learned.pictures, learned.latents))
    if "audio" not in network.heads:
        network.config = replace(network.config, duration_flow=1)
        network.add_head("audio").std.copy_(residual_std(teachers, coder))
    kept = metadata.settings() | Settings(distilled=False, picture_groups=sorted(LEARNED))
    beside = {name: find(autoencoder, name) for name in (ENCODER, DECODER)} | {SPEECH: out / "speech.parquet"}
    beside |= {SPEAKER: tells} if speaker is not None else {}
    return JointStart(network, text_teacher(teacher), learned, words, kept, beside, fresh)


def prepare_shortcut(data: Path, out: Path, teacher: Path = SHIPPED) -> JointStart:
    """Goes on from the result of `bowstring train multimodal`."""
    before = out.parent / "multimodal" / "model"
    network, words, metadata = load_model(before)
    codec, table, _ = load_speech(find(before, SPEECH))
    coder, speaker = ResidualCoder(codec, table), load_speaker(find(before, SPEAKER))
    learned = joint_data(data, out.parent / "image-tokens", None, coder, words, speaker)
    kept = metadata.settings() | Settings(distilled=True, picture_groups=sorted(LEARNED))
    beside = {name: path for name in CODECS if (path := find(before, name)).exists()}
    network = network.train().requires_grad_()
    return JointStart(network, text_teacher(teacher), learned, words, kept, beside)


def save_joint(start: JointStart, network: UnifiedScoreNetwork, folder: Path) -> None:
    """Writes the model folder, with what lies beside the network."""
    save_model(folder, network.eval(), start.tokenizer, **start.metadata)
    for name, path in start.beside.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    tell(f"model written to {folder}")


def train_multimodal(
    data: Path, run: Run, steps: int = 3300, start: Path = SHIPPED, seed: int = 0, teacher: Path = SHIPPED
) -> None:
    """`bowstring train multimodal`; see `prepare_multimodal`."""
    prepared = prepare_multimodal(data, run.out, start, seed, teacher)
    networks = prepared.on(run.device)
    network = run_multimodal(*networks, prepared.data, run, steps, seed, fresh=prepared.fresh)
    save_joint(prepared, network, run.out / "model")


def train_shortcut(data: Path, run: Run, steps: int = 320, teacher: Path = SHIPPED) -> None:
    """`bowstring train shortcut`; see `prepare_shortcut`."""
    prepared = prepare_shortcut(data, run.out, teacher)
    network = run_shortcut(*prepared.on(run.device), prepared.data, run, steps)
    save_joint(prepared, network, run.out / "model")
