"""Text travels: trainings from a corpus, and the finishing of packed models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...nn.config import NetworkConfig
from ..schedule import Run
from ..text.loop import Recipe, run_text
from ..text.packing import Corpus
from ..text.qat import QATRecipe, run_qat
from ..text.recipes import RECIPES, known_recipe
from .arrays import (
    Arrays,
    Packed,
    Travelling,
    join_network,
    pack_lists,
    pack_network,
    pack_result,
    pack_text,
    prefixed,
    under,
    unpack_lists,
    unpack_network,
    unpack_text,
)

QAT_STEPS = 280


def pack_corpus(corpus: Corpus) -> Arrays:
    names = sorted(set(corpus.source))
    return {
        **prefixed("bodies", pack_lists(corpus.bodies)),
        **prefixed("prompts", pack_lists([prompt for some in corpus.prompts for prompt in some])),
        "prompt_counts": np.array([len(some) for some in corpus.prompts], np.int32),
        "complete": np.array(corpus.complete, bool),
        "source": np.array([names.index(one) for one in corpus.source], np.int16),
        "names": pack_text("\n".join(names)),
        "characters": np.array(corpus.characters, np.int32),
    }


def unpack_corpus(arrays: Mapping[str, np.ndarray]) -> Corpus:
    prompts = unpack_lists(under("prompts", arrays))
    ends, counts = arrays["prompt_counts"].cumsum().tolist(), arrays["prompt_counts"].tolist()
    names = unpack_text(arrays["names"]).split("\n")
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


def pack_training(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    from ..text.run import prepare_text

    start = prepare_text(recipe, data, runs)
    arrays, shape = ({}, None) if start.network is None else pack_network(start.network)
    return {
        **prefixed("corpus", pack_corpus(start.corpus)),
        **prefixed("network", arrays),
        "tokenizer": np.frombuffer((data / "tokenizer.json").read_bytes(), np.uint8),
    }, {"metadata": dict(start.metadata), "shape": shape, "text": asdict(known_recipe(recipe))}


def text_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    start = settings["shape"] and unpack_network(under("network", arrays), settings["shape"])
    corpus = unpack_corpus(under("corpus", arrays))
    return pack_result(run_text(unpack_recipe(settings["text"]), corpus, run, start))


def pack_qat(recipe: str, data: Path, runs: Path, given: Mapping[str, Any]) -> Packed:
    """
    Raises:
        ValueError: a model that does more than text.
    """
    from ...weights.shipped import model_folder
    from ..text.run import prepare_qat

    start = prepare_qat(data, model_folder(given.get("start")))
    assert start.network is not None
    if [*start.network.heads] != ["text"]:
        raise ValueError(f"{recipe} finishes models of text alone; this one has {[*start.network.heads]}")
    arrays, shape = pack_network(start.network)
    plan = {"bits": QAT_BITS[recipe], "steps": given.get("steps", QAT_STEPS)}
    return {
        **prefixed("corpus", pack_corpus(start.corpus)),
        **prefixed("network", arrays),
        "tokenizer": pack_text(start.tokenizer.to_json()),
    }, {
        "metadata": dict(start.metadata),
        "shape": shape,
        "plan": plan,
        "text": asdict(RECIPES["text"]()),
    }


def qat_from(arrays: Arrays, settings: Mapping[str, Any], run: Run) -> Packed:
    network = unpack_network(under("network", arrays), settings["shape"])
    plan = QATRecipe(**settings["plan"], recipe=unpack_recipe(settings["text"]))
    return pack_result(run_qat(network, unpack_corpus(under("corpus", arrays)), plan, run))


QAT_BITS = {"int4": 4, "int2": 2}
TEXT_RECIPE = Travelling(pack_training, text_from, join_network)
QAT_RECIPE = Travelling(pack_qat, qat_from, join_network, ("steps", "start"))
