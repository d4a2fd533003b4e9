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
TIMES = 4  # cosines that tell the flow of durations its time


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

    def forward(self, sounds: Tensor, voice: Tensor) -> Tensor:
        """`(b, p)`, `(b, 103)` or longer, of which the statistics count -> `(b, p)`."""
        return self.passed(self.conditioning(sounds, voice))

    def conditioning(self, sounds: Tensor, voice: Tensor) -> Tensor:
        """What is known of each sound, `(b, p, width)`."""
        voiced = self.voice(voice[:, :VOICE].to(self.voice.weight.dtype))
        return self.sound(sounds) + voiced[:, None]

    def passed(self, x: Tensor) -> Tensor:
        """`(b, p, width) -> (b, p)`."""
        x = x.transpose(1, 2)
        for layer in self.layers:
            gate, value = layer(F.rms_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)).chunk(2, 1)
            x = x + torch.sigmoid(gate) * value
        return self.out(x.transpose(1, 2)).squeeze(-1)


class DurationFlow(DurationNetwork):
    """How far logarithms of durations lie from what is expected, in units of 0.25, as the flow from noise to
    them: x_t and t -> x_0_hat, `(b, p)`. Around the network lies the best linear estimate, as in
    `ContinuousHead` with a variance of 1; it starts at that.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__(width)
        self.noisy = nn.Linear(1 + TIMES, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, sounds: Tensor, voice: Tensor, x_t: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]
        t = t[:, None]
        size = ((1 - t).square() + t.square()).sqrt()
        waves = torch.cos(torch.pi * t[..., None] * torch.arange(TIMES, device=t.device))
        seen = torch.cat([(x_t / size)[..., None], waves.expand(*x_t.shape, TIMES)], -1)
        beyond = self.passed(self.conditioning(sounds, voice) + self.noisy(seen.to(self.noisy.weight.dtype)))
        return (1 - t) / size.square() * x_t + t / size * beyond


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
