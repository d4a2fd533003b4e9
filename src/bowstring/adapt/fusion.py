"""Mixtures of what several adaptations believe: weights fitted on a few examples, and the belief they make.

Shapes: m components, n tokens, v tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Score = Callable[..., Tensor]  # whatever a denoiser is given -> logits (..., v)


def fitted_weights(log_likelihoods: np.ndarray, rounds: int = 500, tolerance: float = 1e-9) -> np.ndarray:
    """Weights `(m,)` of the likeliest mixture of components, from each one's log-probabilities `(m, n)` of
    the same tokens; by expectation and maximisation, which never lowers the likelihood. The likelihood is
    concave in the weights, so what it finds is the best there is.

    Source: Dempster, Laird and Rubin 1977, section 4.3.
    """
    values = np.asarray(log_likelihoods, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"log-likelihoods have shape {values.shape}; expected (components, tokens)")
    relative = np.exp(values - values.max(0))
    weights = np.full(len(values), 1 / len(values))
    for _ in range(rounds):
        shares = weights[:, None] * relative
        fresh = (shares / shares.sum(0)).mean(1)
        if np.abs(fresh - weights).max() < tolerance:
            return fresh
        weights = fresh
    return weights


def fused(scores: Sequence[Score], weights: Sequence[float]) -> Score:
    """The score of the mixture: log of the weighted mean of the components' probabilities.

    Raises:
        ValueError: weights that are no shares.
    """
    shares = np.asarray(weights, np.float64)
    if len(scores) != len(shares) or not len(shares) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(
            f"weights are {list(weights)} for {len(scores)} scores; expected one of each, none negative, "
            "1 in all"
        )
    used = [(score, float(share)) for score, share in zip(scores, shares, strict=True) if share > 0]

    def score(*given: object) -> Tensor:
        parts = [one(*given).log_softmax(-1) + np.log(share) for one, share in used]
        return parts[0] if len(parts) == 1 else torch.stack(parts).logsumexp(0)

    return score
