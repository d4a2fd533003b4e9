"""Trainings that travel: what a recipe learns from and begins with, packed so that another machine goes on
with numpy and torch alone; the result comes back in parts, too.

Arrays of one thing share a prefix: "corpus/bodies/flat", "network/trunk.norm".
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..fields.model import FieldModel
from ..nn.config import NetworkConfig
from ..nn.network import UnifiedScoreNetwork
from ..speech.baseline import ResidualCoder
from ..speech.codec import SpeechCodec
from ..weights.quant.packed import matrices, unpacked
from .fields import run_fields
from .image.flow import CaptionedPicture
from .joint.multimodal import JointData, run_multimodal
from .joint.shortcut import run_shortcut
from .parts import read_parts, write_parts
from .progress import tell
from .schedule import Run
from .speech.flow import pack_utterances, unpack_utterances
from .text.loop import Recipe, run_text
from .text.packing import Corpus
from .text.recipes import RECIPES, known_recipe

BUNDLE_PART, RESULT_PART = 40_000_000, 15_000_000  # bytes, at most
JOINT = ("multimodal", "shortcut")
BUNDLED = (*RECIPES, *JOINT, "fields")
RESULT = "result"  # folder of a run's parts

Arrays = dict[str, np.ndarray]


def prefixed(name: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {f"{name}/{key}": array for key, array in arrays.items()}


def under(name: str, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of one thing."""
    return {k.removeprefix(f"{name}/"): array for k, array in arrays.items() if k.startswith(f"{name}/")}


def pack_lists(lists: Sequence[Sequence[int]]) -> Arrays:
    """Lists of numbers end to end, and their lengths."""
    flat = [number for one in lists for number in one]
    return {"flat": np.array(flat, np.int32), "counts": np.array([len(one) for one in lists], np.int32)}


def unpack_lists(arrays: Mapping[str, np.ndarray]) -> list[list[int]]:
    ends = arrays["counts"].cumsum()
    flat = arrays["flat"].tolist()
    return [
        flat[end - count : end] for end, count in zip(ends.tolist(), arrays["counts"].tolist(), strict=True)
    ]


def pack_corpus(corpus: Corpus) -> Arrays:
    names = sorted(set(corpus.source))
    return {
        **prefixed("bodies", pack_lists(corpus.bodies)),
        **prefixed("prompts", pack_lists([prompt for some in corpus.prompts for prompt in some])),
        "prompt_counts": np.array([len(some) for some in corpus.prompts], np.int32),
        "complete": np.array(corpus.complete, bool),
        "source": np.array([names.index(one) for one in corpus.source], np.int16),
        "names": np.frombuffer("\n".join(names).encode(), np.uint8),
        "characters": np.array(corpus.characters, np.int32),
    }


def unpack_corpus(arrays: Mapping[str, np.ndarray]) -> Corpus:
    prompts = unpack_lists(under("prompts", arrays))
    ends, counts = arrays["prompt_counts"].cumsum().tolist(), arrays["prompt_counts"].tolist()
    names = arrays["names"].tobytes().decode().split("\n")
    return Corpus(
        unpack_lists(under("bodies", arrays)),
        [prompts[end - count : end] for end, count in zip(ends, counts, strict=True)],
        arrays["complete"].tolist(),
        [names[i] for i in arrays["source"].tolist()],
        arrays["characters"].tolist(),
    )


def as_tuples(value: Any) -> Any:
    """Lists of JSON as the tuples that they were."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def unpack_recipe(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from its fields as JSON keeps them."""
    own: dict[str, Any] = {name: as_tuples(value) for name, value in fields.items()}
    own["network"] = NetworkConfig.from_json(fields["network"])
    return Recipe(**own)


def pack_weights(network: nn.Module) -> Arrays:
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def load_packed(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})


def pack_network(network: UnifiedScoreNetwork) -> tuple[Arrays, dict[str, Any]]:
    """Its weights, packed ones as what their bits say, and its shape."""
    plain = unpacked(network) if matrices(network) else network
    return pack_weights(plain), {"network": plain.config.to_json(), "heads": [*plain.heads]}


def unpack_network(arrays: Mapping[str, np.ndarray], shape: Mapping[str, Any]) -> UnifiedScoreNetwork:
    network = UnifiedScoreNetwork(NetworkConfig.from_json(shape["network"]), shape["heads"])
    load_packed(network, arrays)
    return network


def pack_joint(data: JointData) -> Arrays:
    codec = data.coder.codec
    assert isinstance(codec, SpeechCodec)
    ways = [(*picture.plain, *picture.styled) for picture in data.pictures]
    return {
        **prefixed("corpus", pack_corpus(data.corpus)),
        **prefixed("utterances", pack_utterances(data.utterances)),
        **prefixed("coder", {"mean": codec.mean, "basis": codec.basis, "scale": codec.scale}),
        "coder/table": data.coder.table,
        "latents": data.latents.numpy(),
        "pictures/kind": np.array([picture.kind for picture in data.pictures], np.int8),
        "pictures/held_out": np.array([picture.held_out for picture in data.pictures], bool),
        "pictures/counts": np.array([len(picture.plain) for picture in data.pictures], np.int32),
        **prefixed("ways", pack_lists([way for some in ways for way in some])),
    }


def unpack_joint(arrays: Mapping[str, np.ndarray]) -> JointData:
    coder, about = under("coder", arrays), under("pictures", arrays)
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
        ResidualCoder(SpeechCodec(coder["mean"], coder["basis"], coder["scale"]), coder["table"]),
        pictures,
        torch.from_numpy(arrays["latents"]),
    )


