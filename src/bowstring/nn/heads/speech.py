"""What the audio head knows beside the noisy sound: which sounds are due when, and whose voice.

Shapes: b utterances, p sounds, l tokens of 64 ms with 4 slots each, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import SLOTS, SOUND_WIDTH, SOUNDS, VOICE
from .continuous import ContinuousHead

OFF = 0.25  # by how much logarithms of durations typically lie off what is expected
TIMES = 4  # cosines that the flow of durations sees of its time


class DurationNetwork(nn.Module):
    """How long each sound is expected to last, from those around it and the voice: log frames of 8 ms."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.sound = nn.Embedding(SOUNDS, width)
        self.voice = nn.Linear(VOICE, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 3, padding=reach, dilation=reach) for reach in (1, 2, 4)
        )
        self.out = nn.Linear(width, 1)

    def forward(self, sounds: Tensor, voice: Tensor, valid: Tensor | None = None) -> Tensor:
        """`(b, p)`, `(b, 103)` or longer, of which the statistics count -> `(b, p)`. Sounds that are not
        valid are seen by none.
        """
        return self.passed(self.conditioning(sounds, voice), valid)

    def conditioning(self, sounds: Tensor, voice: Tensor) -> Tensor:
        """What is known of each sound, `(b, p, width)`."""
        voiced = self.voice(voice[:, :VOICE].to(self.voice.weight.dtype))
        return self.sound(sounds) + voiced[:, None]

    def passed(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """`(b, p, width) -> (b, p)`."""
        x = x.transpose(1, 2)
        for layer in self.layers:
            seen = F.rms_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)
            gate, value = layer(seen if valid is None else seen * valid[:, None]).chunk(2, 1)
            x = x + torch.sigmoid(gate) * value
        return self.out(x.transpose(1, 2)).squeeze(-1)


class DurationFlow(nn.Module):
    """How far logarithms of durations lie from what is expected, in units of 0.25: the flow from noise to
    that. Around the network lies the best linear estimate of a variance of 1, at which it starts; see
    `ContinuousHead`. Sounds see seven neighbours to either side, and the mean of all.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.network = DurationNetwork(width)
        self.noisy = nn.Linear(2 + TIMES, width)
        nn.init.zeros_(self.network.out.weight)
        nn.init.zeros_(self.network.out.bias)

    @staticmethod
    def size(t: Tensor) -> Tensor:
        """Standard deviation of x_t."""
        return ((1 - t).square() + t.square()).sqrt()

    def forward(
        self, sounds: Tensor, voice: Tensor, x_t: Tensor, t: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """x_t `(b, p)` at t `(b,)` -> x_0_hat `(b, p)`; see `DurationNetwork`."""
        t = t[:, None]
        size = self.size(t)
        x = x_t / size
        counted = torch.ones_like(x) if valid is None else valid.to(x.dtype)
        mean = (x * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True)
        waves = torch.cos(torch.pi * t * torch.arange(1, TIMES + 1, device=t.device))
        seen = torch.cat([torch.stack([x, mean.expand_as(x)], -1), waves[:, None].expand(*x.shape, -1)], -1)
        known = self.network.conditioning(sounds, voice) + self.noisy(seen.to(self.noisy.weight.dtype))
        return (1 - t) / size.square() * x_t + t / size * self.network.passed(known, valid)


class SpeechHead(ContinuousHead):
    """A continuous head whose tokens are told their sounds and the voice: its statistics and, where there are
    such, `speaker` numbers of the speaker encoder. With `draws` it has a flow of durations as well.
    """

    def __init__(self, channels: int, width: int, speaker: int = 0, *, draws: bool = False) -> None:
        super().__init__(channels, width)
        self.sound = nn.Embedding(SOUNDS, SOUND_WIDTH)
        self.aligned = nn.Linear(SLOTS * (SOUND_WIDTH + 2), width)
        self.voice = nn.Linear(VOICE + speaker, width)
        self.duration = DurationNetwork()
        self.duration_flow = DurationFlow() if draws else None

    def condition(self, sounds: Tensor, progress: Tensor, voice: Tensor) -> Tensor:
        """What is added to the tokens, `(b, l, d)`.

        Args:
            sounds: `(b, l, 4)` ids.
            progress: `(b, l, 4, 2)` how far into the sound, 0..1, and the logarithm of its seconds.
            voice: `(b, 103)` or `(b, 167)`; a head that listens to the first 103 numbers takes either.
        """
        dtype = self.voice.weight.dtype
        told = torch.cat([self.sound(sounds), progress.to(dtype)], -1).flatten(2)
        heard = voice[:, : self.voice.weight.shape[1]].to(dtype)
        return self.aligned(told) + self.voice(heard)[:, None]
