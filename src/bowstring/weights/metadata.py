"""metadata.json of a model folder: the names of the specification, and under `bowstring` what we need beside.

    {"model_type": "unified_diffusion",
     "diffusion_config": {
       "score_network": {"hidden_dim": 384, "num_layers": 6, "num_heads": 6, "intermediate_dim": 1024},
       "scheduler": {"type": "linear", "num_train_steps": 1000, "num_inference_steps": 4},
       "supported_modalities": ["text", "code"],
       "consistency_distilled": false},
     "quantization": {"method": "arrowquant", "bit_width": 4},
     "bowstring": {"version": 2, "vocab": 4096, "rank": 192, "cross_every": 3, "context": 256, "blocks": [4]}}

Where modalities differ, `scheduler` is an object with one such object for each. Times are continuous; step
k of training is t = k / num_train_steps. A schedule of type custom is given by `bowstring.schedules`: times
that rise from 0 to 1, and how much is kept at each. Unknown keys are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from ..nn.config import HEAD, NetworkConfig

Modality = Literal["text", "code", "image", "audio", "avatar"]
Positive = Annotated[int, Field(ge=1)]
BLOCKS = (4, 8, 16)
STEPS = {"text": 4, "image": 16, "audio": 8, "avatar": 8}  # of inference, unless a file says otherwise
METHODS = {32: "none", 16: "fp16", 4: "arrowquant", 2: "arrowquant"}  # by the bits of a weight


class Closed(BaseModel):
    """An object that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ScoreNetwork(Closed):
    """Sizes of the trunk."""

    hidden_dim: Positive
    num_layers: Positive
    num_heads: Positive
    intermediate_dim: Positive


class Scheduler(Closed):
    """The noise of one modality, and how many steps take it away unless asked otherwise."""

    type: Literal["linear", "cosine", "sqrt", "custom"] = "linear"
    num_train_steps: Positive = 1000
    num_inference_steps: Positive


def _one_or_several(value: Any) -> str:
    several = (
        isinstance(value, dict) and value and all(isinstance(one, dict | Scheduler) for one in value.values())
    )
    return "several" if several else "one"


class DiffusionConfig(Closed):
    """Network, noise, modalities, and whether few steps were distilled."""

    score_network: ScoreNetwork
    scheduler: Annotated[
        Annotated[Scheduler, Tag("one")] | Annotated[dict[Modality, Scheduler], Tag("several")],
        Discriminator(_one_or_several),
    ]
    supported_modalities: Annotated[list[Modality], Field(min_length=1)]
    consistency_distilled: bool = False


class Quantization(Closed):
    """How weights are stored."""

    method: Literal["none", "fp16", "arrowquant"]
    bit_width: Literal[32, 16, 4, 2]


class CustomSchedule(Closed):
    """Values of `keep` at times, linear in between."""

    times: list[float]
    keep: list[float]


class Settings(TypedDict, total=False):
    """What a training says of its network beside the sizes."""

    context: int
    blocks: Sequence[int]
    distilled: bool
    split_rule: int
    picture_groups: Sequence[int]


class Own(Closed):
    """What this program needs beside the specification."""

    version: Literal[2] = 2
    vocab: Positive
    rank: Positive
    cross_every: Positive
    context: Annotated[int, Field(ge=2)] = 256
    blocks: Annotated[list[Positive], Field(min_length=1)]
    split_rule: int = 1  # of train/data/splits.py: what was held out of its training
    speaker: Literal[0, 64] = 0  # see nn/config.py
    duration_flow: Literal[0, 1] = 0
    picture_groups: list[int] = [3]  # emojibase's, of the things that it learned to paint: animals, plants
    schedules: dict[Modality, CustomSchedule] = {}


