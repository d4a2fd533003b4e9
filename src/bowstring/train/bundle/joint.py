"""Trainings of several modalities travel, and that of a face."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...speech.baseline import ResidualCoder
from ...speech.codec import SpeechCodec
from ...speech.source_filter import Frames
from ...speech.speaker import SpeakerEncoder
from ...weights.layout import CODECS, FACE, find
from ..face.head import FaceData, run_face
from ..image.flow import CaptionedPicture
from ..joint.multimodal import JointData, run_multimodal
from ..joint.shortcut import run_shortcut
from ..schedule import Run
from ..speech.flow import pack_utterances, unpack_utterances
from .arrays import (
    Arrays,
    Packed,
    Travelling,
    join_network,
    load_packed,
    pack_files,
    pack_lists,
    pack_network,
    pack_result,
    pack_rows,
    pack_text,
    pack_weights,
    prefixed,
    under,
    unpack_lists,
    unpack_network,
    unpack_rows,
)
from .text import pack_corpus, unpack_corpus


def pack_coder(coder: ResidualCoder[Frames]) -> Arrays:
    codec = coder.codec
    assert isinstance(codec, SpeechCodec)
    return {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale, "table": coder.table}


def unpack_coder(arrays: Mapping[str, np.ndarray]) -> ResidualCoder[Frames]:
    return ResidualCoder(SpeechCodec(*(arrays[name] for name in ("mean", "basis", "scale"))), arrays["table"])


def unpack_speaker(arrays: Mapping[str, np.ndarray]) -> SpeakerEncoder | None:
    """The speaker encoder, if there was one."""
    if not arrays:
        return None
    encoder = SpeakerEncoder()
    load_packed(encoder, arrays)
    return encoder.eval().requires_grad_(requires_grad=False)


def pack_joint(data: JointData) -> Arrays:
    ways = [(*picture.plain, *picture.styled) for picture in data.pictures]
    return {
        **prefixed("corpus", pack_corpus(data.corpus)),
        **prefixed("utterances", pack_utterances(data.utterances)),
        **prefixed("coder", pack_coder(data.coder)),
        **prefixed("speaker", {} if data.speaker is None else pack_weights(data.speaker)),
        "latents": data.latents.numpy(),
        "pictures/kind": np.array([picture.kind for picture in data.pictures], np.int8),
        "pictures/held_out": np.array([picture.held_out for picture in data.pictures], bool),
        "pictures/counts": np.array([len(picture.plain) for picture in data.pictures], np.int32),
        **prefixed("ways", pack_lists([way for some in ways for way in some])),
    }


def unpack_joint(arrays: Mapping[str, np.ndarray]) -> JointData:
    about = under("pictures", arrays)
    ways, at, pictures = unpack_lists(under("ways", arrays)), 0, []
    for kind, held_out, count in zip(
        *(about[k].tolist() for k in ("kind", "held_out", "counts")), strict=True
    ):
        plain, styled = tuple(ways[at : at + count]), tuple(ways[at + count : at + 2 * count])
        pictures.append(CaptionedPicture(kind, held_out, plain, styled))
        at += 2 * count
    return JointData(
        unpack_corpus(under("corpus", arrays)),
        unpack_utterances(under("utterances", arrays)),
        unpack_coder(under("coder", arrays)),
        pictures,
        torch.from_numpy(arrays["latents"]),
        unpack_speaker(under("speaker", arrays)),
    )


def pack_start(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..joint.run import prepare_multimodal, prepare_shortcut

    own = {name: given[name] for name in ("start", "seed") if name in given}
    out = runs / recipe
    start = prepare_multimodal(data, out, **own) if recipe == "multimodal" else prepare_shortcut(data, out)
    (arrays, shape), (teacher, teacher_shape) = pack_network(start.network), pack_network(start.text_teacher)
    return {
        **prefixed("network", arrays),
        **prefixed("teacher", teacher),
        **pack_joint(start.data),
        **pack_files(start.beside),
        "tokenizer": pack_text(start.tokenizer.to_json()),
    }, {
        "metadata": dict(start.metadata),
        "shape": shape,
        "teacher": teacher_shape,
        "fresh": start.fresh,
        "given": {name: given[name] for name in ("steps", "seed") if name in given},
    }


def joint_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    network = unpack_network(under("network", arrays), settings["shape"]).to(run.device)
    teacher = unpack_network(under("teacher", arrays), settings["teacher"]).eval().to(run.device)
    data, given = unpack_joint(arrays), settings["given"]
    teacher.requires_grad_(requires_grad=False)
    if settings["recipe"] == "shortcut":
        return pack_result(run_shortcut(network, teacher, data, run, **given))
    return pack_result(run_multimodal(network, teacher, data, run, **given, fresh=settings["fresh"]))


def pack_face(data: FaceData) -> Arrays:
    return {
        **prefixed("utterances", pack_utterances(data.utterances)),
        **prefixed("coder", pack_coder(data.coder)),
        **prefixed("faces", pack_rows([face.numpy() for face in data.faces])),
        "voices": np.stack(data.voices),
    }


def unpack_face(arrays: Mapping[str, np.ndarray]) -> FaceData:
    return FaceData(
        unpack_utterances(under("utterances", arrays)),
        unpack_coder(under("coder", arrays)),
        [*map(torch.from_numpy, unpack_rows(under("faces", arrays)))],
        [*arrays["voices"]],
    )


def pack_face_start(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..face.run import prepare_face

    start = prepare_face(data, runs / recipe)
    arrays, shape = pack_network(start.network)
    beside = {name: path for name in CODECS if (path := find(start.before, name)).exists()}
    return {
        **prefixed("network", arrays),
        **pack_face(start.data),
        **pack_files(beside | {FACE: start.codec}),
        "tokenizer": pack_text(start.tokenizer.to_json()),
    }, {"metadata": dict(start.metadata), "shape": shape, "given": dict(given)}


def face_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    network = unpack_network(under("network", arrays), settings["shape"])
    return pack_result(run_face(network, unpack_face(arrays), run, **settings["given"]))


MULTIMODAL_RECIPE = Travelling(pack_start, joint_from, join_network, ("steps", "start", "seed"))
SHORTCUT_RECIPE = Travelling(pack_start, joint_from, join_network, ("steps",))
FACE_RECIPE = Travelling(pack_face_start, face_from, join_network, ("steps",))
