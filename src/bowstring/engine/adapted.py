"""The engine takes adapters: small files that bend its network and leave its weights alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from ..core.conditioning import Conditioning
from ..nn.adapters import Adapter
from ..nn.network import UnifiedScoreNetwork
from ..text.tokenizer import TextTokenizer
from ..weights.adapter_set import AdapterSet
from ..weights.adapters import base_hash, load_adapter
from ..weights.layout import TRUNK, find
from ..weights.metadata import Metadata
from ..weights.shipped import adapter_folder
from .loaded import LoadedModel

KIND: Literal["diffusion"] = "diffusion"  # how every model of ours writes
VIEWS = 4  # choices of adapters that stay ready
SHARED = {"image": "image_pipeline", "audio": "speech_pipeline"}  # parts with codecs that no adapter changes
Part = TypeVar("Part")


class AdaptedModel(LoadedModel):
    """A model, and the adapters that it has at hand."""

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        tokenizer: TextTokenizer,
        metadata: Metadata,
        folder: Path | None = None,
    ) -> None:
        super().__init__(network, tokenizer, metadata, folder)
        self.adapters = AdapterSet[Adapter]()
        self._bent: dict[tuple[tuple[str, float], ...], Self] = {}
        self._plain: Self | None = None  # of what this is a view
        self.said: dict[str, float] = {}  # of the adapters of a view

    @property
    def base(self) -> str:
        """What tells this model's trunk from others: the hash that adapters name."""
        return self._part("base", lambda: base_hash(find(self._place(), TRUNK)))

    def load_adapter(self, path: Path | str, name: str | None = None, weight: float = 1.0) -> str:
        """Brings in an adapter and returns its name, by default its folder's. It is active at `weight` until
        `set_adapters` says otherwise; 0 only makes it known.

        Raises:
            FileNotFoundError: there is none. ValueError: it belongs to another model or does not fit.
        """
        folder = adapter_folder(path)
        adapter, card = load_adapter(folder, self.network.trunk, base=self.base, kind=KIND)
        name = self.adapters.add(folder.resolve().name if name is None else name, adapter, card, weight)
        self._bent = {}
        return name

    def set_adapters(self, weights: Mapping[str, float]) -> None:
        """Which adapters are active, with what weights, in calls that name none."""
        self.adapters.active = self.adapters.checked(weights)

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter."""
        self.adapters.remove(name)
        self._bent = {}

    def with_adapters(self, weights: Mapping[str, float] | None) -> Self:
        """An engine over the same weights that these adapters bend; None means those that are active."""
        chosen = self.adapters.chosen(weights)
        if not chosen:
            return self
        key = tuple(chosen.items())
        if key not in self._bent:
            kept = [*self._bent.items()][-VIEWS + 1 :]
            self._bent = {**dict(kept), key: self.bent(self._conditioning(chosen), chosen)}
        return self._bent[key]

    def bent(self, conditioning: Conditioning, names: Mapping[str, float] | None = None) -> Self:
        """An engine over the same weights whose every pass these deltas and branches bend.

        Args:
            names: what results say of them.
        """
        view = copy.copy(self)
        view.network, view._plain = self.network.bent(conditioning), self
        view.adapters, view._bent, view._parts = AdapterSet[Adapter](), {}, {}
        view.said = dict(names or {})
        return view

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Another engine with weights of its own, and the same adapters at hand."""
        made = super().__deepcopy__(memo)
        made.adapters, made.said = copy.copy(self.adapters), dict(self.said)
        return made

    def _conditioning(self, weights: Mapping[str, float]) -> Conditioning:
        made = Conditioning()
        for name, weight in weights.items():
            made = made | self.adapters.loaded[name][0].conditioning(weight=weight)
        return made

    def _part(self, name: str, build: Callable[[], Part]) -> Part:
        """As ever; codecs are those of the engine that this is a view of."""
        if self._plain is not None and name in SHARED:
            return super()._part(name, lambda: rebound(getattr(self._plain, SHARED[name]), self.network))
        return super()._part(name, build)


def rebound(pipeline: Part, network: Any) -> Part:
    """A pipeline with another network in it."""
    other = copy.copy(pipeline)
    other.network = network  # type: ignore[attr-defined]
    return other
