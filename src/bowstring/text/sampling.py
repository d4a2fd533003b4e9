"""How text is written: prompts become a state, the network a block model, and a policy says which tokens
may stand where.

Shapes: b sequences, l positions of the canvas, n cached tokens, v tokens. The canvas is what is generated;
what is known beforehand lies in the cache. Autoregression and diffusion share weights, cache and loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.conditioning import NOTHING, Cache, Conditioning
from ..core.loop import Halt, State, iterate
from ..core.process import Masked, Schedule, linear, uniform
from ..core.rng import Rng
from ..core.samplers.continuous import Update
from ..core.samplers.masked import ORDERS, Order, blocks, chosen, invert_cdf, reveal_count, truncate
from ..nn.network import UnifiedScoreNetwork
from .options import NEVER, Sampling
from .tokenizer import EOS, MASK, PAD, SPECIAL_TOKENS

PROCESS = Masked(MASK)
NOTED = ("confidence", "entropy", "early")  # what is kept of every token
TOLD = 3  # tokens of a suffix that tell the length of the gap before it


def writes(how: Sampling, schedule: Schedule = linear) -> bool:
    """Whether `native` writes with these options: a token an evaluation, in reading order."""
    size = min(how.block, how.max_tokens)
    by_one = (
        how.order == "leftmost" and how.steps >= size and how.max_tokens % size == 0 and schedule is linear
    )
    return how.mode != "diffusion" or by_one


def pad_left(rows: Sequence[Sequence[int]], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Rows of tokens flushed right, and which are real, `(b, n)` each."""
    longest = max(map(len, rows))
    tokens = [[PAD] * (longest - len(row)) + list(row) for row in rows]
    valid = [[False] * (longest - len(row)) + [True] * len(row) for row in rows]
    return torch.tensor(tokens, device=device), torch.tensor(valid, device=device)


