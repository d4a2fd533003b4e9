"""`bowstring train memory`: how memories reach a model that stays as it is.

Of text only the last slot looks at memories, so that all before it is the same with and without them: it is
computed once, and what is learned is a matter of minutes. Of pictures every slot looks, and the flow learns.
Memories are left out now and then, and others that have nothing to do with it lie among them. Shapes: n
places of texts, d width, w numbers of a vector, b pictures.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.conditioning import Conditioning, LayerConditioning
from ..image.sampling import Caption, encode_captions, positions_after
from ..nn.memory import MemoryProjector
from ..nn.network import UnifiedScoreNetwork, paired
from ..nn.trunk import Layer, rotations
from ..text.tokenizer import KINDS, MASK, PAD, SEP, TextTokenizer
from .data.remembered import Facts
from .image.flow import IMAGE_TIMES
from .loop import add_noise, apply_gradients, logit_normal, set_rate, step_generator, training_steps
from .optim import mixed
from .progress import TrainingLog
from .schedule import Moment, Run, warm_up_share

DROPPED = 0.1  # of memories
OTHERS = (0.3, 0.3)  # how often each of some unrelated ones is there
ELSEWHERE = 0.15  # share of the places that name no fact and are learned from
BLOCK = 4  # tokens that are masked together
Loss = Callable[[int], Tensor]


@dataclass(frozen=True)
class Places:
    """Places of texts before the last slot. states: `(n, d)`. targets: the token that is to come. named:
    whether it belongs to a fact. owners: which memory the text was made of.
    """

    states: Tensor
    targets: Tensor
    named: Tensor
    owners: Tensor

    def __len__(self) -> int:
        return len(self.targets)


def text_row(facts: Facts, tokenizer: TextTokenizer, rng: random.Random) -> tuple[list[int], list[bool], int]:
    """A brief story behind its prompt: tokens, which of them name facts, and where it begins."""
    story = facts.brief(rng)
    head, body = [KINDS["text"], *tokenizer.encode(facts.prompt), SEP], tokenizer.encode(story)
    spans, ends, at = facts.mentions(story), [], 0
    for token in body:
        at += len(tokenizer.to_bytes([token]))
        ends.append(at)
    begins = [0, *ends[:-1]]
    named = [any(a < end and begin < b for a, b in spans) for begin, end in zip(begins, ends, strict=True)]
    return head + body, [False] * len(head) + named, len(head)


@torch.no_grad()
def before_last_slot(
    network: UnifiedScoreNetwork, noisy: Tensor, clean: Tensor, doc: Tensor, block: Tensor
) -> Tensor:
    """Tokens of both streams of `UnifiedScoreNetwork.pair` as the last slot gets them, `(b, 2 l, d)`."""
    trunk = network.trunk
    position = torch.arange(clean.shape[1], dtype=torch.float32).repeat(2)[None]
    x = network.embed("text", torch.cat([noisy, clean], 1))
    given = Conditioning(mask=paired(doc, block)[:, None]).layer(0)
    cos, sin = rotations(position)
    modulation = still(network)
    *layers, last = cast(Sequence[Layer], [*trunk.layers])
    for layer in layers:
        x, _ = layer(x, modulation, cos, sin, given)
    return last.attended(x, modulation, cos, sin, given)[0]


def still(network: UnifiedScoreNetwork) -> Tensor:
    """The modulation of text, whose time is always 0."""
    zero = torch.zeros(1, 1)
    return network.trunk.modulation(zero, zero)


def text_places(
    network: UnifiedScoreNetwork,
    tokenizer: TextTokenizer,
    facts: Sequence[Facts],
    seed: int = 0,
    rows: int = 24,
) -> Iterator[Places]:
    """What is learned from of one brief story for each memory, in both ways of writing."""
    rng, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    laid = [(owner, *text_row(one, tokenizer, rng)) for owner, one in enumerate(facts)]
    laid.sort(key=lambda row: len(row[1]))
    for first in range(0, len(laid), rows):
        yield _places(network, laid[first : first + rows], noise)


def _places(
    network: UnifiedScoreNetwork,
    part: Sequence[tuple[int, list[int], list[bool], int]],
    noise: torch.Generator,
) -> Places:
    size = max(len(tokens) for _, tokens, _, _ in part)
    clean = torch.tensor([[*tokens, *[PAD] * (size - len(tokens))] for _, tokens, _, _ in part])
    named = torch.tensor([[*some, *[False] * (size - len(some))] for _, _, some, _ in part])
    offset = torch.arange(size)[None] - torch.tensor([[start] for *_, start in part])
    body, doc = (offset >= 0) & (clean != PAD), torch.ones_like(clean)
    keep = torch.rand(len(part), 1, generator=noise)
    masked = body & (torch.rand(clean.shape, generator=noise) > keep)
    block = torch.where(offset < 0, 0, 1 + offset.clamp(min=0) // BLOCK)
    states = before_last_slot(network, torch.where(masked, MASK, clean), clean, doc, block)
    blurred, causal = states.chunk(2, 1)
    owners = torch.tensor([[owner] for owner, *_ in part]).expand_as(clean)
    some = torch.rand(clean.shape, generator=noise) < ELSEWHERE
    ahead = (body & (named | some))[:, 1:]
    here = masked & (named | some)
    return Places(
        torch.cat([causal[:, :-1][ahead], blurred[here]]).half(),
        torch.cat([clean[:, 1:][ahead], clean[here]]),
        torch.cat([named[:, 1:][ahead], named[here]]),
        torch.cat([owners[:, 1:][ahead], owners[here]]),
    )


def joined(parts: Sequence[Places]) -> Places:
    return Places(*(torch.cat([getattr(one, name) for one in parts]) for name in Places.__dataclass_fields__))


def memories_of(owners: Tensor, vectors: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The memory of each owner, or none, and others among them, each in one of its ways to be told, `(n, v,
    w)`: vectors `(b, m, w)` and a mask `(b, m)`.
    """
    others = torch.randint(len(vectors), (len(owners), len(OTHERS)), generator=rng)
    which = torch.cat([owners[:, None], others], 1)
    told = torch.randint(vectors.shape[1], which.shape, generator=rng)
    rates = torch.tensor([1 - DROPPED, *OTHERS])
    return vectors[which, told], torch.rand(which.shape, generator=rng) < rates


