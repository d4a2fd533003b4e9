"""Pictures for the trunk: tokens of the gallery and of many scenes, and the loss of the flow.

Shapes: n pictures, 64 tokens of 64 channels.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...image.autoencoder import INSIDE, ImageAutoencoder
from ...image.sampling import NULL_PROMPT, caption_tokens, encode_captions, positions_after
from ...nn.network import UnifiedScoreNetwork
from ...text.tokenizer import TextTokenizer
from ..data.gallery import LEARNED, Picture, painted, plan, views
from ..data.pictures import load_icons
from ..loop import Source, add_noise, logit_normal, step_generator
from .autoencoder import as_pixels

TRAINING_SCENES, TEST_SCENES, VIEWS = 2000, 100, 6
IMAGE_TIMES = (1.3, 1.3)  # centre and width of the logit of a time: a caption says most near pure noise


@dataclass(frozen=True)
class ImageRecipe:
    """One batch of pictures: `rows` of them, of which shares `icons` and `views` are icons and other views
    of icons, the rest being scenes; captions are left out with probability `null_prompt`, styles with
    `null_style`, and captions are the plain label with `plain_label`.
    """

    rows: int = 44
    icons: float = 0.6
    views: float = 0.25
    null_prompt: float = 0.1
    null_style: float = 0.15
    plain_label: float = 0.5
    seed: int = 0


@torch.no_grad()
def build_latents(source: Path, out: Path, codec: ImageAutoencoder | None) -> tuple[list[Picture], Tensor]:
    """Every picture of a large gallery, views of its icons, and the tokens of all of them `(n, 64, 64)`, from
    `out` if they lie there.

    Raises:
        FileNotFoundError: they do not, and there is no codec to make them.
    """
    _, concepts = load_icons(source)
    pictures, path = plan(concepts, TRAINING_SCENES, TEST_SCENES, LEARNED), out / "tokens.safetensors"
    pictures += views(pictures, VIEWS)
    if path.exists() and len(tokens := load_file(path)["tokens"]) == len(pictures):
        return pictures, tokens.float()
    if codec is None:
        raise FileNotFoundError(f"{path} is missing; `bowstring train multimodal` writes it first")
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


def training_prompt(
    picture: Picture, codec: TextTokenizer, recipe: ImageRecipe, rng: random.Random
) -> list[int]:
    """One way to ask for a picture, or not at all. Who does not ask for a turned one does not get it.
    Source: Karras et al. 2022 (arXiv 2206.00364), who tell the network how a picture was changed.
    """
    if rng.random() < recipe.null_prompt:
        return NULL_PROMPT
    style = "" if rng.random() < recipe.null_style else picture.style
    style = f"{style} turned".strip() if picture.view else style
    request = picture.captions[0] if rng.random() < recipe.plain_label else rng.choice(picture.captions)
    return caption_tokens(codec, request, style)


def picture_kind(picture: Picture) -> int:
    """0 for an icon, 1 for another view of one, 2 for a scene."""
    return 2 if picture.scene else int(picture.view > 0)


def image_batches(
    pictures: list[Picture], tokens: Tensor, codec: TextTokenizer, recipe: ImageRecipe
) -> Callable[[int], tuple[Tensor, list[list[int]], torch.Generator]]:
    """What a step learns from: tokens of pictures that are not held out, their captions, its randomness."""
    kinds = [
        torch.tensor([i for i, p in enumerate(pictures) if not p.held_out and picture_kind(p) == k])
        for k in range(3)
    ]
    counts = [round(recipe.rows * share) for share in (recipe.icons, recipe.views)]
    counts.append(recipe.rows - sum(counts))

    def batch(step: int) -> tuple[Tensor, list[list[int]], torch.Generator]:
        rng, words = step_generator(recipe.seed + 17, step), random.Random(f"{recipe.seed}-{step}")
        chosen = torch.cat(
            [
                some[torch.randint(len(some), (count,), generator=rng)]
                for some, count in zip(kinds, counts, strict=True)
                if count
            ]
        )
        return (
            tokens[chosen],
            [training_prompt(pictures[i], codec, recipe, words) for i in chosen.tolist()],
            rng,
        )

    return batch


def image_source(
    pictures: list[Picture], tokens: Tensor, codec: TextTokenizer, recipe: ImageRecipe
) -> Source:
    """The flow's loss."""
    batch = image_batches(pictures, tokens, codec, recipe)
    return lambda network, step: flow_loss(network, *batch(step))


def flow_loss(
    network: UnifiedScoreNetwork, x_0: Tensor, prompts: list[list[int]], rng: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity at times that are logit-normal."""
    caption = encode_captions(network, prompts)
    t = logit_normal(len(x_0), rng, *IMAGE_TIMES)
    x_t, eps = add_noise(x_0, t, rng)
    place = {"image": positions_after(caption.after)}
    velocity = network.flow({"image": x_t}, {"image": t}, place, None, caption.conditioning)["image"]
    return (velocity.float() - (eps - x_0)).square().mean()


def latent_std(pictures: list[Picture], tokens: Tensor) -> Tensor:
    """Standard deviation of every channel over the pictures that may be learned from."""
    learned = torch.tensor([not picture.held_out for picture in pictures])
    return tokens[learned].flatten(0, 1).std(0)
