"""Latents of the gallery and of many scenes, with the ways to ask for each picture.

Shapes: n pictures, 64 tokens of 64 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...image.autoencoder import INSIDE, ImageAutoencoder
from ...image.sampling import caption_tokens
from ...text.tokenizer import TextTokenizer
from ..data.gallery import LEARNED, Picture, painted, plan, views
from ..data.pictures import load_icons
from .autoencoder import as_pixels
from .flow import CaptionedPicture

TRAINING_SCENES, TEST_SCENES, VIEWS = 2000, 100, 6


@torch.no_grad()
def build_latents(source: Path, out: Path, codec: ImageAutoencoder | None) -> tuple[list[Picture], Tensor]:
    """Every picture of a large gallery, views of its icons, and the tokens of all of them `(n, 64, 64)` in
    FP16, from `out` if they lie there.

    Raises:
        FileNotFoundError: they do not, and there is no codec to make them.
    """
    _, concepts = load_icons(source)
    pictures, path = plan(concepts, TRAINING_SCENES, TEST_SCENES, LEARNED), out / "tokens.safetensors"
    pictures += views(pictures, VIEWS)
    if path.exists() and len(tokens := load_file(path)["tokens"]) == len(pictures):
        return pictures, tokens
    if codec is None:
        raise FileNotFoundError(f"{path} is missing; `bowstring train multimodal` writes it first")
    made: list[Tensor] = []
    batch: list[np.ndarray] = []
    here = codec.mean.device
    for picture in painted(pictures, source, INSIDE):
        batch.append(picture)
        if len(batch) == 64 or len(batch) + 64 * len(made) == len(pictures):
            made.append(codec.encode(as_pixels(np.stack(batch)).to(here)).half().cpu())
            batch = []
    tokens = torch.cat(made)
    out.mkdir(parents=True, exist_ok=True)
    save_file({"tokens": tokens}, path)
    return pictures, tokens


def captioned(pictures: Sequence[Picture], tokenizer: TextTokenizer) -> list[CaptionedPicture]:
    """Pictures with the tokens of all ways to ask for them. Who does not ask for a turned one gets none.

    Source: Karras et al. 2022 (arXiv 2206.00364), who tell the network how a picture was changed.
    """
    known: dict[tuple[str, str], list[int]] = {}

    def asked(caption: str, style: str) -> list[int]:
        if (caption, style) not in known:
            known[caption, style] = caption_tokens(tokenizer, caption, style)
        return known[caption, style]

    def ways(picture: Picture, style: str) -> tuple[list[int], ...]:
        style = f"{style} turned".strip() if picture.view else style
        return tuple(asked(caption, style) for caption in picture.captions)

    kinds = (2 if picture.scene else int(picture.view > 0) for picture in pictures)
    return [
        CaptionedPicture(kind, picture.held_out, ways(picture, ""), ways(picture, picture.style))
        for kind, picture in zip(kinds, pictures, strict=True)
    ]
