"""A neural energy of fields, to be trained by denoising score matching.

Shapes: fields `(b, h, w)` on a torus, energies `(b,)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class NeuralEnergy(nn.Module):
    """curvature / 2 |x|^2 plus a bounded function of each neighbourhood, summed: it has a lower bound, so
    chains on it cannot escape.
    """

    def __init__(self, width: int = 32, reach: int = 5) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, reach, padding=reach // 2, padding_mode="circular")
        self.second = nn.Conv2d(width, width, 1)
        self.out = nn.Parameter(torch.zeros(width))
        self.log_curvature = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        near = torch.tanh(self.second(F.silu(self.first(x[:, None]))))
        bounded = torch.einsum("bchw,c->b", near, self.out)
        return 0.5 * self.log_curvature.exp() * x.flatten(1).square().sum(1) + bounded

    def score(self, x: Tensor) -> Tensor:
        """Minus the gradient, with its own gradient when parameters are being learned."""
        learning = torch.is_grad_enabled() and (x.requires_grad or self.out.requires_grad)
        with torch.enable_grad():
            y = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self(y).sum(), y, create_graph=learning)
        return -slope


def score_matching(energy: NeuralEnergy, x: Tensor, sigma: float, rng: torch.Generator) -> Tensor:
    """Denoising score matching at one noise level, per site: its minimum is the energy of x + sigma eps.

    Source: Vincent 2011, "A connection between score matching and denoising autoencoders".
    """
    eps = torch.randn(x.shape, generator=rng).to(x.device)
    return (sigma * energy.score(x + sigma * eps) + eps).square().mean()