class Metadata(Closed):
    """What metadata.json may say."""

    model_type: Literal["unified_diffusion"] = "unified_diffusion"
    diffusion_config: DiffusionConfig
    quantization: Quantization
    bowstring: Own

    @model_validator(mode="after")
    def _fits(self) -> Metadata:
        sizes, quantization, bits = self.diffusion_config.score_network, self.quantization, self.bits
        if sizes.hidden_dim != HEAD * sizes.num_heads:
            raise ValueError(f"hidden_dim {sizes.hidden_dim} is not {HEAD} times num_heads {sizes.num_heads}")
        if METHODS[bits] != quantization.method:
            raise ValueError(f"method {quantization.method!r} has no weights of {bits} bits")
        if "code" in self.diffusion_config.supported_modalities and "text" not in self.modalities:
            raise ValueError("code is written by the head of text, which is not among the modalities")
        for modality in self.modalities:
            custom = self.scheduler(modality).type == "custom"
            if custom != (modality in self.bowstring.schedules):
                raise ValueError(f"{modality}: type custom and an entry in bowstring.schedules go together")
        return self

    @classmethod
    def of(
        cls, config: NetworkConfig, heads: Sequence[str], bits: int = 16, **settings: Unpack[Settings]
    ) -> Metadata:
        """The metadata of a network that was trained with linear noise."""
        steps = {name: STEPS[name] for name in heads}
        settings.setdefault("picture_groups", [3] if "image" in heads else [])
        several = {name: {"num_inference_steps": count} for name, count in steps.items()}
        return cls.model_validate(
            {
                "diffusion_config": {
                    "score_network": {
                        "hidden_dim": config.width,
                        "num_layers": config.depth,
                        "num_heads": config.attention_heads,
                        "intermediate_dim": config.ffn_hidden,
                    },
                    "scheduler": several if len(heads) > 1 else several[heads[0]] | {"type": "linear"},
                    "supported_modalities": [
                        one for name in heads for one in ([name, "code"] if name == "text" else [name])
                    ],
                    "consistency_distilled": settings.pop("distilled", False),
                },
                "quantization": {"method": METHODS[bits], "bit_width": bits},
                "bowstring": {
                    "vocab": config.vocab,
                    "rank": config.rank,
                    "cross_every": config.cross_every,
                    "speaker": config.speaker,
                    "duration_flow": config.duration_flow,
                    **(settings | {"blocks": [*settings.get("blocks", BLOCKS)]}),
                },
            }
        )

    @property
    def config(self) -> NetworkConfig:
        """The sizes as the network takes them."""
        sizes, own = self.diffusion_config.score_network, self.bowstring
        return NetworkConfig(
            width=sizes.hidden_dim,
            depth=sizes.num_layers,
            ffn_hidden=sizes.intermediate_dim,
            vocab=own.vocab,
            rank=own.rank,
            cross_every=own.cross_every,
            speaker=own.speaker,
            duration_flow=own.duration_flow,
        )

    @property
    def modalities(self) -> list[str]:
        """Those that have a head of their own."""
        return [name for name in self.diffusion_config.supported_modalities if name != "code"]

    @property
    def context(self) -> int:
        """The most tokens of a text."""
        return self.bowstring.context

    @property
    def blocks(self) -> list[int]:
        """Block sizes of the training of text."""
        return self.bowstring.blocks

    @property
    def distilled(self) -> bool:
        """Whether few steps were learned from many."""
        return self.diffusion_config.consistency_distilled

    @property
    def split_rule(self) -> int:
        """Which texts and pictures were held out of its training, a rule of train/data/splits.py."""
        return self.bowstring.split_rule

    @property
    def picture_groups(self) -> frozenset[int]:
        """Groups of the things that it learned to paint; see train/data/gallery.py."""
        return frozenset(self.bowstring.picture_groups)

    def settings(self) -> Settings:
        """What another network trained alike says of itself."""
        return Settings(
            context=self.context,
            blocks=self.blocks,
            distilled=self.distilled,
            split_rule=self.split_rule,
            picture_groups=self.bowstring.picture_groups,
        )

    @property
    def bits(self) -> int:
        """Bits of a weight of the trunk."""
        return self.quantization.bit_width

    def scheduler(self, modality: str) -> Scheduler:
        """Noise and default steps of a modality.

        Raises:
            ValueError: the file has none for it.
        """
        found = self.diffusion_config.scheduler
        if isinstance(found, Scheduler):
            return found
        name = "text" if modality == "code" and "code" not in found else modality
        if name not in found:
            raise ValueError(f"scheduler has no entry for {modality}; it has {sorted(found)}")
        return found[name]


class Version1(Closed):
    """metadata.json as it was before it took the specification's names."""

    model_type: Literal["unified_diffusion"] = "unified_diffusion"
    version: Literal[1] = 1
    network: dict[str, int]
    modalities: Annotated[list[Literal["text", "image", "audio", "avatar"]], Field(min_length=1)]
    noise_schedule: Literal["linear"] = "linear"
    blocks: list[int] = [4, 8, 16]
    context: Annotated[int, Field(ge=2)] = 256
    distilled: bool = False
    split_rule: int = 1
    quantization: Literal["none", "fp16", "int4", "int2"] = "fp16"

    def now(self) -> Metadata:
        """The same in the names of today."""
        bits = {"none": 32, "fp16": 16, "int4": 4, "int2": 2}[self.quantization]
        return Metadata.of(
            NetworkConfig.from_json(self.network),
            [*self.modalities],
            bits,
            context=self.context,
            blocks=self.blocks,
            distilled=self.distilled,
            split_rule=self.split_rule,
        )


def read_metadata(folder: Path) -> Metadata:
    """
    Raises:
        FileNotFoundError: no model lies in this folder.
        ValueError: metadata.json says something that the schema does not have.
    """
    path = folder / "metadata.json"
    if not path.exists():
        raise FileNotFoundError(
            f"{folder} holds no model: metadata.json is missing. Give a folder that `bowstring train` wrote"
        )
    try:
        data = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if isinstance(data, dict) and data.get("model_type") == "physical_fields":
        raise ValueError(f"{folder} is a model of physical fields; `bowstring sample` draws from it")
    old = isinstance(data, dict) and data.get("version") == 1
    try:
        return Version1.model_validate(data).now() if old else Metadata.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()
        )
        known = sorted((Version1 if old else Metadata).model_fields)
        raise ValueError(f"{path}: {faults}. Known keys: {known}") from None
