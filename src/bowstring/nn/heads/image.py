"""Pictures: latents of a square grid, conditioned on the pooled caption."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .continuous import RealsHead

MEANING = 32  # numbers that are left of a caption where it is told to all tokens of its picture


class PictureHead(RealsHead):
    """A reals head of a plane whose tokens are told, all alike, what their caption means."""

    def __init__(self, channels: int, width: int, places: int) -> None:
        super().__init__(channels, width, places)
        self.meaning = nn.Sequential(nn.Linear(width, MEANING, bias=False), nn.Linear(MEANING, width))

    def condition(self, memory: Tensor, valid: Tensor) -> Tensor:
        """What is added to the tokens, `(b, 1, d)`, from hidden states of captions `(b, m, d)`, `valid`
        `(b, m)` being False at padding.
        """
        mean = (memory * valid[..., None]).sum(1, keepdim=True) / valid.sum(1)[:, None, None]
        return self.meaning(F.rms_norm(mean, mean.shape[-1:]))
