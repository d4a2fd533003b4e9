"""The second half of the vocoder: a network weighs what source and filter made, in time and frequency.

Shapes: b signals of f frames of 8 ms, `(b, 192 f)` samples; bins of a window of 21 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .source_filter import HOP
from .stream import ASKED, BINS, DEPTH, LEAD, MOST_GAIN, WIDTH, WINDOW


class PostfilterBlock(nn.Module):
    """Seven frames of every channel, then all channels of a frame (Liu et al. 2022, arXiv 2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, f, d)` both."""
        near = self.near(x.transpose(1, 2)).transpose(1, 2)
        return x + self.down(F.gelu(self.up(self.norm(near))))


class Postfilter(nn.Module):
    """Gains for every frame and bin, from the spectrum that is there and the frames that asked for it. They
    are real, so phases stay; at the start they are one.
    """

    window: Tensor

    def __init__(self, width: int = WIDTH, depth: int = DEPTH) -> None:
        super().__init__()
        self.enter = nn.Linear(BINS + ASKED, width)
        self.blocks = nn.Sequential(*(PostfilterBlock(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, BINS)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def gains(self, spectrum: Tensor, asked: Tensor) -> Tensor:
        """Natural logarithms of gains `(b, f, 257)` from a spectrum of that shape and frames `(b, f, 55)`."""
        seen = (torch.log(spectrum.abs() + 1e-3) + 3) / 3
        x = self.blocks(self.enter(torch.cat([seen, asked], -1)))
        return MOST_GAIN * torch.tanh(self.leave(self.norm(x)).float() / MOST_GAIN)

    def forward(self, signal: Tensor, asked: Tensor) -> Tensor:
        """Signals `(b, 192 f)` weighed, given what `speech.stream.asked` says of their frames."""
        frames, size = asked.shape[1], signal.shape[1]
        parts = F.pad(signal, (LEAD, WINDOW)).unfold(1, WINDOW, HOP)[:, :frames] * self.window
        spectrum = torch.fft.rfft(parts)
        parts = torch.fft.irfft(spectrum * self.gains(spectrum, asked).exp(), WINDOW) * self.window
        weight = (self.window**2).expand(1, frames, WINDOW)
        whole = overlap_add(parts) / overlap_add(weight).clamp(min=1e-2)
        return F.pad(whole[:, LEAD:], (0, max(0, size - (whole.shape[1] - LEAD))))[:, :size]


def overlap_add(parts: Tensor) -> Tensor:
    """Stretches `(b, f, 512)` that begin 192 samples after one another, added: `(b, 192 (f - 1) + 512)`."""
    size = (parts.shape[1] - 1) * HOP + WINDOW
    return F.fold(parts.transpose(1, 2), (1, size), (1, WINDOW), stride=(1, HOP))[:, 0, 0]
