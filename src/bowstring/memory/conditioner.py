"""MemoryConditioner: what is remembered bends what is made.

A prompt queries the store; the vectors of what fits are projected into entries, and the trunk looks at them
by cross-attention. Nothing of a memory's text is in the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..core.conditioning import NOTHING, Conditioning
from ..core.options import text, whole
from ..nn.memory import MemoryProjector
from ..nn.trunk import Trunk
from .facts import MADE, facts
from .hopfield import attention
from .record import Guide, Hit
from .store import ArrowStorage

BETA = 24.0  # inverse temperature of the weights
LEAST = 0.2  # cosine with the prompt below which a memory has nothing to do with it
SHARE = 0.3  # of the largest weight, below which a memory is left out


@dataclass(frozen=True)
class Guidance:
    """What memories make of a forward, and which ones they were; by default none. notes: why not."""

    conditioning: Conditioning = NOTHING
    memories: tuple[Guide, ...] = ()
    notes: tuple[str, ...] = ()


NO_GUIDANCE = Guidance()


@dataclass(frozen=True)
class MemoryConditioner:
    """Memories of a store as conditions of a trunk.

    projectors: by the modality that they guide. where: which memories may guide; see
    `bowstring.memory.where`. What the model has made itself never does, unless `where` names its namespace.
    """

    store: ArrowStorage
    trunk: Trunk
    projectors: Mapping[str, MemoryProjector]
    where: Mapping[str, Any] | None = None

    def get_condition(self, query: str, top_k: int = 5, modality: str = "text") -> Guidance:
        """What the memories that fit a prompt best make of a forward.

        An empty store, or one in which nothing has to do with the prompt, guides nothing.

        Args:
            top_k: the most memories that guide.

        Raises:
            ValueError: no projector of that modality.
        """
        projector = self._projector(modality)
        query, top_k = text(query, "query", blank=False), whole(top_k, "top_k", 1)
        where = facts(self.store, self.where)
        if where is None:
            return nothing("nothing is remembered")
        if self.store.embedder is None:
            return nothing("the store was opened without an embedder")
        asked = self.store.embedder([query])[0]
        found = weighted(self.store.search(asked, top_k, where), asked, projector.config.vector)
        return self._guidance(projector, found) if found else nothing("no memory has to do with the prompt")

    def _guidance(self, projector: MemoryProjector, found: list[tuple[Hit, float]]) -> Guidance:
        vectors = torch.from_numpy(np.stack([unit(hit) for hit, _ in found]))[None].to(self.trunk.norm.device)
        most = max(weight for _, weight in found)
        weights = torch.tensor([[weight / most for _, weight in found]], device=vectors.device)
        with torch.no_grad():
            conditioning = projector.conditioning(self.trunk, vectors, weights)
        guides = tuple(Guide(hit.memory.id, weight, hit.memory.text) for hit, weight in found)
        return Guidance(conditioning, guides)

    def _projector(self, modality: str) -> MemoryProjector:
        if modality not in self.projectors:
            raise ValueError(
                f"memories do not guide {modality} of this model; they guide {[*self.projectors]}"
            )
        return self.projectors[modality]

    def within(self, where: Mapping[str, Any] | None) -> MemoryConditioner:
        """The same with another filter."""
        return replace(self, where=where)


def unit(hit: Hit) -> np.ndarray:
    """The vector of a memory, of length 1."""
    vector = np.asarray(hit.memory.vector, np.float32)
    return vector / np.linalg.norm(vector)


def weighted(hits: list[Hit], query: np.ndarray, width: int) -> list[tuple[Hit, float]]:
    """Memories that have to do with a query `(w,)`, with weights that are 1 together: one look of modern
    Hopfield retrieval. The order depends on weights and ids alone.
    """
    near = [
        hit
        for hit in hits
        if hit.similarity is not None
        and hit.similarity >= LEAST
        and hit.memory.vector is not None
        and hit.memory.vector.shape == (width,)
    ]
    if not near:
        return []
    shares = attention(np.stack([unit(hit) for hit in near]), query / np.linalg.norm(query), BETA)
    least = SHARE * shares.max()
    kept = [(hit, float(share)) for hit, share in zip(near, shares, strict=True) if share >= least]
    total = sum(share for _, share in kept)
    return sorted(((hit, share / total) for hit, share in kept), key=lambda one: (-one[1], one[0].memory.id))


def nothing(why: str) -> Guidance:
    return Guidance(notes=(f"no memory guided this: {why}",))


def keep_made(
    store: ArrowStorage, made: str, prompt: str, guides: tuple[Guide, ...], picture: bytes | None = None
) -> str:
    """Remembers what the model made of a prompt, marked as made by it, and returns the id."""
    return store.add(
        made,
        namespace=MADE,
        source="made by the model",
        tags=["made"],
        payload={"prompt": prompt, "memories": [guide.to_json() for guide in guides]},
        picture=picture,
    )
