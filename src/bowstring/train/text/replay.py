"""Text as one task among others: what was learned is read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ...nn.network import UnifiedScoreNetwork
from ..loop import Source, step_generator
from .loop import Recipe, batches
from .packing import Corpus, Rows

TextLoss = Callable[[UnifiedScoreNetwork, Rows, int, torch.Generator], Tensor]


def text_source(corpus: Corpus, recipe: Recipe, measure: TextLoss) -> Source:
    """One pass over what was learned of text; `measure` is given rows and a number of tokens a block."""
    stream: Iterator = iter(())
    expected = -1

    def loss(network: UnifiedScoreNetwork, step: int) -> Tensor:
        nonlocal stream, expected
        if step != expected:
            stream = batches(corpus, recipe, step)
        expected = step + 1
        rng = step_generator(recipe.seed, step)
        size = recipe.blocks[int(torch.randint(len(recipe.blocks), (1,), generator=rng))]
        return measure(network, next(stream), size, rng)

    return loss
