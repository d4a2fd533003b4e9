"""The device of these tests refuses what an accelerator refuses and computes what the CPU computes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.fake_device import DEVICE, fake_device


@pytest.fixture
def here():
    with fake_device() as device:
        yield device


TABLE = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
INDEX = torch.tensor([[0, 1, 2, 3]])
OPERATIONS = {
    "matmul": (lambda x, y: x @ y, TABLE, TABLE),
    "linear": (lambda x, y: F.linear(x, y), TABLE, TABLE),
    "embedding": (lambda x, y: F.embedding(y, x), TABLE, INDEX),
    "gather": (lambda x, y: x.gather(0, y), TABLE, INDEX),
    "index": (lambda x, y: x[y], TABLE, INDEX),
    "mask": (lambda x, y: x[y], TABLE, TABLE > 0),
    "cat": (lambda x, y: torch.cat([x, y]), TABLE, TABLE),
    "stack": (lambda x, y: torch.stack([x, y]), TABLE, TABLE),
    "where": (lambda x, y: torch.where(y, x, 0.0), TABLE, TABLE > 0),
    "add": (lambda x, y: x + y, TABLE, TABLE),
    "add in place": (lambda x, y: x.clone().add_(y), TABLE, TABLE),
    "attention": (lambda x, y: (x @ y.T).softmax(-1) @ y, TABLE, TABLE),
    "conjugate": (lambda x, y: torch.fft.fft(x) * torch.fft.fft(y).conj(), TABLE, TABLE),
    "index_add": (lambda x, y: x.index_add(0, y[0], x), TABLE, INDEX),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_lies_on_two_devices_is_not_mixed_and_on_one_is_computed(here, name):
    compute, x, y = OPERATIONS[name]
    for left, right in ((x.to(here), y), (x, y.to(here))):
        with pytest.raises(RuntimeError, match=r"was given tensors on ipu:0 and on cpu"):
            compute(left, right)
    made = compute(x.to(here), y.to(here))
    assert made.device == DEVICE
    torch.testing.assert_close(made.cpu(), compute(x, y))


def test_numbers_are_taken_from_anywhere(here):
    torch.testing.assert_close((TABLE.to(here) * torch.tensor(2.0)).cpu(), 2 * TABLE)


def test_tensors_are_made_where_they_are_asked_for(here):
    x = torch.zeros(3, device=here)
    made = (
        torch.ones_like(x),
        x.new_zeros(2),
        torch.arange(3, device=x.device),
        torch.tensor([1], device=here),
    )
    assert all(one.device == DEVICE for one in made)
    assert torch.arange(3).device.type == "cpu"


def test_what_an_accelerator_cannot_do_fails(here):
    with pytest.raises((TypeError, RuntimeError)):
        TABLE.to(here).numpy()
    with pytest.raises(RuntimeError, match="generator of the CPU"):
        torch.rand(3, device=here, generator=torch.Generator())
    assert torch.equal(torch.from_numpy(TABLE.to(here).cpu().numpy()), TABLE)


def test_a_network_learns_there_as_on_the_cpu(here):
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 2))
    theirs = copy.deepcopy(ours).to(here)
    for network, x in ((ours, TABLE), (theirs, TABLE.to(here))):
        optimiser = torch.optim.AdamW(network.parameters(), 0.1)
        for _ in range(3):
            network(x).square().mean().backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert isinstance(b, nn.Parameter) and b.device == DEVICE
        torch.testing.assert_close(a, b.cpu())
