"""What the audio head knows beside the noisy sound: which sounds are due when, and whose voice.

Shapes: b utterances, p sounds, l tokens of 64 ms with 4 slots each, d width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import SLOTS, SOUND_WIDTH, SOUNDS, VOICE
from .continuous import ContinuousHead


class DurationNetwork(nn.Module):
    """How long each sound lasts, from the sounds around it and the voice: log frames of 8 ms."""

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
        told = self.voice(voice[:, :VOICE].to(self.voice.weight.dtype))
        x = (self.sound(sounds) + told[:, None]).transpose(1, 2)
        for layer in self.layers:
            gate, value = layer(F.rms_norm(x.transpose(1, 2), x.shape[1:2]).transpose(1, 2)).chunk(2, 1)
            x = x + torch.sigmoid(gate) * value
        return self.out(x.transpose(1, 2)).squeeze(-1)


class SpeechHead(ContinuousHead):
    """A continuous head whose tokens are told their sounds and the voice: its statistics and, where there are
    such, `speaker` numbers of the speaker encoder.
    """

    def __init__(self, channels: int, width: int, speaker: int = 0) -> None:
        super().__init__(channels, width)
        self.sound = nn.Embedding(SOUNDS, SOUND_WIDTH)
        self.aligned = nn.Linear(SLOTS * (SOUND_WIDTH + 2), width)
        self.voice = nn.Linear(VOICE + speaker, width)
        self.duration = DurationNetwork()

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
