"""What a tower learns by: the teacher's vectors, its likenesses within a batch, and what belongs together.

Shapes: n pairs, d numbers; all vectors are unit vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.05
ALIKE = 0.8  # of the teacher's cosine: what is so like the right one is no wrong one


def distance(ours: Tensor, teacher: Tensor) -> Tensor:
    """Mean of one minus the cosine."""
    return 1 - (ours * teacher).sum(-1).mean()


def relations(ours: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of whom each text is like, the teacher's from ours, in nats.

    Source: Passalis & Tefas 2018, arXiv 1803.10837, with cosines over a temperature.
    """
    itself = torch.eye(len(ours), dtype=torch.bool, device=ours.device)
    log_p, log_q = (
        F.log_softmax((one @ one.T / TEMPERATURE).masked_fill(itself, -1e4), -1) for one in (teacher, ours)
    )
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def contrast(left: Tensor, right: Tensor, alike: Tensor) -> Tensor:
    """How surprising the right partner is among all partners of the batch, both ways, in nats (InfoNCE, van
    den Oord et al. 2018). alike: `(n, n)`, what counts as no wrong partner.
    """
    scores = left @ right.T / TEMPERATURE
    wrong = alike & ~torch.eye(len(left), dtype=torch.bool, device=left.device)
    scores = scores.masked_fill(wrong, -1e4)
    goal = torch.arange(len(left), device=left.device)
    return (F.cross_entropy(scores, goal) + F.cross_entropy(scores.T, goal)) / 2


def interchangeable(left: Tensor, right: Tensor) -> Tensor:
    """`(n, n)`: pairs whose partners, or whose own texts, are nearly the same to the teacher."""
    return (right @ right.T > ALIKE) | (left @ left.T > ALIKE)
