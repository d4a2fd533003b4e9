"""A device that is none: tensors that report it hold their data on the CPU and refuse to be mixed.

Every operation on `FakeTensor`s runs on the data inside, so results are the CPU's. An argument that lies on
the CPU and has at least one dimension is refused, as an accelerator would refuse it; numbers are taken. What
an accelerator cannot do at all, `.numpy()` and generators of the CPU, fails here, too.

    with fake_device() as device:
        network.to(device)(tokens.to(device))
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("ipu", 0)  # a name that torch knows and no build here has a backend for
MOVES = ("aten::_to_copy", "aten::copy_")


class FakeTensor(Tensor):
    """Data on the CPU that says it lies on `DEVICE`."""

    data_inside: Tensor

    @staticmethod
    def __new__(cls, inside: Tensor) -> "FakeTensor":
        out = Tensor._make_wrapper_subclass(
            cls,
            inside.size(),
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            layout=inside.layout,
            device="meta",  # what torch's own code sees; only Python sees `DEVICE`
            requires_grad=False,
        )
        out.data_inside = inside.detach().resolve_conj().resolve_neg()  # the shell carries no such bits
        return out

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"FakeTensor({self.data_inside})"

    def tolist(self) -> Any:
        return self.data_inside.tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> "FakeTensor":
        if id(self) not in memo:
            copy = FakeTensor(self.data_inside.clone())
            copy.requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copy = torch.nn.Parameter(copy, self.requires_grad)  # type: ignore[assignment]
            memo[id(self)] = copy
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class FakeDevice(TorchDispatchMode):
    """Makes `device=DEVICE` work for functions that take no tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def on_fake(device: Any) -> bool:
    return device is not None and torch.device(device).type in (DEVICE.type, "meta")


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation: refused where devices are mixed, else computed on the data inside."""
    leaves = tree_flatten((args, kwargs))[0]
    fake = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
    asked = kwargs.get("device")
    name = func._schema.name
    if fake and name not in MOVES:
        for leaf in leaves:
            if isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor) and leaf.ndim:
                raise RuntimeError(
                    f"{name} was given tensors on {DEVICE} and on {leaf.device}, {tuple(leaf.shape)}"
                )
    result_on_fake = on_fake(asked) if asked is not None else bool(fake)
    if name == "aten::copy_":  # moves what it is given to where its target lies
        result_on_fake = isinstance(args[0], FakeTensor)
    if result_on_fake and isinstance(kwargs.get("generator"), torch.Generator):
        raise RuntimeError(f"{name} on {DEVICE} was given a generator of the CPU")
    inside = lambda leaf: leaf.data_inside if isinstance(leaf, FakeTensor) else leaf
    given = {key: tree_map(inside, value) for key, value in kwargs.items()}
    if on_fake(asked):
        given["device"] = torch.device("cpu")
    out = func(*tree_map(inside, args), **given)
    if not result_on_fake:
        return out
    wrapped = tree_map(lambda leaf: FakeTensor(leaf) if isinstance(leaf, Tensor) else leaf, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


@contextmanager
def fake_device() -> Iterator[torch.device]:
    """The device, which exists inside the block."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(
        True
    )  # `torch.tensor(..., device=)` makes its data here, then moves it
    try:
        with FakeDevice():
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(before)