def text_loss(
    network: UnifiedScoreNetwork, projector: MemoryProjector, places: Places, vectors: Tensor, rows: int = 256
) -> Loss:
    """Cross-entropy of what is to come at places drawn for each step, facts counting twice."""
    last, modulation = cast(Layer, network.trunk.layers[-1]), still(network)
    number = len(network.trunk.layers) - 1

    def loss(step: int) -> Tensor:
        rng = step_generator(1, step)
        index = torch.randint(len(places), (rows,), generator=rng)
        owners = places.owners[index]
        given = projector.conditioning(network.trunk, *_with_mask(memories_of(owners, vectors, rng)))
        nll = place_nll(network, last, modulation, given.layer(number), places, index)
        weight = 0.5 + 0.5 * places.named[index]
        return (nll * weight).sum() / weight.sum()

    return loss


def _with_mask(memories: tuple[Tensor, Tensor]) -> tuple[Tensor, None, Tensor]:
    return memories[0], None, memories[1]


def place_nll(
    network: UnifiedScoreNetwork,
    last: Layer,
    modulation: Tensor,
    given: LayerConditioning,
    places: Places,
    index: Tensor,
) -> Tensor:
    """Nats of the token that is to come at some places, `(n,)`."""
    x = last.finished(places.states[index].float()[:, None], modulation, given)
    x = F.rms_norm(x, x.shape[-1:]) * network.trunk.norm
    return F.cross_entropy(network.heads["text"](x)[:, 0].float(), places.targets[index], reduction="none")


def image_loss(
    network: UnifiedScoreNetwork,
    projector: MemoryProjector,
    prompts: Sequence[list[int]],
    latents: Tensor,
    vectors: Tensor,
    rows: int = 24,
) -> Loss:
    """Mean squared error of the velocity of pictures `(n, 64, 64)` of which `vectors (n, v, w)` tell, and
    not the prompts.
    """
    with torch.no_grad():
        said = encode_captions(network, prompts)

    def loss(step: int) -> Tensor:
        rng = step_generator(2, step)
        index = torch.randint(len(latents), (rows,), generator=rng)
        caption = said.rows(torch.randint(len(prompts), (rows,), generator=rng))
        given = projector.conditioning(network.trunk, *_with_mask(memories_of(index, vectors, rng)))
        return velocity_error(network, caption, given, latents[index].float(), rng)

    return loss


def velocity_error(
    network: UnifiedScoreNetwork, caption: Caption, given: Conditioning, x_0: Tensor, rng: torch.Generator
) -> Tensor:
    t = logit_normal(len(x_0), rng, *IMAGE_TIMES)
    x_t, eps = add_noise(x_0, t, rng)
    place = {"image": positions_after(caption.after)}
    velocity = network.flow({"image": x_t}, {"image": t}, place, None, caption.conditioning | given)["image"]
    return (velocity.float() - (eps - x_0)).square().mean()


def fit(projector: MemoryProjector, loss: Loss, run: Run, steps: int, rate: float) -> None:
    """Trains a projector in place; goes on from what `run.out` holds.

    Raises:
        ValueError: the training had ended before.
    """
    optimiser = (torch.optim.AdamW(projector.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01),)
    recent: float | None = None
    with TrainingLog(run) as log:
        for moment in training_steps(steps, run, projector, optimiser):
            set_rate(optimiser, rate_at(moment, steps, rate))
            with mixed(run.device):
                value = loss(moment.step)
            value.backward()
            nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
            apply_gradients(optimiser)
            recent = value.item() if recent is None else 0.98 * recent + 0.02 * value.item()
            log.add(moment, {"loss": value.item()}, f"loss {recent:.3f}")


def rate_at(moment: Moment, steps: int, rate: float, warm_up: int = 30) -> float:
    """A linear warm-up, and a fall to nearly nothing."""
    return rate * warm_up_share(moment, steps, warm_up) * (1 - 0.97 * moment.share)
