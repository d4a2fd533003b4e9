"""A trunk whose matrices are packed: the same network, in one native call per forward.

`QuantLinear` takes the place of `torch.nn.Linear`; `PackedTrunk` takes that of `Trunk`. Where the library
is missing or conditions are given, the layers of net/trunk.py run with the packed matrices inside, which
is also what tests compare the native path with.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ... import _native
from ...nn.config import HEAD, NetworkConfig
from ...nn.network import UnifiedScoreNetwork
from ...nn.trunk import Cache, Layer, Trunk, rotations
from .arrowquant import ArrowQuant

Make = Callable[[str, tuple[int, int]], ArrowQuant]  # (parameter name, (outputs, inputs)) -> matrix


class QuantLinear(nn.Module):
    """`x @ w.T` with packed weights; x is rounded to INT8 row by row."""

    def __init__(self, matrix: ArrowQuant) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous().numpy()
        return torch.from_numpy(self.matrix.matmul(rows)).view(*x.shape[:-1], self.matrix.shape[0])

    def extra_repr(self) -> str:
        return f"{self.matrix.shape[1]} -> {self.matrix.shape[0]}, {self.matrix.bits} bits"


def linears(trunk: Trunk) -> Iterator[tuple[str, nn.Module, str, tuple[int, int]]]:
    """(name, owner, attribute, shape) of every matrix of a trunk that is packed."""
    for i, layer in enumerate(trunk.layers):
        owners = {"attention": ("qkv", "out"), "feed_forward": ("up", "down"), "cross": ("q", "kv", "out")}
        for part, attributes in owners.items():
            owner = getattr(layer, part)
            if owner is None:
                continue
            for attribute in attributes:
                linear = getattr(owner, attribute)
                shape = linear.matrix.shape if isinstance(linear, QuantLinear) else tuple(linear.weight.shape)
                yield f"trunk.layers.{i}.{part}.{attribute}.weight", owner, attribute, shape


class PackedTrunk(Trunk):
    """A `Trunk` in evaluation, its matrices packed."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.width = config.width
        self._described: ctypes.Array | None = None
        self._kept: tuple[tuple[float, float], Tensor] | None = None

    @classmethod
    def of(cls, trunk: Trunk, config: NetworkConfig, make: Make) -> PackedTrunk:
        """The same parameters, with the matrices that `make` gives."""
        with torch.device("meta"):
            packed = cls(config)
        for name, owner, attribute, shape in [*linears(packed)]:
            setattr(owner, attribute, QuantLinear(make(name, shape)))
        kept = {name: value for name, value in trunk.state_dict().items() if name in packed.state_dict()}
        packed.load_state_dict(kept, assign=True)
        return packed.eval().requires_grad_(requires_grad=False)

    def matrices(self) -> dict[str, ArrowQuant]:
        """Every packed matrix by the name of the parameter that it replaces."""
        return {name: getattr(owner, attribute).matrix for name, owner, attribute, _ in linears(self)}

    def _modulation(self, t: Tensor, step_size: Tensor) -> Tensor:
        """Text always has the same time, so what it makes of it is kept."""
        if t.numel() > 1 or step_size.numel() > 1:
            return self.modulation(t, step_size)
        times = (t.item(), step_size.item())
        if self._kept is None or self._kept[0] != times:
            self._kept = (times, self.modulation(t.view(1, 1), step_size.view(1, 1)))
        return self._kept[1]

    def _layers(self) -> ctypes.Array:
        """The layers as the kernels take them; their arrays live as long as this module."""
        if self._described is None:
            refs, packed = [], self.matrices()
            for i, layer in enumerate(cast(Iterable[Layer], self.layers)):
                names = ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down")
                described = (packed[f"trunk.layers.{i}.{name}.weight"].described() for name in names)
                vectors = (layer.attention.q_norm, layer.attention.k_norm, layer.offset)
                refs.append(_native.Layer(*described, *(vector.data_ptr() for vector in vectors)))
            self._described = (_native.Layer * len(refs))(*refs)
        return self._described

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        t: Tensor,
        step_size: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Cache | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        """As `Trunk.forward`; keys and values come out joined with the cached ones."""
        library = _native.library()
        if library is None or memory is not None:
            return super().forward(x, position, t, step_size, mask, cache, memory, memory_mask)
        b, length, d = x.shape
        n = 0 if cache is None else cache.length
        modulation = self._modulation(t, torch.zeros_like(t) if step_size is None else step_size)
        if modulation.shape[:2] != (1, 1):
            modulation = modulation.expand(b, length, 6, d)
        cos, sin = (angle[:, 0].expand(b, length, HEAD // 2).contiguous() for angle in rotations(position))
        if mask is None:
            mask = torch.ones(1, 1, length, n + length, dtype=torch.bool)
        may = mask[:, 0].expand(b, length, n + length).contiguous()
        past = [] if cache is None else [part.contiguous() for pair in cache.layers for part in pair]
        fresh = [torch.empty(b, d // HEAD, length, HEAD) for _ in range(2 * len(self.layers))]
        out, modulation = torch.from_numpy(np.array(x.float().numpy(), order="C")), modulation.contiguous()
        shape = _native.Shape(b, length, n, d, len(self.layers), modulation.shape[0] * modulation.shape[1])
        olds = _native.pointers([part.data_ptr() for part in past] or [None] * len(fresh))
        news = _native.pointers([part.data_ptr() for part in fresh])
        arrays = (part.data_ptr() for part in (out, modulation, cos, sin, may, self.norm))
        _native.checked(library.bowstring_trunk(ctypes.byref(shape), self._layers(), *arrays, olds, news))
        joined = fresh if cache is None else [torch.cat([a, z], 2) for a, z in zip(past, fresh, strict=True)]
        return out, tuple(zip(joined[::2], joined[1::2], strict=True))


def packed(network: UnifiedScoreNetwork, make: Make) -> UnifiedScoreNetwork:
    """Replaces the trunk of a network in evaluation by a packed one; heads stay as they are."""
    network.trunk = PackedTrunk.of(network.trunk, network.config, make)
    return network


def unpacked(network: UnifiedScoreNetwork) -> UnifiedScoreNetwork:
    """The way back: a network that can be trained, its matrices being what the bits say."""
    plain = UnifiedScoreNetwork(network.config, network.heads)
    weights = {name: torch.from_numpy(matrix.dequantise()) for name, matrix in matrices(network).items()}
    plain.load_state_dict(network.state_dict() | weights)
    return plain.eval()


def matrices(network: nn.Module) -> dict[str, ArrowQuant]:
    """Packed matrices by the names of the parameters they replace; none when it is not packed."""
    trunk = getattr(network, "trunk", None)
    return trunk.matrices() if isinstance(trunk, PackedTrunk) else {}


def random_network(config: NetworkConfig, bits: int, seed: int = 0) -> UnifiedScoreNetwork:
    """A network of random weights that never exist in FP32: bytes are drawn in packed form."""
    rng = np.random.default_rng(seed)
    with torch.device("meta"):
        network = UnifiedScoreNetwork(config)
    torch.manual_seed(seed)
    replaced = {name for name, *_ in linears(network.trunk)}
    for name, parameter in [*network.named_parameters()]:
        if name not in replaced:
            owner, _, leaf = name.rpartition(".")
            value = 0.02 * torch.randn(parameter.shape) if parameter.ndim > 1 else torch.ones(parameter.shape)
            network.get_submodule(owner)._parameters[leaf] = nn.Parameter(value, requires_grad=False)
    return packed(network, lambda name, shape: ArrowQuant.random(shape, bits, rng)).eval()
