"""How good are pictures, speech and face, and what did they cost the text? Every judge has floor and ceiling.

Known: pairs of concept and style that were learned. Unseen: pairs that were held out, with all nearly equal
ones, of concepts that are known in other styles. The judges see pictures of 256 pixels. The captions are the
concepts' labels.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.loop import last
from ..energy.diagnostics import frechet
from ..engine import ArrowEngine
from ..image.autoencoder import INSIDE, ImageAutoencoder
from ..image.sampling import ImageSampling, caption_tokens, sample_images
from ..nn.network import UnifiedScoreNetwork
from ..text.sampling import Sampling
from ..text.weights import load_model
from ..train.data.gallery import GALLERY_SIDE, Picture, curated, painted, plan
from ..train.data.pictures import load_icons, pair_learned, pair_unseen
from ..train.image.autoencoder import as_pixels, halved, reconstruction_psnr
from ..train.text.packing import prompt_tokens
from ..weights.layout import weights_files
from ..weights.metadata import Metadata
from ..weights.shipped import MULTIMODAL, model_folder
from .judges.features import POOLED_FEATURES
from .judges.names import NameJudge, look
from .judges.scenes import Detector, Found, judged_scene
from .likelihood import (
    HeldText,
    bits_per_byte,
    bits_ratio,
    held_texts,
    nats_of,
    score_bound,
    score_causal,
    score_sampler,
)
from .reading import reading_accuracy
from .report import network_report
from .results import Measured, Measurement, Setting, announce, jackknife
from .speech import STEP_COUNTS, measure_speech
from .text import FP16_TEXT, corpora, distinct_2, generated

AXES = 16  # principal axes of the features on which Frechet distances are taken


def drawn_pictures(
    engine: ArrowEngine, pictures: Sequence[Picture], how: ImageSampling, width: int = 32
) -> Tensor:
    """Tokens of one picture for each, asked for by its first caption and its style, `(n, 64, 64)`."""
    out = []
    for i in range(0, len(pictures), width):
        some = pictures[i : i + width]
        captions = [caption_tokens(engine.tokenizer, picture.captions[0], picture.style) for picture in some]
        state = last(sample_images(engine.network, captions, how, first=i))
        out.append(state.x)
    return torch.cat(out)  # type: ignore[arg-type]


@torch.no_grad()
def small(codec: ImageAutoencoder, tokens: Tensor) -> Tensor:
    """Tokens as pictures of 256 pixels, `(n, 3, 256, 256)`."""
    return torch.cat([halved(codec.decode(part)) for part in tokens.split(16)])


def real_pictures(pictures: Sequence[Picture], source: Path) -> Tensor:
    """The drawings themselves, `(n, 3, 256, 256)`."""
    return as_pixels(np.stack([*painted([*pictures], source, INSIDE)]))


def precision(judge: NameJudge, seen: Tensor, names: Sequence[str]) -> dict[str, Measured]:
    """Shares whose own name is the best of 100, and among the best five."""
    return {str(best): Measured.mean(hits(judge, seen, names, best)) for best in (1, 5)}


def hits(judge: NameJudge, seen: Tensor, names: Sequence[str], best: int) -> list[float]:
    """Of each picture, whether its own name is among the best ones of 100."""
    return (judge.ranks(seen, names) < best).float().tolist()


class PictureSets:
    """The fixed subset that is judged: icons known and unseen, whose names the judge knows, and scenes."""

    def __init__(self, source: Path, judge: NameJudge, model: Metadata, *, quick: bool) -> None:
        """Of what the model learned to paint, and by its rule of splitting."""
        _, concepts = load_icons(source)
        everything, rng = plan(concepts, 0, 600, model.picture_groups), random.Random(5)
        rule = model.split_rule
        icons = [p for p in everything if p.scene is None and p.concept in judge.names]
        known = [p for p in icons if pair_learned(p.concept, p.style, rule)]
        unseen = [p for p in icons if pair_unseen(p.concept, p.style, rule)]
        count = min(40 if quick else 192, len(known) // 2)
        chosen = rng.sample(known, 2 * count)
        self.known, self.other = chosen[:count], chosen[count:]
        self.unseen = rng.sample(unseen, min(count, len(unseen)))
        self.codec = [p for p in plan(concepts) if p.held_out][: 64 if quick else None]  # of its gallery
        self.scenes = [p for p in everything if p.scene is not None and unseen_scene(p, rule)]
        self.scenes = self.scenes[: 12 if quick else 96]


def unseen_scene(picture: Picture, rule: int) -> bool:
    """Whether none of the things in a scene was learned in its style."""
    scene = picture.scene
    return scene is not None and all(pair_unseen(one.concept.name, scene.style, rule) for one in scene.things)


def frechet_between(axes: Tensor, a: Tensor, b: Tensor) -> Measured:
    """Frechet distance of pooled features along axes `(1280, k)`; its error from leaving out some of a."""
    near, far = (part[:, :POOLED_FEATURES] @ axes for part in (a, b))
    return jackknife(lambda rows: frechet(torch.stack(rows), far, torch.cat([near, far])), [*near])


def measure_pictures(engine: ArrowEngine, source: Path, *, quick: bool) -> dict[str, Any]:
    """Everything about pictures. See the keys."""
    groups, codec = engine.metadata.picture_groups, engine.image_pipeline.autoencoder
    announce("looking at drawings by others")
    judge = NameJudge.load(source, groups)
    sets = PictureSets(source, judge, engine.metadata, quick=quick)
    announce(f"pictures: {len(sets.known)} known and {len(sets.unseen)} unseen pairs, real")
    seen = {name: look(real_pictures(getattr(sets, name), source)) for name in ("known", "other", "unseen")}
    learned = torch.cat([seen["known"], seen["other"]])
    _, _, axes = torch.linalg.svd((learned - learned.mean(0))[:, :POOLED_FEATURES], full_matrices=False)
    axes = axes[:AXES].T
    numbers: dict[str, Any] = {
        "codec_db": Measured(
            reconstruction_psnr(codec, painted(sets.codec, source, GALLERY_SIDE)), n=len(sets.codec)
        ),
        "frechet_unseen_floor": frechet_between(axes, seen["known"], seen["unseen"]),
    }
    names = {name: [one.concept for one in getattr(sets, name)] for name in ("known", "unseen")}
    for name, asked in names.items():
        for best, value in precision(judge, seen[name], asked).items():
            numbers[f"rprecision{best}_{name}_real"] = value
        shuffled = precision(judge, seen[name], [*asked[1:], *asked[:1]])
        numbers[f"rprecision5_{name}_shuffled"] = shuffled["5"]
    curve: dict[str, dict[str, Measured]] = {}
    for steps in (4, 50) if quick else STEP_COUNTS:
        announce(f"pictures in {steps} steps")
        how = ImageSampling(steps=steps)
        made = {name: look(small(codec, drawn_pictures(engine, getattr(sets, name), how))) for name in names}
        row = {"frechet_unseen": frechet_between(axes, made["unseen"], seen["unseen"])}
        for name, asked in names.items():
            for best, value in precision(judge, made[name], asked).items():
                row[f"rprecision{best}_{name}"] = value
        curve[str(steps)] = row
    ceiling = numbers["rprecision5_ceiling"] = numbers["rprecision5_unseen_real"]
    ours, theirs = (hits(judge, one["unseen"], names["unseen"], 5) for one in (made, seen))
    if ceiling.value:
        numbers["rprecision5_over_ceiling"] = Measured.ratio(ours, theirs, names["unseen"])
    numbers |= curve["50"] | {"curve": curve, "keep_4_of_50": share_kept(curve["4"], curve["50"])}
    announce(f"{len(sets.scenes)} scenes")
    return numbers | scene_numbers(engine, codec, sets.scenes, source)


def share_kept(few: Mapping[str, Measured], many: Mapping[str, Measured]) -> dict[str, Measured]:
    """What few steps keep of many, metric by metric, a distance the other way round. Where many steps reach
    nothing there is nothing to keep, and the metric is left out.
    """
    return {
        name: many[name].over(few[name]) if name == "frechet_unseen" else few[name].over(many[name])
        for name in many
        if many[name].value
    }


def scene_numbers(
    engine: ArrowEngine, codec: ImageAutoencoder, pictures: Sequence[Picture], source: Path
) -> dict[str, Measured]:
    """Unseen scenes, taken apart: all right, and each of objects, colours, relations; the same of real ones,
    and of real ones that were asked for otherwise.
    """
    asked = [picture.scene for picture in pictures if picture.scene is not None]
    if not asked:
        return {"scene_accuracy": Measured(None, n=0)}
    made = small(codec, drawn_pictures(engine, pictures, ImageSampling(steps=50)))
    icons, concepts = load_icons(source)
    concepts_drawn = curated(concepts, engine.metadata.picture_groups)
    detectors = {style: Detector(icons, concepts_drawn, style) for style in {scene.style for scene in asked}}

    def taken_apart(pixels: Tensor) -> list[list[Found]]:
        return [
            detectors[scene.style].find((image.permute(1, 2, 0).numpy() + 1) / 2, len(scene.things))
            for scene, image in zip(asked, pixels, strict=True)
        ]

    drawings = taken_apart(real_pictures(pictures, source))
    numbers = {}
    for name, scenes, found in (
        ("", asked, taken_apart(made)),
        ("_real", asked, drawings),
        ("_other", [*asked[1:], *asked[:1]], drawings),
    ):
        rows = [judged_scene(scene, one) for scene, one in zip(scenes, found, strict=True)]
        numbers[f"scene_accuracy{name}"] = Measured.mean([float(all(row.values())) for row in rows])
        for part in ("objects", "colours", "relations"):
            numbers[f"scene_{part}{name}"] = Measured.mean([float(row[part]) for row in rows])
    return numbers


def text_change(
    engine: ArrowEngine, before: Path, data: Path, *, quick: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Bits per byte of the same held-out texts before other modalities were learned and after, by source: in
    reading order, and the bound with blocks of 4; what fewer steps a block of 16 cost, and what is written
    then; and which sources are missing.
    """
    network, codec, metadata = load_model(before)
    documents, missing = corpora(data)
    rule = min(metadata.split_rule, engine.metadata.split_rule)
    held = held_texts(documents, codec, metadata.context, 8 if quick else 40, rule)
    numbers: dict[str, Any] = {}
    for name, score in (("", score_causal), ("_b4", partial(score_bound, size=4, draws=2 if quick else 4))):
        announce(f"text before and after{name}")
        old, new = (nats_of(score(one), held) for one in (network, engine.network))
        numbers |= {
            f"text_bpb_before{name}": bits_per_byte(held, old),
            f"text_bpb{name}": bits_per_byte(held, new),
            f"text_bpb_ratio{name}": bits_ratio(held, new, old),
        }
    counts = (4, 16) if quick else (1, 2, 4, 8, 16)
    curve = {}
    for steps in counts:
        announce(f"text in blocks of 16 by {steps} steps")
        how = Sampling(block=16, steps=steps, order="confidence")
        curve[steps] = nats_of(score_sampler(engine.network, how, engine.metadata.context), held)
    numbers["text_curve"] = {str(steps): bits_per_byte(held, nats) for steps, nats in curve.items()}
    keep = bits_ratio(held, curve[16], curve[4])
    prompts = [one.prompts[0] for one in documents if one.kind == "text" and one.held_out(rule)]
    prompts = prompts[: 12 if quick else 60]
    numbers["text_written"] = {str(steps): stepwise(engine, network, prompts, steps) for steps in counts}
    real = "text" if keep["real"].value is not None else "text (stories alone)"
    numbers["keep_4_of_16"] = {real: keep["real"] if real == "text" else keep["story"]}
    return numbers, missing


