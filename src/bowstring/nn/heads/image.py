"""Pictures: latents of a square grid, conditioned on the pooled caption."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .continuous import ContinuousHead

POOLED = 32  # inner width of the pooled embedding of a caption


class ImageHead(ContinuousHead):
    """A head of a plane whose tokens all get the pooled embedding of their caption."""

    def __init__(self, channels: int, width: int, places: int) -> None:
        super().__init__(channels, width, places)
        self.pooled = nn.Sequential(nn.Linear(width, POOLED, bias=False), nn.Linear(POOLED, width))

    def condition(self, hidden: Tensor, valid: Tensor) -> Tensor:
        """What is added to the tokens, `(b, 1, d)`, from hidden states of captions `(b, m, d)`, `valid`
        `(b, m)` being False at padding.
        """
        mean = (hidden * valid[..., None]).sum(1, keepdim=True) / valid.sum(1)[:, None, None]
        return self.pooled(F.rms_norm(mean, mean.shape[-1:]))
