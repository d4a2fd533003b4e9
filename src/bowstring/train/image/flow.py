"""Pictures for the trunk: tokens of the gallery and of many scenes, and the loss of the flow.

Shapes: n pictures, 64 tokens of 64 channels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...image.sampling import NULL_PROMPT, encode_captions, positions_after
from ...nn.network import UnifiedScoreNetwork
from ..loop import Source, add_noise, logit_normal, step_generator

IMAGE_TIMES = (1.3, 1.3)  # centre and width of the logit of a time: a caption says most near pure noise


class CaptionedPicture(NamedTuple):
    """What a training knows of a picture: its kind, 0 for an icon, 1 for another view of one, 2 for a scene;
    and the tokens of each way to ask for it, without its style and with it.
    """

    kind: int
    held_out: bool
    plain: tuple[list[int], ...]
    styled: tuple[list[int], ...]


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


def training_prompt(picture: CaptionedPicture, recipe: ImageRecipe, rng: random.Random) -> list[int]:
    """One way to ask for a picture, or not at all."""
    if rng.random() < recipe.null_prompt:
        return NULL_PROMPT
    ways = picture.plain if rng.random() < recipe.null_style else picture.styled
    return ways[0] if rng.random() < recipe.plain_label else rng.choice(ways)


def image_batches(
    pictures: Sequence[CaptionedPicture], tokens: Tensor, recipe: ImageRecipe
) -> Callable[[int], tuple[Tensor, list[list[int]], torch.Generator]]:
    """What a step learns from: tokens of pictures that are not held out, their captions, its randomness."""
    kinds = [
        torch.tensor([i for i, p in enumerate(pictures) if not p.held_out and p.kind == k]) for k in range(3)
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
        prompts = [training_prompt(pictures[i], recipe, words) for i in chosen.tolist()]
        return tokens[chosen].float(), prompts, rng

    return batch


def image_source(pictures: Sequence[CaptionedPicture], tokens: Tensor, recipe: ImageRecipe) -> Source:
    """The flow's loss."""
    batch = image_batches(pictures, tokens, recipe)
    return lambda network, step: flow_loss(network, *batch(step))


def flow_loss(
    network: UnifiedScoreNetwork, x_0: Tensor, prompts: list[list[int]], rng: torch.Generator
) -> Tensor:
    """Mean squared error of the velocity at times that are logit-normal."""
    caption = encode_captions(network, prompts)
    x_0 = x_0.to(network.device)
    t = logit_normal(len(x_0), rng, *IMAGE_TIMES).to(network.device)
    x_t, eps = add_noise(x_0, t, rng)
    place = {"image": positions_after(caption.after)}
    velocity = network.flow({"image": x_t}, {"image": t}, place, None, caption.conditioning)["image"]
    return (velocity.float() - (eps - x_0)).square().mean()


def latent_std(pictures: Sequence[CaptionedPicture], tokens: Tensor) -> Tensor:
    """Standard deviation of every channel over the pictures that may be learned from."""
    learned = torch.tensor([not picture.held_out for picture in pictures])
    return tokens[learned].float().flatten(0, 1).std(0)
