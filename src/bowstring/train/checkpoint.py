"""Checkpoints: weights, the state of optimisers, and the step that comes next, in one hashed file.

One file, replaced whole, so that no kill leaves weights of one step beside optimisers of another.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ..weights.format.parquet import WeightsFile, write
from ..weights.tensors import as_torch, from_torch

NAME = "checkpoint.parquet"
OLD = "checkpoint.safetensors"
Optimisers = tuple[torch.optim.Optimizer, ...]


def save(folder: Path, network: nn.Module, optimisers: Optimisers, step: int) -> None:
    """Writes the checkpoint of a training that has made `step` steps, in place of the one before."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    numbers: dict[str, float] = {}
    for o, optimiser in enumerate(optimisers):
        for p, state in optimiser.state_dict()["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.ndim:
                    tensors[f"optimiser.{o}.{p}.{key}"] = value
                else:
                    numbers[f"{o}.{p}.{key}"] = float(value)
    folder.mkdir(parents=True, exist_ok=True)
    stored = ((name, from_torch(value)) for name, value in tensors.items())
    write(folder / NAME, stored, {"step": step, "numbers": numbers})


def restore(folder: Path, network: nn.Module, optimisers: Optimisers) -> int:
    """Loads the checkpoint in `folder` and returns its step, 0 where there is none.

    Raises:
        FileNotFoundError: only one of an older version lies there.
        ValueError: it is of another network. WeightsError: the checkpoint is damaged.
    """
    path = folder / NAME
    if not path.exists():
        if (folder / OLD).exists():
            raise FileNotFoundError(
                f"{folder} holds a checkpoint of an older version ({OLD}); this one reads {NAME}. Begin in "
                "another folder, or finish with the version that wrote it"
            )
        return 0
    file = WeightsFile(path)
    file.verify()
    tensors = {name: as_torch(file, name) for name in file}
    of_network = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    try:
        network.load_state_dict(of_network)
    except RuntimeError as error:
        raise ValueError(
            f"{path} is of another network, perhaps of another version; begin in another folder: {error}"
        ) from None
    for o, optimiser in enumerate(optimisers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimiser.{o}."):
                _, _, p, name = key.split(".", 3)
                state.setdefault(int(p), {})[name] = value
        for key, number in file.metadata["numbers"].items():
            if key.startswith(f"{o}."):
                _, p, name = key.split(".", 2)
                state.setdefault(int(p), {})[name] = torch.tensor(number)
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return int(file.metadata["step"])
