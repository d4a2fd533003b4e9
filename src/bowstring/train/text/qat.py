"""From a trained network to few bits: scales that respect what inputs do, and training with the rounding
inside.

Shapes: n outputs, k inputs, g groups of 64 inputs. The teacher is the network as it was trained; the
student has its weights rounded in every forward, and learns the teacher's whole distributions, next token
and masked tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ...nn.network import UnifiedScoreNetwork
from ...weights.quant.arrowquant import GROUP, ArrowQuant, best_scales, grouped
from ...weights.quant.packed import linears, packed
from ...weights.tensors import round_module
from ..loop import apply_gradients, set_rate, step_generator, training_steps
from ..optim import mixed
from ..progress import TrainingLog
from ..schedule import Moment, Run, warm_up_share
from .loop import WHOLE_BODY, Recipe, batches
from .losses import blocks_of, draw_noise, masked_tokens, on, paired_hidden
from .packing import Corpus, Rows

WARM_UP = 20  # steps


@dataclass(frozen=True)
class QATRecipe:
    """A finishing run; `recipe` gives rows, lengths, blocks and seed."""

    bits: int
    steps: int
    rate: float = 3e-4
    recipe: Recipe = Recipe()  # noqa: RUF009  frozen, all fields immutable


def activation_second_moments(network: UnifiedScoreNetwork, rows: Rows) -> dict[str, np.ndarray]:
    """Mean square of every input of every matrix of the trunk over some rows, by parameter name."""
    found: dict[str, np.ndarray] = {}
    hooks = []
    for name, owner, attribute, _ in linears(network.trunk):

        def note(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            found[name] = inputs[0].flatten(0, -2).square().mean(0).cpu().numpy()

        hooks.append(getattr(owner, attribute).register_forward_pre_hook(note))
    with torch.no_grad():
        block = blocks_of(rows, 8)
        noise = draw_noise(rows, block, torch.Generator().manual_seed(0)).to(network.device)
        paired_hidden(network, rows, block, masked_tokens(rows, noise))
    for hook in hooks:
        hook.remove()
    return found


def quantise_at_once(network: UnifiedScoreNetwork, bits: int, rows: Rows) -> UnifiedScoreNetwork:
    """A packed copy with scales by least squares, weighed by what the inputs of `rows` do."""
    weight = activation_second_moments(network, rows)
    network = copy.deepcopy(network).cpu()
    weights = network.state_dict()
    return packed(
        network,
        lambda name, _: ArrowQuant.quantise(weights[name].numpy(), bits, weight.get(name)),
    )


class FakeQuantisation(nn.Module):
    """A weight as it will be after packing; gradients pass to the weight and to its scales.

    Source: Esser et al. 2020, arXiv 1902.08153, eq. 1-5, with one scale per group and no gradient rescaling.
    """

    def __init__(self, weight: Tensor, bits: int) -> None:
        super().__init__()
        self.bits = bits
        groups = grouped(weight.detach().cpu().numpy())
        self.scale = nn.Parameter(
            torch.from_numpy(best_scales(groups, np.ones_like(groups[0]), bits)).to(weight.device)
        )

    def forward(self, weight: Tensor) -> Tensor:
        scale = self.scale.clamp(min=1e-8).unsqueeze(-1)
        ratio = weight.unflatten(-1, (-1, GROUP)) / scale
        if self.bits == 2:
            inside = ratio.clamp(-3, 3)
            level = 2 * ((inside + 3) / 2).round() - 3
        else:
            inside = ratio.clamp(-8, 7)
            level = inside.round()
        return ((inside + (level - inside).detach()) * scale).flatten(-2)


def qat_student(network: UnifiedScoreNetwork, bits: int) -> UnifiedScoreNetwork:
    """A trainable copy whose matrices are rounded on the fly."""
    student = copy.deepcopy(network).requires_grad_(requires_grad=True)
    for name, owner, attribute, _ in linears(student.trunk):
        if ".cross." not in name:
            linear = getattr(owner, attribute)
            parametrize.register_parametrization(linear, "weight", FakeQuantisation(linear.weight, bits))
    return student


def pack_student(student: UnifiedScoreNetwork, bits: int) -> UnifiedScoreNetwork:
    """The student with its rounding made real."""
    inside, scale = ".parametrizations.weight.original", ".parametrizations.weight.0.scale"
    state = {name: value.cpu() for name, value in student.state_dict().items()}
    plain = UnifiedScoreNetwork(student.config)
    plain.load_state_dict(
        {k.replace(inside, ".weight"): v for k, v in state.items() if not k.endswith(scale)}
    )

    def make(name: str, _: tuple[int, int]) -> ArrowQuant:
        weight, found = (
            plain.get_parameter(name).detach().numpy(),
            state.get(name.removesuffix(".weight") + scale),
        )
        if found is None:
            return ArrowQuant.quantise(weight, bits)
        return ArrowQuant.with_scales(weight, found.clamp(min=1e-8).numpy(), bits)

    return packed(plain.eval(), make)


def weighted_kl(teacher: Tensor, student: Tensor, weight: Tensor) -> Tensor:
    """Mean KL(teacher || student) of logits `(r, v)`, weighted, nats."""
    kl = F.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    return (weight * kl).sum() / weight.sum()


def distillation_loss(
    teacher: UnifiedScoreNetwork, student: UnifiedScoreNetwork, rows: Rows, size: int, rng: torch.Generator
) -> Tensor:
    """KL of next tokens plus KL of masked tokens, nats per token."""
    block = blocks_of(rows, size)
    noise = draw_noise(rows, block, rng).to(teacher.device)
    noisy, (predict,) = masked_tokens(rows, noise), on(teacher.device, rows.predict)
    predicted = predict[:, 1:]
    with torch.no_grad():
        wanted_noisy, wanted_clean = paired_hidden(teacher, rows, block, noisy)
        head = teacher.heads["text"]
        targets = head(wanted_noisy[noise.masked]).float(), head(wanted_clean[:, :-1][predicted]).float()
    got_noisy, got_clean = paired_hidden(student, rows, block, noisy)
    head = student.heads["text"]
    masked = weighted_kl(targets[0], head(got_noisy[noise.masked]).float(), noise.weight[noise.masked])
    following = head(got_clean[:, :-1][predicted]).float()
    return masked + weighted_kl(targets[1], following, following.new_ones(len(following)))


def fit_qat(
    network: UnifiedScoreNetwork, corpus: Corpus, plan: QATRecipe, run: Run
) -> Iterator[tuple[Moment, float, UnifiedScoreNetwork]]:
    """Yields (moment, loss, student) after each step; resumes from `run.out`."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    teacher = copy.deepcopy(network).eval().requires_grad_(requires_grad=False).to(run.device)
    student = qat_student(network, plan.bits).to(run.device)
    optimiser = (torch.optim.AdamW(student.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.0),)
    stream: Iterator[Rows] | None = None
    for moment in training_steps(plan.steps, run, student, optimiser):
        stream = batches(corpus, recipe, moment.step) if stream is None else stream
        set_rate(optimiser, plan.rate * min(warm_up_share(moment, plan.steps, WARM_UP), 1 - moment.share))
        rng = step_generator(recipe.seed, moment.step)
        whole = torch.rand(1, generator=rng).item() < recipe.canvas
        size = (
            WHOLE_BODY
            if whole
            else recipe.blocks[int(torch.randint(len(recipe.blocks), (1,), generator=rng))]
        )
        with mixed(run.device):
            loss = distillation_loss(teacher, student, next(stream), size, rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        apply_gradients(optimiser)
        yield moment, loss.item(), student


def run_qat(network: UnifiedScoreNetwork, corpus: Corpus, plan: QATRecipe, run: Run) -> UnifiedScoreNetwork:
    """The network, packed, after the steps of a plan, its heads in 8 bits; see `fit_qat`."""
    student = None
    with TrainingLog(run) as log:
        for moment, loss, student in fit_qat(network, corpus, plan, run):  # noqa: B007
            log.add(moment, {"loss": loss}, f"divergence {loss:.3f} nats a token", f"INT{plan.bits}")
    assert student is not None
    small = pack_student(student, plan.bits)
    round_module(small.heads)
    return small
