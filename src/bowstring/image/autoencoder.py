"""The picture codec: 256 pixels in, 64 tokens of 64 numbers, 512 pixels out.

A linear path, a principal-component basis of patches, carries most; a convolutional network corrects it on
the way in and out, and starts as no correction. Shapes: pixels `(b, 3, side, side)` in -1..1, tokens
`(b, 64, 64)`. Depth-to-space between the scales follows Chen et al. 2024, arXiv 2410.10733.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID, IMAGE_CHANNELS = 8, 64  # tokens along a side, numbers of a token
INSIDE, OUTSIDE = 256, 512  # pixels along a side, encoded and decoded
PATCH = INSIDE // GRID


class Conv(nn.Module):
    """A convolution that keeps the size; its kernel is a matrix `(out, in * side * side)`, so that an
    optimiser of matrices can work on it.
    """

    def __init__(self, inputs: int, outputs: int, side: int = 1, *, zero: bool = False) -> None:
        super().__init__()
        self.shape = (outputs, inputs, side, side)
        spread = 0.0 if zero else (inputs * side**2) ** -0.5
        self.weight = nn.Parameter(torch.randn(outputs, inputs * side**2) * spread)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.view(self.shape), self.bias, padding=self.shape[-1] // 2)


class Residual(nn.Module):
    """x + two 3 x 3 convolutions, the second starting at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = Conv(width, width, 3)
        self.two = Conv(width, width, 3, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.silu(self.one(F.silu(x))))


class ImageDecoder(nn.Module):
    """Tokens to pixels, and what both directions share. `scale` and `shift` bring tokens to the size that the
    flow works with.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.zeros(IMAGE_CHANNELS, 3, PATCH, PATCH))  # orthonormal when fitted
        self.mean = nn.Parameter(torch.zeros(3))
        self.decoder = nn.Sequential(
            Conv(IMAGE_CHANNELS, 256),
            Residual(256),
            Residual(256),
            Conv(256, 768),
            nn.PixelShuffle(2),
            Residual(192),
            Residual(192),
            Conv(192, 384),
            nn.PixelShuffle(2),
            Residual(96),
            Residual(96),
            Conv(96, 192),
            nn.PixelShuffle(2),
            Residual(48),
            Residual(48),
            Conv(48, 192, 3, zero=True),
            nn.PixelShuffle(8),
        )
        self.register_buffer("shift", torch.zeros(IMAGE_CHANNELS))
        self.register_buffer("scale", torch.ones(IMAGE_CHANNELS))

    def drawn(self, raw: Tensor) -> Tensor:
        """Pixels `(b, 3, 512, 512)` from `raw`'s tokens."""
        linear = F.conv_transpose2d(raw, self.basis, stride=PATCH) + self.mean[:, None, None]
        linear = F.interpolate(linear, scale_factor=OUTSIDE // INSIDE, mode="bilinear")
        return linear + self.decoder(raw)

    def decode(self, tokens: Tensor) -> Tensor:
        """`(b, 64, 64)` -> `(b, 3, 512, 512)`, within -1..1."""
        raw = (tokens * self.scale + self.shift).transpose(1, 2).unflatten(2, (GRID, GRID))
        return self.drawn(raw).clamp(-1, 1)


class ImageAutoencoder(ImageDecoder):
    """Both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(8),
            Conv(192, 96),
            Residual(96),
            nn.PixelUnshuffle(2),
            Conv(384, 192),
            Residual(192),
            nn.PixelUnshuffle(2),
            Conv(768, 256),
            Residual(256),
            Conv(256, IMAGE_CHANNELS, zero=True),
        )

    @torch.no_grad()
    def fit_basis(self, pixels: Tensor) -> None:
        """PCA components of the patches of `(b, 3, 256, 256)`, the linear path's both directions."""
        self.mean.copy_(pixels.mean((0, 2, 3)))
        patches = F.unfold(pixels - self.mean[:, None, None], PATCH, stride=PATCH)
        patches = patches.transpose(1, 2).reshape(-1, 3 * PATCH**2)
        _, vectors = torch.linalg.eigh(patches.T @ patches)
        self.basis.copy_(vectors.flip(1)[:, :IMAGE_CHANNELS].T.reshape(self.basis.shape))

    def raw(self, pixels: Tensor) -> Tensor:
        """Tokens as the codec's two halves exchange them, `(b, 64, 8, 8)`."""
        linear = F.conv2d(pixels - self.mean[:, None, None], self.basis, stride=PATCH)
        return linear + self.encoder(pixels)

    def encode(self, pixels: Tensor) -> Tensor:
        """`(b, 3, 256, 256)` -> `(b, 64, 64)`.

        Raises:
            ValueError: another size.
        """
        if pixels.shape[1:] != (3, INSIDE, INSIDE):
            raise ValueError(
                f"pixels are {tuple(pixels.shape)}; the codec reads (b, 3, {INSIDE}, {INSIDE}), scale first"
            )
        return (self.raw(pixels).flatten(2).transpose(1, 2) - self.shift) / self.scale


def decibels(error: Tensor) -> float:
    """PSNR of a mean squared error of pixels in -1..1."""
    return float(10 * torch.log10(4 / error))
