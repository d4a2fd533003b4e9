"""A checkpoint is the whole state of one step, whenever the power goes."""

import os
import shutil

import pytest
import torch

from bowstring.core import files
from bowstring.train.checkpoint import restore, save
from bowstring.weights.format.parquet import WeightsError


def training(seed):
    torch.manual_seed(seed)
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    return network, (optimiser,)


def go_on(network, optimisers):
    network(torch.ones(1, 3)).square().sum().backward()
    optimisers[0].step()
    optimisers[0].zero_grad()


def state(network, optimisers):
    kept = optimisers[0].state.values()
    return [*network.state_dict().values(), *(s[key] for s in kept for key in sorted(s))]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(state(*a), state(*b), strict=True))


def test_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    first, second = training(0), training(1)
    assert restore(tmp_path, *second) == 0
    go_on(*first)
    save(tmp_path, *first, 1)
    assert restore(tmp_path, *second) == 1 and same(first, second)
    go_on(*first)
    go_on(*second)
    assert same(first, second)


@pytest.mark.parametrize("at", range(5))
def test_a_kill_at_any_step_leaves_the_old_or_the_new_checkpoint(at, tmp_path, monkeypatch):
    """Every call that touches the disk is a place to die; what lies there then is one step or the other."""
    old, new, found = training(0), training(0), training(2)
    go_on(*old)
    save(tmp_path, *old, 1)
    restore(tmp_path, *new)
    go_on(*new)
    survivors = tmp_path / "after"
    calls = [0]

    def dying(call):
        def wrapped(*args, **kwargs):
            if calls[0] == at:
                shutil.copytree(tmp_path, survivors, ignore=shutil.ignore_patterns("after"))
                raise KeyboardInterrupt
            calls[0] += 1
            return call(*args, **kwargs)

        return wrapped

    for owner, name in (
        (files, "sync"),
        (files.Path, "replace"),
        (files.Path, "chmod"),
        (files.Path, "open"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, *new, 2)
    monkeypatch.undo()
    step = restore(survivors, *found)
    assert step == (2 if at == 4 else 1) and same(found, {1: old, 2: new}[step])
    assert len(os.listdir(survivors)) <= 2


def test_damage_is_noticed(tmp_path):
    network, optimisers = training(0)
    save(tmp_path, network, optimisers, 3)
    path = tmp_path / "checkpoint.parquet"
    data = bytearray(path.read_bytes())
    at = data.find(network.weight.detach().numpy().tobytes())
    data[at + 5] ^= 4
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"'network\.weight' do not match their hash"):
        restore(tmp_path, network, optimisers)


def test_an_old_checkpoint_is_refused_with_the_new_name(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"older version.*reads checkpoint\.parquet"):
        restore(tmp_path, *training(0))