def bundle(recipe: str, data: Path, runs: Path, out: Path, given: Mapping[str, Any]) -> list[Path]:
    """Packs what a recipe needs into parts in `out`; `runs` holds what was trained before.

    Args:
        given: steps, seed and start of joint trainings.

    Raises:
        ValueError: a recipe that cannot travel.
    """
    if recipe not in BUNDLED:
        raise ValueError(f"{recipe!r} cannot be bundled; expected one of {', '.join(BUNDLED)}")
    if recipe == "fields":
        from .fields import build_fields

        made = {name: value.numpy() for name, value in build_fields(data.parent / "fields").items()}
        return write_parts(out, prefixed("data", made), {"recipe": recipe}, BUNDLE_PART)
    pack = pack_joint_start if recipe in JOINT else pack_text_start
    arrays, settings = pack(recipe, data, runs, given)
    return write_parts(out, arrays, {"recipe": recipe, **settings}, BUNDLE_PART)


def pack_text_start(
    recipe: str, data: Path, runs: Path, given: Mapping[str, Any]
) -> tuple[Arrays, dict[str, Any]]:
    from .text.run import prepare_text

    start = prepare_text(recipe, data, runs)
    arrays, shape = ({}, None) if start.network is None else pack_network(start.network)
    tokenizer = np.frombuffer((data / "tokenizer.json").read_bytes(), np.uint8)
    return {
        **prefixed("corpus", pack_corpus(start.corpus)),
        **prefixed("network", arrays),
        "tokenizer": tokenizer,
    }, {"metadata": dict(start.metadata), "shape": shape, "text": asdict(known_recipe(recipe))}


def pack_joint_start(
    recipe: str, data: Path, runs: Path, given: Mapping[str, Any]
) -> tuple[Arrays, dict[str, Any]]:
    from .joint.run import prepare_multimodal, prepare_shortcut

    own = {name: given[name] for name in ("start", "seed") if name in given}
    out = runs / recipe
    start = prepare_multimodal(data, out, **own) if recipe == "multimodal" else prepare_shortcut(data, out)
    (arrays, shape), (teacher, teacher_shape) = pack_network(start.network), pack_network(start.text_teacher)
    beside = {name: np.frombuffer(path.read_bytes(), np.uint8) for name, path in start.beside.items()}
    return {
        **prefixed("network", arrays),
        **prefixed("teacher", teacher),
        **pack_joint(start.data),
        **prefixed("file", beside),
        "tokenizer": np.frombuffer(start.tokenizer.to_json().encode(), np.uint8),
    }, {
        "metadata": dict(start.metadata),
        "shape": shape,
        "teacher": teacher_shape,
        "fresh": start.fresh,
        "given": {name: given[name] for name in ("steps", "seed") if name in given},
    }


def train_bundle(folder: Path, run: Run) -> None:
    """Trains from the bundle in a folder and writes the parts of the result to `run.out/result`.

    Raises:
        FileNotFoundError, ValueError: see `read_parts`; the training had ended before.
    """
    arrays, settings = read_parts(folder)
    recipe = settings["recipe"]
    train: Callable[..., nn.Module] = {"fields": fields_from, **dict.fromkeys(JOINT, joint_from)}.get(
        recipe, text_from
    )
    network = train(arrays, settings, run)
    kept = {name: array for name, array in arrays.items() if name == "tokenizer" or name.startswith("file/")}
    shape = None if recipe == "fields" else pack_network(network)[1]  # type: ignore[arg-type]
    about = {"recipe": recipe, "metadata": settings.get("metadata"), "shape": shape}
    shutil.rmtree(run.out / RESULT, ignore_errors=True)
    paths = write_parts(
        run.out / RESULT, prefixed("network", pack_weights(network)) | kept, about, RESULT_PART
    )
    tell(f"{len(paths)} parts written to {run.out / RESULT}; `bowstring join` makes a model of them")


def text_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> nn.Module:
    start = settings["shape"] and unpack_network(under("network", arrays), settings["shape"])
    return run_text(unpack_recipe(settings["text"]), unpack_corpus(under("corpus", arrays)), run, start)


def joint_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> nn.Module:
    network = unpack_network(under("network", arrays), settings["shape"]).to(run.device)
    teacher = unpack_network(under("teacher", arrays), settings["teacher"]).eval().to(run.device)
    data, given = unpack_joint(arrays), settings["given"]
    teacher.requires_grad_(requires_grad=False)
    if settings["recipe"] == "shortcut":
        return run_shortcut(network, teacher, data, run, **given)
    return run_multimodal(network, teacher, data, run, **given, fresh=settings["fresh"])


def fields_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> nn.Module:
    made = {name: torch.from_numpy(array) for name, array in under("data", arrays).items()}
    return run_fields(made, run).cpu()


def join(folder: Path, out: Path) -> None:
    """Makes a model folder of the parts that a training from a bundle wrote.

    Raises:
        FileNotFoundError, ValueError: see `read_parts`; the parts are no result.
    """
    arrays, settings = read_parts(folder)
    if "metadata" not in settings or not under("network", arrays):
        raise ValueError(f"{folder} holds a bundle, not a result; join the folder {RESULT!r} of its run")
    weights = under("network", arrays)
    if settings["recipe"] == "fields":
        from ..fields.weights import save_fields

        model = FieldModel()
        load_packed(model, weights)
        return save_fields(out, model)
    from ..text.tokenizer import TextTokenizer
    from ..text.weights import save_model

    tokenizer = TextTokenizer.from_json(arrays["tokenizer"].tobytes().decode())
    save_model(out, unpack_network(weights, settings["shape"]).eval(), tokenizer, **settings["metadata"])
    for name, data in under("file", arrays).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data.tobytes())