def stepwise(
    engine: ArrowEngine, reader: UnifiedScoreNetwork, prompts: Sequence[str], steps: int
) -> dict[str, Measured]:
    """Stories in blocks of 16 by so many steps a block: how many nats a token another model wants to read
    them, and how many of their pairs of neighbours are different ones.
    """
    how = Sampling(block=16, steps=steps, order="confidence", max_tokens=128)
    rows = generated(engine, prompts, "text", how)
    held = [
        HeldText("text", "", prompt_tokens(engine.tokenizer, "text", prompt), row, len(row))
        for prompt, row in zip(prompts, rows, strict=True)
        if row
    ]
    nats = nats_of(score_causal(reader), held)
    return {
        "nats_a_token": Measured.ratio(nats.tolist(), [len(one.body) for one in held]),
        "distinct_2": jackknife(distinct_2, rows),
    }


def measure_quality(setting: Setting) -> Measurement:
    """`bowstring bench quality`: of the shipped model with all modalities, or of another one."""
    folder, quick, data = model_folder(setting.model or MULTIMODAL), setting.quick, setting.data
    before = FP16_TEXT
    engine = ArrowEngine.load(folder)
    corpora(data)
    missing: dict[str, str] = {}
    numbers = measure_pictures(engine, data, quick=quick)
    if "audio" in engine.network.heads:
        speech, absent = measure_speech(engine, data, quick=quick)
        numbers["keep_4_of_50"] |= speech.pop("keep_4_of_50")
        numbers, missing = numbers | speech, missing | absent
        numbers["reading_accuracy"] = reading_accuracy()
    text, absent = text_change(engine, before, data, quick=quick)
    numbers, missing = numbers | text, missing | absent
    keep = numbers["keep_4_of_50"]
    keep["least"] = min(keep.values(), key=lambda one: one.value)
    facts = network_report(folder)
    numbers |= {name: Measured(facts[name]) for name in ("trunk_share", "total_share")}
    numbers["split_rule"] = engine.metadata.split_rule
    weights = [*weights_files(folder), *weights_files(before)]
    return Measurement(numbers, weights, missing)
