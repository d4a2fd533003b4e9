"""The trainings that have a name; each is a function that returns its recipe."""

from __future__ import annotations

from dataclasses import replace

from ...nn.config import NetworkConfig
from .loop import Recipe


def text_recipe() -> Recipe:
    """The shipped text model."""
    return Recipe(tokens=11_500_000)


def text_baseline_recipe() -> Recipe:
    """Its rival: the same network, data, tokenizer and tokens, next token only."""
    return replace(text_recipe(), name="text-baseline", baseline=True)


def text_more_recipe() -> Recipe:
    """Goes on from `text_recipe` with both losses: more orders seen, mostly in blocks of 4, the default
    sampler's.
    """
    return replace(
        text_recipe(),
        name="text-more",
        start="text",
        tokens=5_324_800,
        ar=0.0,
        joint=0.8,
        blocks=(4, 4, 4, 8, 16),
        canvas=0.08,
        in_order=0.08,
        in_place=0.2,
        rate=1.5e-3,
        warm_up=50,
        seed=1,
    )


def text_more_baseline_recipe() -> Recipe:
    """Its rival: the baseline goes on for the same tokens."""
    return replace(text_more_recipe(), name="text-more-baseline", start="text-baseline", baseline=True)


def text_orders_recipe() -> Recipe:
    """Goes on from `text_recipe` with every order of filling blocks of 4 and 8."""
    return replace(text_more_recipe(), name="text-orders", tokens=8_000_000, blocks=(4, 4, 8), canvas=0.04)


def text_orders_baseline_recipe() -> Recipe:
    """Its rival: the baseline goes on for the same tokens."""
    return replace(text_orders_recipe(), name="text-orders-baseline", start="text-baseline", baseline=True)


def tiny_recipe() -> Recipe:
    """A minute of training, to try the machinery."""
    small = NetworkConfig(width=128, depth=2, ffn_hidden=384, rank=64)
    return Recipe(name="tiny", network=small, tokens=400_000, warm_up=20)


RECIPES = {
    "text": text_recipe,
    "text-baseline": text_baseline_recipe,
    "text-more": text_more_recipe,
    "text-more-baseline": text_more_baseline_recipe,
    "text-orders": text_orders_recipe,
    "text-orders-baseline": text_orders_baseline_recipe,
    "tiny": tiny_recipe,
}


def known_recipe(name: str) -> Recipe:
    """
    Raises:
        ValueError: an unknown recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; expected one of {sorted(RECIPES)}")
    return RECIPES[name]()