@dataclass(frozen=True)
class BlockDiffusion:
    """The network as a block model: a noisy block sees the cache and all of itself.

    When the context is full, the head (the prompt) and the last half of the rest are read anew. tilt: `(v,)`,
    what every token's logit loses.
    """

    network: UnifiedScoreNetwork
    context: int
    step_size: float = 0.0
    conditioning: Conditioning = NOTHING
    tilt: Tensor | None = None

    @classmethod
    def sampled(
        cls,
        network: UnifiedScoreNetwork,
        context: int,
        how: Sampling,
        conditioning: Conditioning = NOTHING,
        tilt: Tensor | None = None,
    ) -> Self:
        """For blocks of `how.block`; where they get fewer steps than tokens, a network that has learned to
        jump is told so.
        """
        size = network.shortcut_step_size(how.steps) if how.steps < how.block else 0.0
        return cls(network, context, size, conditioning, tilt)

    def begin(self, tokens: Tensor, valid: Tensor, row: Tensor | None = None) -> dict[str, Any]:
        """Reads what is known before the canvas; `row` says which of the conditioning's rows a sample has."""
        position = (valid.cumsum(1) - 1).clamp(min=0).float()
        row = torch.arange(len(tokens), device=tokens.device) if row is None else row
        hidden, cache = self.network.prefill(tokens, position, valid, self.conditioning.rows(row))
        return {
            **{"layers": cache.layers, "valid": valid, "position": position[:, -1] + 1, "tokens": tokens},
            **{"head": valid.sum(1), "next": self.logits(hidden[:, -1]), "row": row},
            "read": (hidden * valid[..., None]).sum(1) / valid.sum(1, keepdim=True),
        }

    def given(self, carry: dict[str, Any]) -> Conditioning:
        """The conditioning of these samples, with what they have read."""
        cache = Cache(carry["layers"], carry["valid"])
        return self.conditioning.rows(carry["row"]).with_(cache=cache)

    def logits(self, hidden: Tensor) -> Tensor:
        logits = self.network.heads["text"](hidden).float()
        return logits if self.tilt is None else logits - self.tilt

    def score(self, carry: dict[str, Any], noisy: Tensor) -> Tensor:
        logits = self.masked_scores(carry, noisy)
        # While nothing of a block is visible, reading order knows its first token best, and for free.
        blank = (noisy == MASK).all(1, keepdim=True)
        logits[:, 0] = torch.where(blank, carry["next"], logits[:, 0])
        return logits

    def masked_scores(self, carry: dict[str, Any], noisy: Tensor) -> Tensor:
        """What masked places believe by themselves."""
        position = carry["position"][:, None] + torch.arange(noisy.shape[1], device=noisy.device)
        size = torch.full((1, 1), self.step_size, device=noisy.device)
        return self.logits(self.network.block_hidden(noisy, position, self.given(carry), size))

    def commit(self, carry: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        full = carry["valid"].sum(1) + 2 * tokens.shape[1] > self.context
        if bool(full.all()):
            return self._slid(carry, tokens)
        if not bool(full.any()):
            return self._appended(carry, tokens)
        parts = [
            (one, which.nonzero().flatten()) for one, which in ((self._slid, full), (self._appended, ~full))
        ]
        return joined([(one(rows_of(carry, rows), tokens[rows]), rows) for one, rows in parts])

    def _appended(self, carry: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        valid = torch.ones_like(tokens, dtype=torch.bool)
        position = carry["position"][:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        hidden, cache = self.network.prefill(tokens, position, valid, self.given(carry))
        grown = {
            "layers": cache.layers,
            "valid": cache.valid,
            "position": position[:, -1] + 1,
            "next": self.logits(hidden[:, -1]),
        }
        return carry | grown | {"tokens": torch.cat([carry["tokens"], tokens], 1)}

    def _slid(self, carry: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        everything = torch.cat([carry["tokens"], tokens], 1)
        valid = torch.cat([carry["valid"], torch.ones_like(tokens, dtype=torch.bool)], 1)
        rows = [row[here].tolist() for row, here in zip(everything, valid, strict=True)]
        kept = [
            row[:head] + row[head:][-(self.context - head) // 2 :]
            for row, head in zip(rows, carry["head"].tolist(), strict=True)
        ]
        return self.begin(*pad_left(kept, tokens.device), carry["row"]) | {"head": carry["head"]}


def rows_of(carry: Any, index: Tensor) -> Any:
    """Some samples of a tree of tensors `(b, ...)`."""
    if isinstance(carry, dict):
        return {name: rows_of(branch, index) for name, branch in carry.items()}
    return tuple(rows_of(branch, index) for branch in carry) if isinstance(carry, tuple) else carry[index]


def joined(parts: Sequence[tuple[dict[str, Any], Tensor]]) -> dict[str, Any]:
    """Carries of some samples each, at these rows, as one; what was read lies flush right."""
    width, order = (
        max(part["valid"].shape[1] for part, _ in parts),
        torch.cat([rows for _, rows in parts]).argsort(),
    )
    return merged([flushed(part, width) for part, _ in parts], order)


def flushed(carry: dict[str, Any], width: int) -> dict[str, Any]:
    """A carry whose cache is `width` long, padded on the left."""
    room = width - carry["valid"].shape[1]
    wide = lambda x: F.pad(x, (0, 0, room, 0))  # noqa: E731
    layers = tuple((wide(k), wide(v)) for k, v in carry["layers"])
    tokens = F.pad(carry["tokens"], (room, 0), value=PAD)
    return carry | {"layers": layers, "valid": F.pad(carry["valid"], (room, 0)), "tokens": tokens}


def merged(parts: Sequence[Any], order: Tensor) -> Any:
    """Trees of tensors one after the other, in another order."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: merged([part[name] for part in parts], order) for name in first}
    if isinstance(first, tuple):
        return tuple(merged(branches, order) for branches in zip(*parts, strict=True))
    return torch.cat(list(parts))[order]


@dataclass(frozen=True)
class Steered:
    """A block model whose logits mind what has been written: what stands already is less likely by `penalty`,
    and nothing ends before `min_tokens`.
    """

    model: BlockDiffusion
    penalty: float
    min_tokens: int

    def begin(self, carry: dict[str, Any], vocab: int) -> dict[str, Any]:
        """The carry of the model, with what the prompt holds."""
        seen = carry["next"].new_zeros(len(carry["tokens"]), vocab, dtype=torch.bool)
        return {
            "model": carry,
            "seen": holding(seen, carry["tokens"]),
            "written": torch.zeros_like(carry["head"]),
        }

    def score(self, carry: dict[str, Any], noisy: Tensor) -> Tensor:
        logits = self.model.score(carry["model"], noisy)
        logits = penalised(logits, holding(carry["seen"], noisy)[:, None], self.penalty)
        place = carry["written"][:, None] + torch.arange(noisy.shape[1], device=noisy.device)
        ending = torch.arange(logits.shape[-1], device=logits.device) == EOS
        return logits.masked_fill((place < self.min_tokens)[..., None] & ending, -torch.inf)

    def commit(self, carry: dict[str, Any], tokens: Tensor) -> dict[str, Any]:
        model = self.model.commit(carry["model"], tokens)
        written = carry["written"] + tokens.shape[1]
        return {"model": model, "seen": holding(carry["seen"], tokens), "written": written}


def holding(seen: Tensor, tokens: Tensor) -> Tensor:
    """Which ids, `(b, v)`, have been seen once these tokens `(b, l)` stand; reserved ones never are."""
    out = seen.scatter(1, tokens, True)
    return out.index_fill(1, torch.arange(len(SPECIAL_TOKENS), device=seen.device), False)


def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits with those of seen tokens made smaller.

    >>> penalised(torch.tensor([2.0, -2.0, 1.0]), torch.tensor([True, True, False]), 2.0)
    tensor([ 1., -4.,  1.])
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


class Autoregressive(BlockDiffusion):
    """The same network read causally: the belief about the next token is there before it is asked for."""

    def score(self, carry: dict[str, Any], noisy: Tensor) -> Tensor:
        return carry["next"][:, None]


def admissible(logits: Tensor, x: Tensor, gap: bool) -> Tensor:  # noqa: FBT001
    """Logits with what may not stand there at -inf.

    Reserved ids never appear, except [end], which waits until all to its left is visible, and nulls, which
    fill a gap that was cut too long.
    """
    never = torch.tensor([*NEVER, EOS if gap else PAD], device=logits.device)
    logits = logits.index_fill(-1, never, -torch.inf)
    if gap:
        return logits
    waits = (x == MASK).cumsum(1) - (x == MASK).long() > 0
    logits[..., EOS] = logits[..., EOS].masked_fill(waits, -torch.inf)
    return logits


def finished(x: Tensor) -> Tensor:
    """Everything behind an [end] becomes null."""
    behind = (x == EOS).cumsum(1) - (x == EOS).long() > 0
    return torch.where(behind, PAD, x)


def reveal_places(order: Order, belief: Tensor, masked: Tensor, t: Tensor, s: Tensor, rng: Rng) -> Tensor:
    """Where tokens are revealed between t and s, `(b, l)`: decided by the state, never by what is drawn."""
    return chosen(order(belief, rng), masked, reveal_count(PROCESS, masked, t, s))


def law(logits: Tensor, temperature: float, top_p: float, top_k: int = 0) -> Tensor:
    """Probabilities that tokens are drawn by; see `Sampling`.

    >>> law(torch.tensor([2.0, 1.0, 0.0]), 1.0, 1.0, top_k=2).round(decimals=2)
    tensor([0.7300, 0.2700, 0.0000])
    """
    if temperature == 0:
        return likeliest(logits, 1).isfinite().to(logits.dtype)
    return truncate(likeliest(logits, top_k), temperature, top_p).softmax(-1)


def likeliest(logits: Tensor, k: int) -> Tensor:
    """Logits of the k likeliest tokens, the others at -inf; 0 keeps all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    values, places = logits.topk(k, -1)
    return torch.full_like(logits, -torch.inf).scatter(-1, places, values)


def text_update(how: Sampling, *, gap: bool = False) -> Update:
    """The update of text: reveal the positions that the order puts first, with admissible tokens.

    It remembers per position of the block {"confidence", "entropy", "early"}: the probability of the drawn
    token, the entropy of the whole belief in nats, both before temperature, and the nats of the token under
    the block's second belief, the first that saw something of it, NaN where that came no earlier.
    """

    order = ORDERS[how.order]

    def update(x: Tensor, logits: Tensor, t: Tensor, s: Tensor, rng: Rng, carry: Any) -> tuple[Tensor, Any]:
        masked = x == MASK
        allowed = admissible(logits, x, gap)
        belief = allowed.softmax(-1)
        here = reveal_places(order, belief, masked, t, s, rng)
        tokens = invert_cdf(law(allowed, how.temperature, how.top_p, how.top_k), rng.uniform(x.shape[1]))
        x_s = torch.where(here, tokens, x)
        before = carry or dict.fromkeys(NOTED, torch.zeros(x.shape, device=x.device))
        fresh = {
            "confidence": belief.gather(-1, tokens[..., None])[..., 0],
            "entropy": torch.special.entr(belief).sum(-1),
            "early": torch.full_like(belief[..., 0], torch.nan),
        }
        second = {} if carry is None else {"second": carry.get("second", allowed.log_softmax(-1))}
        if "second" in before:
            fresh["early"] = -second["second"].gather(-1, tokens[..., None])[..., 0]
        noted = {name: torch.where(here, fresh[name], before[name]) for name in NOTED}
        return (x_s if gap else finished(x_s)), noted | second

    return update


def ended(state: State) -> Tensor:
    """A sample has ended when an [end] stands with nothing masked before it."""
    x = cast(Tensor, state.x)
    end = x == EOS
    masked_before = ((x == MASK).cumsum(1) > 0) & end
    return end.any(1) & ~masked_before.any(1)


@torch.no_grad()
def sample_text(
    network: UnifiedScoreNetwork,
    known: Sequence[Sequence[int]],
    how: Sampling,
    context: int,
    conditioning: Conditioning = NOTHING,
    numbers: Sequence[int] | None = None,
    halt: Halt = ended,
    schedule: Schedule = linear,
    tilt: Tensor | None = None,
) -> Iterator[State]:
    """States of a canvas of `how.max_tokens` behind each row of known tokens, the fully masked one first.

    Args:
        numbers: of each row's sample, which with the seed decides its randomness; by default 0, 1, 2, ...
        halt: when a sample is done.
        schedule: by which the masks of a block fall.
        tilt: `(v,)`, the energy of every token, which logits lose.
    """
    causal = how.mode != "diffusion"
    size = 1 if causal else min(how.block, how.max_tokens)
    edges = [(i, min(i + size, how.max_tokens)) for i in range(0, how.max_tokens, size)]
    model = (
        Autoregressive(network, context, conditioning=conditioning, tilt=tilt)
        if causal
        else BlockDiffusion.sampled(network, context, how, conditioning, tilt)
    )
    steps = 1 if causal else min(how.steps, size)
    known_carry = model.begin(*pad_left(known, network.device))
    if how.repetition_penalty != 1 or how.min_tokens:
        steered = Steered(model, how.repetition_penalty, how.min_tokens)
        step = blocks(steered, text_update(how), edges, steps, schedule)
        known_carry = steered.begin(known_carry, network.config.vocab)
    else:
        step = blocks(model, text_update(how), edges, steps, schedule)
    own = torch.tensor([*(range(len(known)) if numbers is None else numbers)], device=network.device)
    rng = Rng.of(how.seed, int(own.max()) + 1, device=network.device).rows(own)
    start = State.begin(PROCESS.prior(rng, how.max_tokens), carry={"model": known_carry, "update": None})
    yield start
    yield from iterate(step, start, uniform(len(edges) * steps), rng, halt)


@torch.no_grad()
def fill_gap(
    network: UnifiedScoreNetwork,
    known: Sequence[int],
    gap: int,
    suffix: Sequence[int],
    how: Sampling,
    context: int,
) -> Iterator[State]:
    """States of a gap of `gap` masks followed by the pinned suffix, written as one block."""
    model = BlockDiffusion(network, context)
    canvas = torch.tensor([[MASK] * gap + list(suffix)], device=network.device)
    steps = min(how.steps, gap)
    step = blocks(model, text_update(how, gap=True), [(0, canvas.shape[1])], steps)
    carry = {"model": model.begin(*pad_left([known], network.device)), "update": None}
    start = State.begin(canvas, carry=carry)
    yield start
    yield from iterate(step, start, uniform(steps), Rng.of(how.seed, 1, device=network.device))


@torch.no_grad()
def length_scores(
    network: UnifiedScoreNetwork,
    known: Sequence[int],
    gaps: Sequence[int],
    suffix: Sequence[int],
    context: int,
) -> Iterator[float]:
    """How likely the suffix begins behind a gap of each length: log-probability of its first tokens, masked
    as well, nats, by one evaluation a length. Behind the right length they stand where they are expected.
    """
    model = BlockDiffusion(network, context)
    carry = model.begin(*pad_left([known], network.device))
    told = torch.tensor((list(suffix) or [EOS])[:TOLD], device=network.device)
    for gap in gaps:
        row = [MASK] * (gap + len(told)) + list(suffix[len(told) :])
        logits = model.score(carry, torch.tensor([row], device=network.device))[0, gap : gap + len(told)]
        belief = logits.index_fill(-1, torch.tensor(NEVER, device=network.device), -torch.inf).log_softmax(-1)
        yield float(belief.gather(-1, told[:, None]).sum())


@torch.no_grad()
def log_likelihood(network: UnifiedScoreNetwork, rows: Sequence[Sequence[int]], given: int) -> Tensor:
    """Causal log-probability of each row's tokens after the first `given`, nats, `(b,)`."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows], device=network.device)
    doc = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=network.device)
    logits = network.heads["text"](network.plain(tokens, doc))[:, :-1].float().log_softmax(-1)
    nll = logits.gather(-1, tokens[:, 1:, None])[..., 0]
    return (nll * (doc[:, 1:] > 0))[:, given - 1 :].sum(1)
