"""The trainings that have a name; each is a function that returns its recipe."""

from __future__ import annotations

from dataclasses import replace

from ..net.config import NetworkConfig
from .fit import Recipe


def text() -> Recipe:
    """The shipped text model."""
    return Recipe(tokens=11_500_000)


def text_baseline() -> Recipe:
    """Its rival: the same network, data, tokenizer and tokens, next token only."""
    return replace(text(), name="text-baseline", baseline=True)


def tiny() -> Recipe:
    """A minute of training, to try the machinery."""
    small = NetworkConfig(width=128, depth=2, hidden=384, rank=64)
    return Recipe(name="tiny", network=small, tokens=400_000, warm_up=20)


RECIPES = {"text": text, "text-baseline": text_baseline, "tiny": tiny}
