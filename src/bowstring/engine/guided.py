"""Memories and the engine: what guides, and what is kept of what was made."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.options import flag, settle
from ..memory.conditioner import NO_GUIDANCE, Guidance, MemoryConditioner, keep_made, nothing
from ..memory.record import Guide
from ..memory.store import ArrowStorage
from ..weights.layout import MEMORY
from ..weights.memory import load_projectors
from ..weights.quant.packed import PackedTrunk, native_linears
from ..weights.shipped import MULTIMODAL
from .adapted import AdaptedModel


@dataclass(frozen=True)
class Kept:
    """Whether memories guide, and whether what was made is remembered."""

    memory_guided: bool = False
    write_back: bool = False

    def __post_init__(self) -> None:
        settle(
            self,
            memory_guided=flag(self.memory_guided, "memory_guided"),
            write_back=flag(self.write_back, "write_back"),
        )


class GuidedModel(AdaptedModel):
    """A model that memories guide."""

    @property
    def conditioner(self) -> MemoryConditioner | None:
        """What makes conditions of memories; None where the model has no projectors or the engine no memory.

        Raises:
            ValueError: projectors of another trunk, or of vectors that the store does not make.
        """
        if self.memory is None or self.folder is None or not (self.folder / MEMORY).exists():
            return None
        found = self._part("conditioner", self._conditioner)
        return found if self.memory_where is None else found.within(self.memory_where)

    def _conditioner(self) -> MemoryConditioner:
        assert self.memory is not None
        path = self._place() / MEMORY
        projectors, card = load_projectors(path)
        if card.base != self.base:
            raise ValueError(f"{path} is of another trunk; `bowstring train memory` makes one that fits")
        own = None if self.memory.embedder is None else self.memory.embedder.identity
        if own is not None and own != card.embedder:
            raise ValueError(
                f"{path} projects vectors of {card.embedder['name']!r} ({card.embedder['hash']}), the store "
                f"has those of {own['name']!r} ({own['hash']}). Make them anew, or `bowstring train memory`"
            )
        trunk = self.network.trunk
        if isinstance(trunk, PackedTrunk):
            for one in projectors.values():
                native_linears(one)
        return MemoryConditioner(self.memory, trunk, projectors)

    def _guidance(self, prompt: str, modality: str, *, memory_guided: bool) -> Guidance:
        """What memories make of a prompt; nothing, with a note, where there are none."""
        if not memory_guided:
            return NO_GUIDANCE
        if self.memory is None:
            return nothing("the engine has none")
        if (conditioner := self.conditioner) is None:
            return nothing(f"this model has no projectors of memories; {MULTIMODAL.name!r} has them")
        return conditioner.get_condition(prompt, modality=modality)

    def _has_memory(self) -> ArrowStorage:
        """
        Raises:
            ValueError: there is no memory to write to.
        """
        if self.memory is None:
            raise ValueError("write_back needs a memory; ArrowEngine.load(memory=FOLDER) opens one")
        return self.memory

    def _keep(self, made: str, prompt: str, guides: tuple[Guide, ...], picture: bytes | None = None) -> None:
        """Remembers what was made."""
        keep_made(self._has_memory(), made, prompt, guides, picture)
