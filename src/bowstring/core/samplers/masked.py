"""Steps for tokens: where to reveal, and what.

Two stages: an order decides where from the state alone, a draw decides what. Shapes: b sequences, l
positions, v tokens. Autoregression is the order "leftmost, one at a time": `blocks` of size one over a
causal model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..loop import Denoise, State, Step
from ..options import real, whole
from ..process import Masked, Schedule, like, linear
from ..rng import Rng
from .continuous import Update, single

Order = Callable[[Tensor, Rng], Tensor]  # (probabilities, rng) -> priority (b, l), larger first


def invert_cdf(probabilities: Tensor, u: Tensor) -> Tensor:
    """Tokens by inverting the cumulative distribution at one uniform number per position.

    `(b, l, v), (b, l) -> (b, l)`. Unnormalised rows are allowed.
    """
    cumulative = probabilities.cumsum(-1)
    place = (u * cumulative[..., -1]).unsqueeze(-1)
    top = (probabilities > 0) * torch.arange(probabilities.shape[-1], device=probabilities.device)
    return torch.minimum(torch.searchsorted(cumulative, place, right=True).squeeze(-1), top.amax(-1))


def confidence(probabilities: Tensor, rng: Rng) -> Tensor:
    """Most probable first (Chang et al. 2022, arXiv 2202.04200)."""
    return probabilities.amax(-1)


def margin(probabilities: Tensor, rng: Rng) -> Tensor:
    """Largest lead of the best over the second best first (Kim et al. 2025, arXiv 2502.06768)."""
    best = probabilities.topk(2, -1).values
    return best[..., 0] - best[..., 1]


def lowest_entropy(probabilities: Tensor, rng: Rng) -> Tensor:
    """Lowest entropy first."""
    return -torch.special.entr(probabilities).sum(-1)


def leftmost(probabilities: Tensor, rng: Rng) -> Tensor:
    """Left to right."""
    place = torch.arange(probabilities.shape[1], dtype=torch.float32, device=probabilities.device)
    return -place.expand(probabilities.shape[:2])


def random(probabilities: Tensor, rng: Rng) -> Tensor:
    """Any order, each equally likely."""
    return rng.fork(7).uniform(probabilities.shape[1])


ORDERS: dict[str, Order] = {
    "confidence": confidence,
    "margin": margin,
    "entropy": lowest_entropy,
    "leftmost": leftmost,
    "random": random,
}


def revealed_share(process: Masked, t: Tensor, s: Tensor) -> Tensor:
    """Probability that a token masked at t is visible at s, `(b,)`."""
    keep_t, keep_s = process.schedule.keep(t.double()), process.schedule.keep(s.double())
    return ((keep_s - keep_t) / (1 - keep_t)).clamp(0, 1)


def reveal_count(process: Masked, masked: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """How many of the masked positions become visible between t and s, rounded up, `(b,)`.

    Times are floats that went through a division, so a thousandth of a token is not yet another token.
    """
    return (masked.sum(1) * revealed_share(process, t, s) - 1e-3).ceil().long()


def ancestral_update(process: Masked, remask: float = 0.0) -> Update:
    """Each masked token is revealed on its own with the probability that the schedule gives it.

    With `remask` > 0 each visible token is masked again with at most that probability, and masked ones are
    revealed more often to make up for it, so that every marginal stays the schedule's.

    Source: Sahoo et al. 2024, arXiv 2406.07524; remasking: Wang et al. 2025, arXiv 2503.00307 (capped).
    """
    remask = real(remask, "remask", 0, 1)

    def update(x: Tensor, logits: Tensor, t: Tensor, s: Tensor, rng: Rng, carry: Any) -> tuple[Tensor, Any]:
        keep_t, keep_s = (process.schedule.keep(u.double()) for u in (t, s))
        again = torch.minimum(torch.full_like(keep_s, remask), ((1 - keep_s) / keep_t).nan_to_num(posinf=1.0))
        reveal = ((keep_s - (1 - again) * keep_t) / (1 - keep_t)).clamp(0, 1)
        chance = rng.uniform(x.shape[1])
        masked = x == process.mask_id
        tokens = invert_cdf(logits.softmax(-1), rng.fork(1).uniform(x.shape[1]))
        x_s = torch.where(masked & (chance < like(reveal, x).float()), tokens, x)
        return torch.where(~masked & (chance < like(again, x).float()), process.mask_id, x_s), carry

    return update


def unmask(denoise: Denoise, process: Masked) -> Step:
    """Ancestral sampling: exact when `denoise` is and steps are many."""
    return single(denoise, ancestral_update(process))


def remask(denoise: Denoise, process: Masked, cap: float = 0.1) -> Step:
    """Ancestral sampling that may take a token back; see `ancestral_update`. Do not pin tokens with it."""
    return single(denoise, ancestral_update(process, remask=cap))


def truncate(logits: Tensor, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    """Logits divided by the temperature, without the least probable tokens that together have less than 1
    - top_p.

    Raises:
        ValueError: a temperature that is not positive, or top_p outside (0, 1].
    """
    top_p = real(top_p, "top_p", above=0, high=1)
    logits = logits / real(temperature, "temperature", above=0)
    if top_p == 1:
        return logits
    probabilities, order = logits.softmax(-1).sort(-1, descending=True)
    tail = probabilities.cumsum(-1) - probabilities >= top_p
    return logits.masked_fill(torch.zeros_like(tail).scatter(-1, order, tail), -torch.inf)


def chosen(priority: Tensor, masked: Tensor, count: Tensor) -> Tensor:
    """The `count` `(b,)` masked positions of largest priority, as a mask; ties go to the left."""
    ranked = priority.masked_fill(~masked, -torch.inf).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(masked.shape[1], device=masked.device) < count[:, None]
    return torch.zeros_like(masked).scatter(1, ranked, first) & masked


def unmask_k_update(process: Masked, order: Order = confidence) -> Update:
    """See `unmask_k`."""

    def update(x: Tensor, logits: Tensor, t: Tensor, s: Tensor, rng: Rng, carry: Any) -> tuple[Tensor, Any]:
        masked = x == process.mask_id
        probabilities = logits.softmax(-1)
        here = chosen(order(probabilities, rng), masked, reveal_count(process, masked, t, s))
        return torch.where(here, invert_cdf(probabilities, rng.uniform(x.shape[1])), x), carry

    return update


def unmask_k(denoise: Denoise, process: Masked, order: Order = confidence) -> Step:
    """Reveals as many tokens as the schedule says, those that `order` puts first; what they are is drawn."""
    return single(denoise, unmask_k_update(process, order))


class BlockModel(Protocol):
    """What `blocks` needs of a model that keeps a cache; the cache is the loop's carry."""

    def score(self, carry: Any, noisy: Tensor) -> Tensor:
        """Logits `(b, n, v)` of the next n positions, given the cache and their current tokens."""

    def commit(self, carry: Any, tokens: Tensor) -> Any:
        """The cache after these tokens have become final."""


