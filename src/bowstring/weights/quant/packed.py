"""A trunk whose matrices are packed: the same network, in one native call per forward.

`QuantLinear` takes the place of `torch.nn.Linear`; `PackedTrunk` takes that of `Trunk`, whatever a forward is
conditioned on. Where the library is missing, the layers of nn/trunk.py run with the packed matrices inside,
which is also what tests compare the native path with. No sum on the native path is torch's, so no number
depends on its threads; and it is held to one, because its threads and the kernels' would wait for each
other's cores.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ... import _native
from ...core.conditioning import NOTHING, Conditioning, entries_mask, masks_side_by_side
from ...core.threads import one_thread
from ...nn.config import HEAD, NetworkConfig
from ...nn.heads.text import TextHead
from ...nn.network import UnifiedScoreNetwork
from ...nn.trunk import MAPS, Layer, Trunk, rotations
from .arrowquant import ArrowQuant

Make = Callable[[str, tuple[int, int]], ArrowQuant]  # (parameter name, (outputs, inputs)) -> matrix


class QuantLinear(nn.Module):
    """`x @ w.T` with packed weights; x is rounded to INT8 row by row."""

    def __init__(self, matrix: ArrowQuant) -> None:
        super().__init__()
        self.matrix = matrix

    @property
    def in_features(self) -> int:
        return self.matrix.shape[1]

    @property
    def out_features(self) -> int:
        return self.matrix.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous().numpy()
        return torch.from_numpy(self.matrix.matmul(rows)).view(*x.shape[:-1], self.matrix.shape[0])

    def extra_repr(self) -> str:
        return f"{self.matrix.shape[1]} -> {self.matrix.shape[0]}, {self.matrix.bits} bits"


def array(x: Tensor, shape: Sequence[int], dtype: type = np.float32) -> np.ndarray:
    """A tensor's numbers, broadcast and side by side, as kernels take them; where gradients are wanted there
    are none, and torch says so.
    """
    numbers = (x if torch.is_grad_enabled() else x.detach()).numpy()
    if numbers.shape != tuple(shape):
        numbers = np.broadcast_to(numbers, shape)
    return np.ascontiguousarray(numbers, dtype)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` in FP32 by the library, whose sums never depend on a number of threads."""
    library = _native.library()
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    if library is None or learns or x.numel() == 0:
        return nn.functional.linear(x, weight, bias)
    outputs, inputs = weight.shape
    rows = x.numel() // inputs
    given, matrix = array(x, x.shape), array(weight, weight.shape)
    more = None if bias is None else array(bias, bias.shape)
    out = np.empty((*x.shape[:-1], outputs), np.float32)
    pointers = (_native.address(one) for one in (given, matrix, more))
    _native.checked(library.bowstring_linear(*pointers, rows, outputs, inputs, _native.address(out)))
    return torch.from_numpy(out)


