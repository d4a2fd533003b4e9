"""A packed model folder in numpy: its trunk as a decoder that is told one time, and the arrays of its heads.

Shapes: l tokens, d width. This module knows nothing of torch, nor of anything beside numpy.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..decode.decoder import Decoder, DenseMatrix, LayerWeights, PackedMatrix, linear
from ..nn.config import TIME_FEATURES, TIME_RANK, NetworkConfig
from ..text.modulated import Embedding, config_of, modulated
from ..weights.format.parquet import WeightsFile, WeightsFiles
from ..weights.layout import METADATA, network_files
from ..weights.quant.arrowquant import PARTS, ArrowQuant
from ..weights.quant.rounded import read_array


def sinusoid(t: float) -> np.ndarray:
    """As `nn.trunk.sinusoid`, `(1, 256)`."""
    half = TIME_FEATURES // 2
    rates = np.exp(np.float32(-np.log(10_000.0)) * np.arange(half, dtype=np.float32) / half)
    angle = np.float32(1000.0 * t) * rates
    return np.concatenate([np.sin(angle), np.cos(angle)])[None]


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


class EdgeModel:
    """A model folder whose trunk is packed.

    Raises:
        ValueError: it is not, or a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about: dict[str, Any] = json.loads((folder / METADATA).read_text("utf-8"))
        diffusion, own, sizes = (about[name] for name in ("diffusion_config", "bowstring", "quantization"))
        self.bits, self.context = sizes["bit_width"], own["context"]
        if self.bits not in (2, 4):
            raise ValueError(f"{folder} has weights of {self.bits} bits; expected 2 or 4")
        network = diffusion["score_network"]
        self.config = NetworkConfig(
            width=network["hidden_dim"],
            depth=network["num_layers"],
            ffn_hidden=network["intermediate_dim"],
            **{name: own[name] for name in ("vocab", "rank", "cross_every")},
            speaker=own.get("speaker", 0),
        )
        self.schedulers = diffusion["scheduler"]
        modalities = [name for name in diffusion["supported_modalities"] if name != "code"]
        self.arrays = WeightsFiles([WeightsFile(path) for path in network_files(folder, modalities)])
        self.arrays.verify()
        self.array = cache(self._array)
        self.matrix = cache(self._matrix)

    def _array(self, name: str, *shape: int) -> np.ndarray:
        """An array of this name and shape, FP32."""
        return read_array(self.arrays, name, shape)

    def _matrix(self, name: str, outputs: int, inputs: int) -> PackedMatrix:
        parts = (self.arrays[f"{name}.{part}"] for part in PARTS)
        return PackedMatrix(ArrowQuant(self.bits, (outputs, inputs), *parts))

    def map(self, x: np.ndarray, name: str, outputs: int) -> np.ndarray:
        """A linear map of rows `(l, k)` by its name, with its bias."""
        weight, bias = self.array(f"{name}.weight", outputs, x.shape[1]), self.array(f"{name}.bias", outputs)
        return linear(x, weight, bias)

    @property
    def knows_jumps(self) -> bool:
        """Whether few steps were distilled."""
        return bool(self.array("trunk.modulation.step_size.weight", TIME_RANK, TIME_FEATURES).any())

    def modulation(self, t: float, step_size: float) -> np.ndarray:
        """`(6, d)`, as `TimeModulation`."""
        change = self.array("trunk.modulation.step_size.weight", TIME_RANK, TIME_FEATURES)
        features = self.map(sinusoid(t), "trunk.modulation.time", TIME_RANK)
        features = features + linear(sinusoid(step_size) - sinusoid(0.0), change)
        made = self.map(silu(features), "trunk.modulation.out", 6 * self.config.width)
        return made.reshape(6, self.config.width)

    def layer(self, i: int, modulation: np.ndarray) -> LayerWeights:
        c, place = self.config, f"trunk.layers.{i}"
        shapes = {
            "attention.qkv": (3 * c.width, c.width),
            "attention.out": (c.width, c.width),
            "feed_forward.up": (2 * c.ffn_hidden, c.width),
            "feed_forward.down": (c.width, c.ffn_hidden),
        }
        norms = (self.array(f"{place}.attention.{name}", 64) for name in ("q_norm", "k_norm"))
        offset = self.array(f"{place}.offset", 6, c.width)
        return modulated(
            modulation + offset, lambda name: self.matrix(f"{place}.{name}.weight", *shapes[name]), *norms
        )

    def decoder(self, ends: Embedding | DenseMatrix, context: int, t: float, step_size: float) -> Decoder:
        """The trunk at this time, with these ends."""
        modulation = self.modulation(t, step_size)
        layers = [self.layer(i, modulation) for i in range(self.config.depth)]
        norm = self.array("trunk.norm", self.config.width)
        return Decoder(config_of(self.config, context), ends, layers, norm)

    def text_decoder(self) -> Decoder:
        """What writes: the trunk at time 0 between the ends of the text head."""
        c = self.config
        shapes: dict[str, tuple[int, ...]] = {
            "table": (c.vocab, c.rank),
            "up.weight": (c.width, c.rank),
            "down.weight": (c.rank, c.width),
            "bias": (c.vocab,),
            "modality": (c.width,),
        }
        ends = Embedding.of(*(self.array(f"heads.text.{name}", *shape) for name, shape in shapes.items()))
        return self.decoder(ends, self.context, 0.0, 0.0)

    def passed(self, x: np.ndarray, t: float, step_size: float) -> np.ndarray:
        """Rows `(l, d)` that all see each other, at one time, behind the last norm."""
        count = len(x)
        decoder = self.decoder(DenseMatrix(x), max(count, self.context), t, step_size)
        hidden = decoder.forward(np.arange(count), decoder.cache(), np.ones((count, count), bool))
        return decoder.normal(hidden)
