"""Checkpoints: weights, the state of optimisers, and the step that comes next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save(folder: Path, network: nn.Module, optimiser: tuple[torch.optim.Optimizer, ...], step: int) -> None:
    """Writes a checkpoint beside the old one, then takes its place."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    scalars: dict[str, float] = {}
    for o, one in enumerate(optimiser):
        for p, state in one.state_dict()["state"].items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.ndim:
                    tensors[f"optimiser.{o}.{p}.{key}"] = value
                else:
                    scalars[f"{o}.{p}.{key}"] = float(value)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoint.safetensors", "checkpoint.json"):
        target = folder / f"{name}.new"
        if name.endswith("json"):
            target.write_text(json.dumps({"step": step, "scalars": scalars}))
        else:
            save_file({k: v.contiguous() for k, v in tensors.items()}, target, {"step": str(step)})
    for name in ("checkpoint.safetensors", "checkpoint.json"):
        (folder / f"{name}.new").replace(folder / name)


def restore(folder: Path, network: nn.Module, optimiser: tuple[torch.optim.Optimizer, ...]) -> int:
    """Loads the checkpoint in `folder` into network and optimisers and returns its step."""
    tensors = load_file(folder / "checkpoint.safetensors")
    meta: dict[str, Any] = json.loads((folder / "checkpoint.json").read_text())
    network.load_state_dict(
        {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    )
    for o, one in enumerate(optimiser):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimiser.{o}."):
                _, _, p, name = key.split(".", 3)
                state.setdefault(int(p), {})[name] = value
        for key, number in meta["scalars"].items():
            if key.startswith(f"{o}."):
                _, p, name = key.split(".", 2)
                state.setdefault(int(p), {})[name] = torch.tensor(number)
        one.load_state_dict({"state": state, "param_groups": one.state_dict()["param_groups"]})
    return int(meta["step"])
