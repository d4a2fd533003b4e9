"""Our own text stream as a decoder: at time 0 its modulation is constant, so it is a Llama with shifts and
gates.

Shapes: r rows, d width, v tokens. The cache is causal; a noisy block sees the cache and all of itself.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..core import conditioning as bends
from ..core.conditioning import Conditioning
from ..decode.decoder import Decoder, DenseMatrix, LayerWeights, PackedMatrix
from ..decode.deltas import Branch, Deltas, LowRank
from ..nn.heads.text import TextHead
from ..nn.network import UnifiedScoreNetwork
from ..nn.trunk import Layer
from ..weights.quant.packed import matrices
from .modulated import Embedding, config_of, modulated

MAPS = {
    "attention.qkv": "q",
    "attention.out": "out",
    "feed_forward.up": "gate",
    "feed_forward.down": "down",
}


def array_of(parameter: Tensor) -> np.ndarray:
    return np.ascontiguousarray(parameter.detach().float().cpu().numpy())


@torch.no_grad()
def decoder_of(network: UnifiedScoreNetwork, context: int, step_size: float = 0.0) -> Decoder:
    """A packed or plain network's text stream, told a shortcut step size."""
    trunk, packed = network.trunk, matrices(network)
    zero = torch.zeros(1, 1, device=trunk.norm.device)
    modulation = trunk.modulation(zero, zero + step_size)[0, 0]

    def layer_of(i: int, layer: Layer) -> LayerWeights:
        def matrix(name: str) -> PackedMatrix | DenseMatrix:
            if (found := packed.get(f"trunk.layers.{i}.{name}.weight")) is not None:
                return PackedMatrix(found)
            return DenseMatrix(array_of(cast(Tensor, layer.get_submodule(name).weight)))

        norms = (array_of(layer.attention.q_norm), array_of(layer.attention.k_norm))
        return modulated(array_of(modulation + layer.offset), matrix, *norms)

    layers = [layer_of(i, layer) for i, layer in enumerate(cast(list[Layer], trunk.layers))]
    head = cast(TextHead, network.heads["text"])
    parts = (head.table, head.up.weight, head.down.weight, head.bias, head.modality)
    ends = Embedding.of(*map(array_of, parts))
    decoder = Decoder(config_of(network.config, context), ends, layers, array_of(trunk.norm))
    return decoder.with_deltas(deltas) if (deltas := deltas_of(network.bends)) else decoder


def deltas_of(conditioning: Conditioning) -> Deltas:
    """Deltas and branches of a conditioning as a decoder takes them; maps of cross-attention have nothing to
    look at here.

    Raises:
        ValueError: a control that differs from token to token.
    """
    if any(
        branch.control is not None and branch.control.shape[:2] != (1, 1)
        for some in conditioning.branches.values()
        for branch in some
    ):
        raise ValueError("a control differs from token to token; the decoder takes one for all")
    low_rank = {
        (int(number), MAPS[name]): tuple(
            LowRank(array_of(one.a), None if one.b is None else array_of(one.b), one.scale) for one in some
        )
        for full, some in conditioning.deltas.items()
        for _, number, name in [full.split(".", 2)]
        if name in MAPS
    }
    return Deltas(low_rank, {i: tuple(map(branch_of, some)) for i, some in conditioning.branches.items()})


def branch_of(branch: bends.Branch) -> Branch:
    control = None if branch.control is None else array_of(branch.control[0, 0])
    return Branch(array_of(branch.down), array_of(branch.up), control, branch.scale)