def blocks(
    model: BlockModel,
    update: Update,
    edges: Sequence[tuple[int, int]],
    steps: int,
    schedule: Schedule = linear,
) -> Step:
    """Writes block after block; inside a block `update` runs from its own time 1 to 0 in `steps` steps,
    as the schedule falls.

    Which block and which of its steps is counted, not read off the common time, so the loop needs
    `len(edges) * steps` steps of any times. Samples go through the blocks together. Block size 1 over a
    causal model is autoregression. The carry is {"model": the cache, "update": what the update remembers of
    this block}.
    """
    steps = whole(steps, "steps", 1)
    equal = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    own = (equal if schedule is linear else schedule.fallen(equal)).tolist()

    def step(state: State, t: Tensor, s: Tensor, rng: Rng) -> State:
        i, k = divmod(int(state.steps[0]), steps)
        start, stop = edges[i]
        noisy = state.x[:, start:stop]  # type: ignore[index]
        memory = None if k == 0 else state.carry["update"]
        own_t, own_s = (torch.full_like(t, time, dtype=torch.float64) for time in own[k : k + 2])
        written, memory = update(noisy, model.score(state.carry["model"], noisy), own_t, own_s, rng, memory)
        x = torch.cat([state.x[:, :start], written, state.x[:, stop:]], 1)  # type: ignore[index]
        cache = state.carry["model"]
        cache = model.commit(cache, written) if k + 1 == steps and i + 1 < len(edges) else cache
        return state.advance(x, s, carry={"model": cache, "update": memory})

    return step
