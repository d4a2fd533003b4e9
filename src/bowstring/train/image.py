"""Pictures for the trunk: tokens of the gallery and of many scenes, and the loss of the flow.

Shapes: n pictures, 64 tokens of 64 channels.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..codec.text import TextCodec
from ..image import TOKENS, UNASKED, caption_tokens, read_captions
from ..net.codec import INSIDE, ImageCodec
from ..net.heads import RealsHead
from ..net.network import UnifiedScoreNetwork
from ..weights.codec import load_codec, save_codec
from ..weights.model import load_model, save_model
from .codec import as_pixels
from .data.gallery import Picture, painted, plan
from .data.pictures import load
from .pack import Corpus
from .recipes import text_more
from .run import corpus_documents
from .senses import Source, Turns, draw, logit_normal, run_turns, text_source

SCENES, HELD_OUT_SCENES = 12_000, 400


@dataclass(frozen=True)
class ImageLearning:
    """One batch of pictures: `rows` of them, `alone` of which are icons; captions are left out with
    probability `unasked`, styles with `unstyled`.
    """

    rows: int = 64
    alone: float = 0.7
    unasked: float = 0.1
    unstyled: float = 0.15
    seed: int = 0


@torch.no_grad()
def build_tokens(source: Path, out: Path, codec: ImageCodec) -> tuple[list[Picture], Tensor]:
    """Every picture of a large gallery and its tokens `(n, 64, 64)`, from `out` if they lie there."""
    _, concepts = load(source)
    pictures, path = plan(concepts, SCENES, HELD_OUT_SCENES), out / "tokens.safetensors"
    if path.exists():
        return pictures, load_file(path)["tokens"].float()
    made: list[Tensor] = []
    batch: list[np.ndarray] = []
    for picture in painted(pictures, source, INSIDE):
        batch.append(picture)
        if len(batch) == 64 or len(batch) + 64 * len(made) == len(pictures):
            made.append(codec.encode(as_pixels(np.stack(batch))))
            batch = []
    tokens = torch.cat(made)
    out.mkdir(parents=True, exist_ok=True)
    save_file({"tokens": tokens.half()}, path)
    return pictures, tokens


def caption(picture: Picture, codec: TextCodec, learning: ImageLearning, rng: random.Random) -> list[int]:
    """One way to ask for a picture, or not at all."""
    if rng.random() < learning.unasked:
        return UNASKED
    style = "" if rng.random() < learning.unstyled else picture.style
    return caption_tokens(codec, rng.choice(picture.captions), style)


def image_source(
    pictures: list[Picture], tokens: Tensor, codec: TextCodec, learning: ImageLearning
) -> Source:
    """The flow's loss on pictures that are not held out."""
    kinds = [
        torch.tensor([i for i, p in enumerate(pictures) if not p.held_out and (p.scene is None) == icon])
        for icon in (True, False)
    ]

    def loss(network: UnifiedScoreNetwork, step: int) -> Tensor:
        rng, words = draw(learning.seed + 17, step), random.Random(f"{learning.seed}-{step}")
        icons = round(learning.rows * learning.alone)
        chosen = torch.cat(
            [
                kind[torch.randint(len(kind), (count,), generator=rng)]
                for kind, count in zip(kinds, (icons, learning.rows - icons), strict=True)
            ]
        )
        known = [caption(pictures[i], codec, learning, words) for i in chosen.tolist()]
        return flow_loss(network, tokens[chosen], known, rng)

    return loss


def flow_loss(
    network: UnifiedScoreNetwork, x_0: Tensor, known: list[list[int]], rng: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity at times that are logit-normal."""
    t = logit_normal(len(x_0), rng)
    eps = torch.randn(x_0.shape, generator=rng)
    x_t = (1 - t[:, None, None]) * x_0 + t[:, None, None] * eps
    cache, after = read_captions(network, known)
    velocity = network.flow({"image": x_t}, {"image": t}, {"image": after.expand(-1, TOKENS)}, cache)["image"]
    return (velocity.float() - (eps - x_0)).square().mean()


def train_image(data: Path, out: Path, steps: int = 3600) -> None:
    """`bowstring train image`: goes on from the text model with pictures, text being replayed."""
    console = Console()
    network, codec, metadata = load_model(out.parent / "text-more" / "model")
    network.train().requires_grad_()
    pixels = load_codec(out.parent / "image-codec" / "model" / "image.parquet")
    console.print("drawing pictures and encoding them; the first time takes some minutes")
    pictures, tokens = build_tokens(data, out.parent / "image-tokens", pixels)
    torch.manual_seed(0)
    network.add_head("image")
    learned = torch.tensor([not picture.held_out for picture in pictures])
    cast(RealsHead, network.heads["image"]).spread.copy_(tokens[learned].flatten(0, 1).std(0))
    corpus = Corpus.of(corpus_documents(data, "train"), codec)
    sources = {
        "image": image_source(pictures, tokens, codec, ImageLearning()),
        "text": text_source(corpus, replace(text_more(), rows=8, seed=2)),
    }
    turns = Turns(("image", "image", "image", "text"), steps)
    if not run_turns(turns, network, sources, out, console):
        raise ValueError(f"{out} holds a finished training; choose another --out to train anew")
    blocks, context = metadata.blocks, metadata.context
    save_model(out / "model", network.eval(), codec, blocks=blocks, context=context)
    save_codec(out / "model" / "image.parquet", pixels)
    console.print(f"model written to {out / 'model'}")
