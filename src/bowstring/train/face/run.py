"""`bowstring train face`: reads what was made before, trains, writes a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ...face.codec import FaceCodec
from ...face.weights import save_face
from ...nn.network import UnifiedScoreNetwork
from ...speech.baseline import ResidualCoder
from ...speech.speaker import load_speaker, numbers_of_voice
from ...speech.weights import load_speech
from ...text.tokenizer import TextTokenizer
from ...text.weights import load_model, save_model
from ...weights.folder import narrowest
from ...weights.layout import FACE, SPEAKER, SPEECH, carry_over, find
from ...weights.metadata import Settings
from ...weights.quant.packed import matrices, plain
from ...weights.tensors import round_module
from ..joint.run import training_utterances, well_voiced
from ..progress import tell
from ..schedule import Run
from .head import FaceData, face_motion, run_face


@dataclass(frozen=True)
class FaceStart:
    """What the training of a face begins with: the model before, in its folder, with a fresh head, the data,
    and the file of the face's codec.
    """

    before: Path
    network: UnifiedScoreNetwork
    tokenizer: TextTokenizer
    metadata: Settings
    data: FaceData
    codec: Path


def prepare_face(data: Path, out: Path, before: Path | None = None) -> FaceStart:
    """Goes on from the model `before`, by default the result of `train shortcut`, or else of `train
    multimodal`, beside `out`.
    """
    made = [out.parent / name / "model" for name in ("shortcut", "multimodal")]
    before = before or next((folder for folder in made if folder.exists()), made[-1])
    network, words, metadata = load_model(before)
    speech, table, _ = load_speech(find(before, SPEECH))
    utterances = well_voiced(training_utterances(data))
    motions = [face_motion(one, seed) for seed, one in enumerate(utterances)]
    speaker = load_speaker(find(before, SPEAKER))
    voices = [numbers_of_voice(one.frames, speaker) for one in utterances]
    examples = [
        (face, one.phonemes, one.durations, voice)
        for face, one, voice in zip(motions, utterances, voices, strict=True)
    ]
    codec = FaceCodec.fit_faces(motions)
    coder = ResidualCoder.fit(codec, examples)
    save_face(out / "face.parquet", codec, coder.table)
    faces = [torch.from_numpy(coder.encode(*one)) for one in examples]
    torch.manual_seed(2)
    network = plain(network)
    network.add_head("avatar").std.copy_(torch.cat(faces).std(0))
    learned = FaceData(utterances, ResidualCoder(speech, table), faces, voices)
    return FaceStart(before, network, words, metadata.settings(), learned, out / "face.parquet")


def with_face(before: UnifiedScoreNetwork, trained: UnifiedScoreNetwork) -> UnifiedScoreNetwork:
    """The trained network or, where the one before it is packed, that one with its face in 8 bits: nothing
    else was trained.
    """
    if not matrices(before):
        return trained
    before.heads["avatar"] = trained.heads["avatar"]
    round_module(before.heads["avatar"])
    return before


def train_face(data: Path, run: Run, steps: int = 120, before: Path | None = None) -> None:
    """Writes `run.out/model`; see `prepare_face`."""
    start = prepare_face(data, run.out, before)
    network = with_face(load_model(start.before)[0], run_face(start.network, start.data, run, steps))
    model = run.out / "model"
    save_model(model, network, start.tokenizer, narrowest(network), **start.metadata)
    carry_over(start.before, model)
    (model / FACE).parent.mkdir(parents=True, exist_ok=True)
    (model / FACE).write_bytes(start.codec.read_bytes())
    tell(f"model written to {model}")
