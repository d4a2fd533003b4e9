"""Trains the image autoencoder on the gallery, to the mean squared error of 512 x 512 pixels.

Pictures are mirrored and their colours exchanged at random, so that drawings and not these colours are
learned. The tokens' size is set at the end: the square root of each channel's own spread, so that what is
seen most also weighs most in the flow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...image.autoencoder import ImageAutoencoder, decibels
from ..loop import apply_gradients, step_generator, training_steps
from ..optim import Muon, mixed
from ..progress import TrainingLog, tell
from ..schedule import Moment, Run, warm_up_share


class Pixels(Protocol):
    """Pictures `(n, 512, 512, 3)` that are read when they are asked for, by number or numbers."""

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


PERMUTATIONS = torch.tensor([*itertools.permutations(range(3))])


@dataclass(frozen=True)
class AutoencoderRecipe:
    steps: int = 700
    rows: int = 8
    rate: float = 1.5e-3
    basis_rate: float = 3e-5  # its numbers are small, and good from the start
    warm_up: int = 30
    seed: int = 0

    def share_at(self, moment: Moment) -> float:
        """Of the full rate: a linear warm-up, then linear to zero."""
        return min(warm_up_share(moment, self.steps, self.warm_up), (1 - moment.share) / 0.8)


def autoencoder_optimisers(
    codec: ImageAutoencoder, recipe: AutoencoderRecipe
) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the kernels of residual layers, AdamW for the rest; every group knows its own full rate."""
    matrices = [p for n, p in codec.named_parameters() if n.endswith(("one.weight", "two.weight"))]
    taken = {id(p) for p in matrices} | {id(codec.basis)}
    rest = [p for p in codec.parameters() if id(p) not in taken]
    muon = Muon(matrices, lr=recipe.rate)
    groups = [{"params": rest, "lr": recipe.rate}, {"params": [codec.basis], "lr": recipe.basis_rate}]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    for one in (muon, adam):
        for group in one.param_groups:
            group["full"] = group["lr"]
    return muon, adam


def as_pixels(images: np.ndarray) -> Tensor:
    """`(b, h, w, 3)` bytes -> `(b, 3, h, w)` in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def augmented(pixels: Tensor, rng: torch.Generator) -> Tensor:
    """Mirrored, turned, colours exchanged; one choice for a whole batch of mirrors, one each of colours."""
    flips = torch.rand(3, generator=rng) < 0.5
    for axis, flip in zip((2, 3), flips[:2].tolist(), strict=True):
        pixels = pixels.flip(axis) if flip else pixels
    pixels = pixels.transpose(2, 3) if flips[2] else pixels
    keep = torch.rand(len(pixels), generator=rng) < 0.5
    order = PERMUTATIONS[torch.randint(6, (len(pixels),), generator=rng) * ~keep].to(pixels.device)
    return pixels.gather(1, order[:, :, None, None].expand_as(pixels))


def halved(pixels: Tensor) -> Tensor:
    """512 pixels to 256, by area."""
    return F.avg_pool2d(pixels, 2)


@torch.no_grad()
def reconstruction_psnr(codec: ImageAutoencoder, pictures: Iterable[np.ndarray]) -> float:
    """PSNR of the pooled error over pictures `(512, 512, 3)`, encoded at 256, compared at 512."""
    total, count, left = torch.zeros(()), 0, iter(pictures)
    here = codec.mean.device
    while some := list(itertools.islice(left, 16)):
        target = as_pixels(np.stack(some)).to(here)
        made = codec.decode(codec.encode(halved(target)))
        total += (made - target).square().mean((1, 2, 3)).sum().cpu()
        count += len(target)
    return decibels(total / count)


def fit_autoencoder(
    recipe: AutoencoderRecipe, pixels: Pixels, train: np.ndarray, run: Run
) -> Iterator[tuple[Moment, float, ImageAutoencoder]]:
    """Trains, yielding (moment, decibels of the batch, autoencoder); resumes from `run.out`."""
    torch.manual_seed(recipe.seed)
    codec = ImageAutoencoder()
    some = np.random.default_rng(recipe.seed).choice(train, min(768, len(train)), replace=False)
    codec.fit_basis(halved(as_pixels(np.array(pixels[np.sort(some)]))))
    codec = codec.to(run.device)
    optimiser = autoencoder_optimisers(codec, recipe)
    for moment in training_steps(recipe.steps, run, codec, optimiser):
        rng = step_generator(recipe.seed, moment.step)
        chosen = train[torch.randint(len(train), (recipe.rows,), generator=rng).numpy()]
        target = augmented(as_pixels(np.array(pixels[np.sort(chosen)])).to(run.device), rng)
        for group in itertools.chain(*(one.param_groups for one in optimiser)):
            group["lr"] = group["full"] * recipe.share_at(moment)
        with mixed(run.device):
            made = codec.drawn(codec.raw(halved(target)))
        loss = (made.float() - target).square().mean()
        loss.backward()
        apply_gradients(optimiser)
        yield moment, decibels(loss.detach()), codec


@torch.no_grad()
def scale_tokens(codec: ImageAutoencoder, pixels: Pixels, index: np.ndarray) -> None:
    """Sets shift and scale from some pictures: mean zero, variance proportional to the spread, 1 on
    average.
    """
    codec.shift.zero_()
    codec.scale.fill_(1.0)
    tokens = torch.cat(
        [
            codec.encode(halved(as_pixels(np.array(pixels[index[i : i + 16]])).to(codec.mean.device)))
            for i in range(0, len(index), 16)
        ]
    ).flatten(0, 1)
    spread = tokens.std(0)
    codec.shift.copy_(tokens.mean(0))
    codec.scale.copy_(spread.sqrt() * spread.mean().sqrt())


def run_autoencoder(pixels: Pixels, held_out: np.ndarray, run: Run) -> ImageAutoencoder:
    """Trains on the pictures `(n, 512, 512, 3)` that are not held out `(n,)`; the others judge."""
    codec, recipe = None, AutoencoderRecipe()
    (train,), (valid,) = np.nonzero(~held_out), np.nonzero(held_out)
    with TrainingLog(run) as log:
        for moment, quality, codec in fit_autoencoder(recipe, pixels, train, run):
            row = {"db": quality}
            if moment.step == 0 or (moment.step + 1) % 200 == 0:
                row["held_out_db"] = reconstruction_psnr(codec, (pixels[i] for i in valid[::20]))
            log.add(moment, row, f"{quality:.2f} dB", "autoencoder")
    assert codec is not None
    scale_tokens(codec, pixels, train[::8])
    codec = codec.cpu()
    tell(f"{reconstruction_psnr(codec, (pixels[i] for i in valid)):.2f} dB on {len(valid)} held-out pictures")
    return codec