class NativeLinear(nn.Linear):
    """A linear map in FP32 that the library computes; see `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linears(trunk: Trunk) -> Iterator[tuple[str, nn.Module, str, tuple[int, int]]]:
    """(name, owner, attribute, shape) of every matrix of a trunk that is packed."""
    for name, one in trunk.linear_maps().items():
        place, _, attribute = name.rpartition(".")
        shape = (cast(int, one.out_features), cast(int, one.in_features))
        yield f"trunk.{name}.weight", trunk.get_submodule(place), attribute, shape


@dataclass(frozen=True)
class Described:
    """Layers as the kernels take them, what they point into, and what tells whether that is still so."""

    key: tuple[int, ...]
    refs: ctypes.Array
    owners: tuple[Any, ...]


def parts_of(layer: Layer) -> tuple[tuple[ArrowQuant | None, ...], tuple[Tensor | None, ...]]:
    """Packed matrices and vectors of a layer, in the order of `_native.Layer`."""
    attention, feed_forward, cross = layer.attention, layer.feed_forward, layer.cross
    maps: list[Any] = [attention.qkv, attention.out, feed_forward.up, feed_forward.down]
    maps += [None] * 3 if cross is None else [cross.q, cross.kv, cross.out]
    vectors = (attention.q_norm, attention.k_norm, layer.offset, None if cross is None else cross.gate)
    return tuple(None if one is None else one.matrix for one in maps), vectors


class PackedTrunk(Trunk):
    """A `Trunk` in evaluation, its matrices packed."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.width = config.width
        self._described: Described | None = None
        self._modulated: tuple[tuple[Any, ...], Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what holds addresses: a copy makes its own."""
        return self.__dict__ | {"_described": None, "_modulated": None}

    @classmethod
    def of(cls, trunk: Trunk, config: NetworkConfig, make: Make) -> PackedTrunk:
        """The same parameters, with the matrices that `make` gives."""
        with torch.device("meta"):
            packed = cls(config)
        for name, owner, attribute, shape in [*linears(packed)]:
            setattr(owner, attribute, QuantLinear(make(name, shape)))
        kept = {name: value for name, value in trunk.state_dict().items() if name in packed.state_dict()}
        packed.load_state_dict(kept, assign=True)
        native_linears(packed.modulation)
        return packed.eval().requires_grad_(requires_grad=False)

    def matrices(self) -> dict[str, ArrowQuant]:
        """Every packed matrix by the name of the parameter that it replaces."""
        return {name: getattr(owner, attribute).matrix for name, owner, attribute, _ in linears(self)}

    def _modulation(self, t: Tensor, step_size: Tensor) -> Tensor:
        """Six vectors for each different pair of time and step size, `(1, l|1, 6, d)` or `(b, l, 6, d)`."""
        pairs = torch.stack(torch.broadcast_tensors(t.float(), step_size.float()), -1)
        different, which = np.unique(pairs.view(-1, 2).numpy(), axis=0, return_inverse=True)
        if len(different) > 1:
            t, step_size = torch.from_numpy(different.T.copy())[..., None]
            return self.modulation(t, step_size)[torch.from_numpy(which.reshape(pairs.shape[:2])), 0]
        weights = [*self.modulation.parameters()]
        if any(one.is_inference() for one in weights):
            return self.modulation(t[:1, :1], step_size[:1, :1])
        # text always has the same time, so what is made of it is kept while the weights are the same
        key = (*different[0].tolist(), *((one.data_ptr(), one._version) for one in weights))
        kept = self._modulated
        if kept is None or kept[0] != key:
            kept = self._modulated = key, self.modulation(t[:1, :1], step_size[:1, :1])
        return kept[1]

    def _layers(self) -> Described:
        """The layers as the kernels take them. Addresses are looked up at every call: parameters are moved by
        `load_state_dict(assign=True)`, casts and copies, and nobody tells.
        """
        parts = [parts_of(layer) for layer in cast(Iterable[Layer], self.layers)]
        vectors = [array(v, v.shape) for _, some in parts for v in some if v is not None]
        key = (
            *(id(matrix) for matrices, _ in parts for matrix in matrices),
            *(vector.ctypes.data for vector in vectors),
        )
        found = self._described
        if found is None or found.key != key:
            left = iter(vectors)
            refs = [
                _native.Layer(
                    *(_native.Matrix() if one is None else one.described for one in matrices),
                    *(None if one is None else next(left).ctypes.data for one in some),
                )
                for matrices, some in parts
            ]
            found = self._described = Described(key, (_native.Layer * len(refs))(*refs), (parts, vectors))
        return found

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        t: Tensor,
        step_size: Tensor | None = None,
        conditioning: Conditioning = NOTHING,
    ) -> tuple[Tensor, tuple[tuple[Tensor, Tensor], ...]]:
        """As `Trunk.forward`; keys and values come out joined with the cached ones."""
        library = _native.library()
        if library is None:
            return super().forward(x, position, t, step_size, conditioning)
        self.check(conditioning)
        (b, length, d), depth = x.shape, len(self.layers)
        cache, mask = conditioning.cache, conditioning.mask
        n = 0 if cache is None else cache.length
        modulation = self._modulation(t, torch.zeros_like(t) if step_size is None else step_size)
        six = (1, 1, 6, d) if modulation.shape[:2] == (1, 1) else (b, length, 6, d)
        past = [] if cache is None else [array(one, one.shape) for pair in cache.layers for one in pair]
        fresh = [np.empty((b, d // HEAD, length, HEAD), np.float32) for _ in range(2 * depth)]
        out = np.array(array(x, x.shape))
        hooks = Hooks(conditioning, (b, length, d), depth)
        layers = self._layers()
        given = (
            array(modulation, six),
            *(array(angle[:, 0], (b, length, HEAD // 2)) for angle in rotations(position)),
            np.ones((b, length, n + length), bool)
            if mask is None
            else array(mask[:, 0], (b, length, n + length), bool),
            array(self.norm, (d,)),
        )
        call = _native.Trunk(
            *(b, length, n, d, depth, six[0] * six[1], hooks.entries, hooks.read),
            len(hooks.low_ranks),
            *(layers.refs, out.ctypes.data, *(one.ctypes.data for one in given)),
            _native.pointers([one.ctypes.data for one in past] or [None] * 2 * depth),
            _native.pointers([one.ctypes.data for one in fresh]),
            *hooks.pointers(),
        )
        _native.checked(library.bowstring_trunk(ctypes.byref(call)))
        joined = (
            fresh if cache is None else [np.concatenate(both, 2) for both in zip(past, fresh, strict=True)]
        )
        tensors = [torch.from_numpy(one) for one in joined]
        return torch.from_numpy(out), tuple(zip(tensors[::2], tensors[1::2], strict=True))


class Hooks:
    """The rest of a conditioning as the kernels take it; keeps alive what it points to."""

    def __init__(self, conditioning: Conditioning, shape: tuple[int, int, int], depth: int) -> None:
        b, length, d = shape
        self.kept: list[np.ndarray] = []
        self.entries = 0 if conditioning.entries is None else conditioning.entries.shape[1]
        self.entry_values = self.entry_mask = None
        if conditioning.entries is not None:
            self.entry_values = self._address(conditioning.entries, (b, self.entries, d))
        read = conditioning.read
        self.read = next(iter(read.values())).shape[1] if read else 0
        self.read_values = [
            self._address(read[layer], (b, self.read, 2 * d)) if layer in read else None
            for layer in range(depth if read else 0)
        ]
        if both := self.entries + self.read:
            self.entry_mask = self._address(looking(conditioning), (b, length, both), bool)
        vectors = (conditioning.added.get(layer) for layer in range(depth + 1))
        self.added = [None if one is None else self._address(one, shape) for one in vectors]
        self.low_ranks = [
            self._low_rank(int(number), MAPS.index(name), delta.a, delta.b, (None, 0), delta.scale)
            for full, deltas in conditioning.deltas.items()
            for _, number, name in [full.split(".", 2)]
            for delta in deltas
        ]
        for layer, branches in conditioning.branches.items():
            for branch in branches:
                control = branch.control
                told: tuple[int | None, int] = (None, 0)
                if control is not None:
                    told = self._address(control, (b, length, len(branch.down))), b * length
                self.low_ranks.append(
                    self._low_rank(layer, len(MAPS), branch.down, branch.up, told, branch.scale)
                )

    def _address(self, x: Tensor, shape: Sequence[int], dtype: type = np.float32) -> int:
        self.kept.append(array(x, shape, dtype))
        return self.kept[-1].ctypes.data

    def _low_rank(
        self,
        layer: int,
        which: int,
        a: Tensor,
        b: Tensor | None,
        control: tuple[int | None, int],
        scale: float,
    ) -> _native.LowRank:
        turned = None if b is None else b.T
        sizes = (
            (None, 0) if one is None else (self._address(one, one.shape), one.numel()) for one in (a, turned)
        )
        return _native.LowRank(
            layer, which, len(a), *(part for both in sizes for part in both), *control, scale
        )

    def pointers(self) -> tuple[Any, ...]:
        """The last fields of `_native.Trunk`."""
        added = _native.pointers(self.added) if any(self.added) else None
        low_ranks = (_native.LowRank * len(self.low_ranks))(*self.low_ranks) if self.low_ranks else None
        read = _native.pointers(self.read_values) if self.read else None
        return self.entry_values, self.entry_mask, read, added, low_ranks


def looking(conditioning: Conditioning) -> Tensor:
    """Who may look at the entries and at what was read, `(b|1, l|1, m)`."""
    given = [(conditioning.entries, conditioning.entries_mask)]
    given += [(one, conditioning.read_mask) for one in conditioning.read.values()][:1]
    masks = [entries_mask(values, mask) for values, mask in given if values is not None]
    may = masks_side_by_side(masks)
    return may if may.ndim == 3 else may[:, None]


def native_linears(module: nn.Module) -> None:
    """Lets the library compute every linear map inside, the same parameters in them."""
    for owner in [*module.modules()]:
        for name, one in [*owner.named_children()]:
            if type(one) is nn.Linear:
                with torch.device("meta"):
                    native = NativeLinear(one.in_features, one.out_features, bias=one.bias is not None)
                native.weight, native.bias = one.weight, one.bias
                setattr(owner, name, native)


def packed(network: UnifiedScoreNetwork, make: Make) -> UnifiedScoreNetwork:
    """Replaces the trunk of a network in evaluation by a packed one; heads keep their parameters."""
    network.trunk = PackedTrunk.of(network.trunk, network.config, make)
    native_linears(network.heads)
    network.threads = one_thread
    for head in network.heads.values():
        if isinstance(head, TextHead):
            head.linear = linear
    return network


def unpacked(network: UnifiedScoreNetwork) -> UnifiedScoreNetwork:
    """The way back: a network that can be trained, its matrices being what the bits say."""
    plain = UnifiedScoreNetwork(network.config, network.heads)
    weights = {name: torch.from_numpy(matrix.dequantise()) for name, matrix in matrices(network).items()}
    plain.load_state_dict(network.state_dict() | weights)
    return plain.eval()


def plain(network: UnifiedScoreNetwork) -> UnifiedScoreNetwork:
    """A network that can be trained: itself, or what its bits say."""
    return unpacked(network) if matrices(network) else network


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
