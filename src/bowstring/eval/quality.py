"""How good are pictures, speech and face, and what did they cost the text? Every judge has floor and ceiling.

Known: pairs of concept and style that were learned. Recombined: pairs that were held out, of concepts that
are known in other styles. The judges see pictures of 256 pixels. The captions are the concepts' labels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..energy.diagnostics import frechet
from ..engine import ArrowEngine
from ..image.autoencoder import INSIDE, ImageAutoencoder
from ..image.sampling import ImageSampling, caption_tokens, sample_images
from ..nn.network import UnifiedScoreNetwork
from ..text.sampling import Sampling
from ..text.weights import load_model
from ..train.data.corpora import corpus_documents
from ..train.data.gallery import LEARNED, SIDE, Picture, curated, painted, plan
from ..train.data.pictures import load_icons
from ..train.image.autoencoder import as_pixels, halved, reconstruction_psnr
from ..train.text.packing import prompt_tokens
from ..weights.shipped import MULTIMODAL, model_folder
from .judges.features import POOLED
from .judges.names import NameJudge, look
from .judges.scenes import Detector, Found, judged_scene
from .likelihood import Held, Score, by_length, held_out, score_bound, score_causal, score_sampler
from .report import network_facts
from .speech import measure_speech
from .text import distinct_2, generated

FEW = (1, 2, 4, 8, 50)
AXES = 32  # principal axes of the features on which Frechet distances are taken


def drawn_pictures(
    engine: ArrowEngine, pictures: Sequence[Picture], how: ImageSampling, width: int = 32
) -> Tensor:
    """Tokens of one picture for each, asked for by its first caption and its style, `(n, 64, 64)`."""
    out = []
    for i in range(0, len(pictures), width):
        some = pictures[i : i + width]
        known = [caption_tokens(engine.tokenizer, picture.captions[0], picture.style) for picture in some]
        *_, state = sample_images(engine.network, known, how, first=i)
        out.append(state.x)
    return torch.cat(out)  # type: ignore[arg-type]


@torch.no_grad()
def small(codec: ImageAutoencoder, tokens: Tensor) -> Tensor:
    """Tokens as pictures of 256 pixels, `(n, 3, 256, 256)`."""
    return torch.cat([halved(codec.decode(part)) for part in tokens.split(16)])


def real(pictures: Sequence[Picture], source: Path) -> Tensor:
    """The drawings themselves, `(n, 3, 256, 256)`."""
    return as_pixels(np.stack([*painted([*pictures], source, INSIDE)]))


def precision(judge: NameJudge, seen: Tensor, pictures: Sequence[Picture]) -> dict[str, float]:
    """Shares whose own name is the best of 100, and among the best five."""
    ranks = judge.ranks(seen, [picture.concept for picture in pictures])
    return {"1": (ranks < 1).float().mean().item(), "5": (ranks < 5).float().mean().item()}


class Pictures:
    """The fixed subset that is judged: icons known and recombined, and scenes."""

    def __init__(self, source: Path, *, quick: bool) -> None:
        _, concepts = load_icons(source)
        everything, rng = plan(concepts, 0, 300, LEARNED), random.Random(5)
        alone = [picture for picture in everything if picture.scene is None]
        learned, held_out = ([p for p in alone if p.held_out == hidden] for hidden in (False, True))
        count = min(96 if quick else 384, len(learned) // 2)
        chosen = rng.sample(learned, 2 * count)
        self.known, self.other = chosen[:count], chosen[count:]
        self.recombined = rng.sample(held_out, min(count, len(held_out)))
        self.unseen = [p for p in plan(concepts) if p.held_out]  # of the codec's gallery
        self.scenes = [p for p in everything if p.scene is not None][: 32 if quick else 128]


def frechet_on(axes: Tensor, a: Tensor, b: Tensor, scale: Tensor) -> float:
    """On the pooled features of appearances `(b, 2752)`, along axes `(1280, k)`."""
    return frechet(*(part[:, :POOLED] @ axes for part in (a, b, scale)))


def measure_pictures(engine: ArrowEngine, source: Path, judge_path: Path, *, quick: bool) -> dict[str, Any]:
    """Everything about pictures. See the keys."""
    judge, codec, sets = (
        NameJudge.load(judge_path),
        engine.image_pipeline.autoencoder,
        Pictures(source, quick=quick),
    )
    truth = {name: real(getattr(sets, name), source) for name in ("known", "other", "recombined")}
    seen = {name: look(pixels) for name, pixels in truth.items()}
    whole = torch.cat([seen["known"], seen["other"]])
    _, _, axes = torch.linalg.svd((whole - whole.mean(0))[:, :POOLED], full_matrices=False)
    axes = axes[:AXES].T
    numbers: dict[str, Any] = {
        "codec_db": reconstruction_psnr(codec, painted(sets.unseen, source, SIDE)),
        "fd_floor": frechet_on(axes, seen["known"], seen["other"], whole),
    }
    for name in ("known", "recombined"):
        for rank, value in precision(judge, seen[name], getattr(sets, name)).items():
            numbers[f"rprecision{rank}_{name}_real"] = value
    numbers["rprecision5_chance"] = 0.05
    curve: dict[int, dict[str, float]] = {}
    for steps in FEW:
        how = ImageSampling(steps=steps)
        made = {
            name: look(small(codec, drawn_pictures(engine, getattr(sets, name), how)))
            for name in ("known", "recombined")
        }
        curve[steps] = {"fd": frechet_on(axes, made["known"], seen["known"], whole)}
        for name, features in made.items():
            for rank, value in precision(judge, features, getattr(sets, name)).items():
                curve[steps][f"rprecision{rank}_{name}"] = value
    numbers |= curve[50]
    numbers["curve"] = {str(steps): row for steps, row in curve.items()}
    numbers["keep_4_of_50"] = kept(curve[4], curve[50])
    numbers |= scene_numbers(engine, codec, sets, source)
    return numbers


def kept(few: dict[str, float], many: dict[str, float]) -> dict[str, float]:
    """What four steps keep of fifty, metric by metric, a distance the other way round. Where fifty steps
    reach nothing there is nothing to keep, and the metric is left out.
    """
    return {
        name: many[name] / few[name] if name == "fd" else few[name] / many[name]
        for name in many
        if many[name]
    }


def scene_numbers(
    engine: ArrowEngine, codec: ImageAutoencoder, sets: Pictures, source: Path
) -> dict[str, float]:
    """Held-out scenes, taken apart: all right, and each of objects, colours, relations; the same of real
    ones, and of real ones that were asked for otherwise.
    """
    asked = [picture.scene for picture in sets.scenes if picture.scene is not None]
    made = small(codec, drawn_pictures(engine, sets.scenes, ImageSampling(steps=50)))
    icons, concepts = load_icons(source)
    known = curated(concepts, LEARNED)
    detectors = {style: Detector(icons, known, style) for style in {scene.style for scene in asked}}

    def taken_apart(pixels: Tensor) -> list[list[Found]]:
        return [
            detectors[scene.style].find((image.permute(1, 2, 0).numpy() + 1) / 2, len(scene.things))
            for scene, image in zip(asked, pixels, strict=True)
        ]

    drawings = taken_apart(real(sets.scenes, source))
    others = asked[1:] + asked[:1]
    numbers = {}
    for name, scenes, found in (
        ("", asked, taken_apart(made)),
        ("_real", asked, drawings),
        ("_other", others, drawings),
    ):
        rows = [judged_scene(scene, one) for scene, one in zip(scenes, found, strict=True)]
        numbers[f"scene_accuracy{name}"] = float(np.mean([all(row.values()) for row in rows]))
        for part in ("objects", "colours", "relations"):
            numbers[f"scene_{part}{name}"] = float(np.mean([row[part] for row in rows]))
    return numbers


def text_change(engine: ArrowEngine, before: Path, data: Path, *, quick: bool) -> dict[str, Any]:
    """Bits per byte of the same held-out texts before pictures were learned and after: in reading order, and
    the bound with blocks of 4; what fewer steps a block cost, and what is written then.
    """
    network, codec, metadata = load_model(before)
    tests = corpus_documents(data, "test")
    held = held_out(tests, codec, metadata.context, 24 if quick else 60)
    numbers: dict[str, Any] = {}
    for name, score in (("", score_causal), ("_b4", lambda one: score_bound(one, 4, 4))):
        old, new = (by_length(score(one), held)["all", "byte"] for one in (network, engine.network))
        numbers |= {
            f"text_bpb_before{name}": old,
            f"text_bpb{name}": new,
            f"text_bpb_change{name}": new / old - 1,
        }
    curve = {steps: by_length(sampled(engine, steps), held)["all", "byte"] for steps in FEW}
    numbers["text_curve"] = {str(steps): bits for steps, bits in curve.items()}
    prompts = [one.prompts[0] for one in tests if one.kind == "text"][: 40 if quick else 100]
    numbers["text_written"] = {str(steps): written(engine, network, prompts, steps) for steps in FEW}
    return numbers | {"keep_4_of_50": {"text": curve[50] / curve[4]}}


def written(
    engine: ArrowEngine, reader: UnifiedScoreNetwork, prompts: Sequence[str], steps: int
) -> dict[str, float]:
    """Stories in blocks of 16 by so many steps a block: how many nats a token another model wants to read
    them, and how many of their pairs of neighbours are different ones.
    """
    rows = generated(
        engine, prompts, "text", Sampling(block=16, steps=steps, order="confidence", max_tokens=128)
    )
    held = [
        Held("text", "", prompt_tokens(engine.tokenizer, "text", prompt), row, len(row))
        for prompt, row in zip(prompts, rows, strict=True)
        if row
    ]
    nats = by_length(score_causal(reader), held)["all", "nats a token"]
    return {"nats_a_token": nats, "distinct_2": distinct_2(rows)}


def sampled(engine: ArrowEngine, steps: int) -> Score:
    """Exact likelihoods of the sampler of text; it takes as many steps as a block has tokens at most."""
    return score_sampler(engine.network, Sampling(steps=steps), engine.metadata.context)


def measure(
    quick: bool = False,  # noqa: FBT001
    data: Path = Path("runs/data"),
    baseline: Path | None = None,
    model: Path | None = None,
) -> dict[str, Any]:
    """`bowstring bench quality`: of the shipped model with all heads, or of another one."""
    model = model or MULTIMODAL
    engine = ArrowEngine.load(model)
    parts = [measure_pictures(engine, data, Path("bench/judges/judge.safetensors"), quick=quick)]
    if "audio" in engine.network.heads:
        parts.append(measure_speech(engine, data))
    parts.append(text_change(engine, model_folder("text"), data, quick=quick))
    numbers: dict[str, Any] = {}
    for part in parts:
        numbers |= part | {"keep_4_of_50": numbers.get("keep_4_of_50", {}) | part["keep_4_of_50"]}
    numbers["keep_4_of_50"]["smallest"] = min(numbers["keep_4_of_50"].values())
    facts = network_facts(model_folder(model))
    return numbers | {name: facts[name] for name in ("trunk_share", "total_share")}
