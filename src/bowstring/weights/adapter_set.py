"""The adapters that a model has at hand, and which of them are active with what weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from ..core.options import listed, real, text
from .adapter_files import AdapterCard

MOST_WEIGHT = 10.0
Bend = TypeVar("Bend")


class AdapterSet(Generic[Bend]):
    """Adapters by their names. active: weights of those that are used when a call names none."""

    def __init__(self) -> None:
        self.loaded: dict[str, tuple[Bend, AdapterCard]] = {}
        self.active: dict[str, float] = {}

    def add(self, name: str, bend: Bend, card: AdapterCard, weight: float) -> str:
        """Makes an adapter known, and active where its weight is not 0; one of the same name is replaced."""
        name = text(name, "name", blank=False)
        weights = {**self.active, name: real(weight, "weight", -MOST_WEIGHT, MOST_WEIGHT)}
        self.loaded = {**self.loaded, name: (bend, card)}
        self.active = {one: weight for one, weight in weights.items() if weight}
        return name

    def remove(self, name: str) -> None:
        """Forgets an adapter.

        Raises:
            ValueError: there is none of this name.
        """
        self.checked({name: 1.0})
        self.loaded = {one: both for one, both in self.loaded.items() if one != name}
        self.active = {one: weight for one, weight in self.active.items() if one != name}

    def checked(self, weights: Any) -> dict[str, float]:
        """Weights by name; those of 0 are left out.

        Raises:
            TypeError: no mapping of names to numbers. ValueError: an unknown name, or a weight out of range.
        """
        if not isinstance(weights, Mapping):
            raise TypeError(f"adapters are {weights!r}; expected weights by name, as {{'tales': 1.0}}")
        for name in weights:
            if name not in self.loaded:
                there = f"there are {listed([*self.loaded], 'and')}" if self.loaded else "none is loaded"
                raise ValueError(f"there is no adapter {name!r}; {there}. load_adapter(path) brings one in")
        found = {
            name: real(weight, f"the weight of {name!r}", -MOST_WEIGHT, MOST_WEIGHT)
            for name, weight in weights.items()
        }
        return {name: weight for name, weight in found.items() if weight}

    def chosen(self, weights: Any) -> dict[str, float]:
        """The weights that a call names, or those that are active."""
        return dict(self.active) if weights is None else self.checked(weights)
