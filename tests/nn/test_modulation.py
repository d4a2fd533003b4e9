"""Time modulation: damping it keeps what is made of clean tokens."""

import torch

from bowstring.nn.trunk import TimeModulation
from bowstring.train.optim import optimisers
from tests.conftest import build_network


def test_damping_keeps_time_zero_and_shrinks_the_rest():
    torch.manual_seed(0)
    modulation = TimeModulation(64)
    torch.nn.init.normal_(modulation.out.weight)
    zero, t = torch.zeros(1, 1), torch.tensor([[0.3, 0.8]])
    before, spread = modulation(zero, zero), modulation(t, zero) - modulation(zero, zero)
    modulation.damp(0.1)
    torch.testing.assert_close(modulation(zero, zero), before, atol=1e-4, rtol=1e-4)
    assert (modulation(t, zero) - before).norm() < 0.2 * spread.norm()


def test_modulation_may_learn_at_a_rate_of_its_own():
    network = build_network()
    _, adam = optimisers(network, 1e-3, 0.2)
    ordinary, slow = adam.param_groups
    assert slow["share"] == 0.2 and slow["params"] == [*network.trunk.modulation.parameters()]
    assert len(ordinary["params"]) + len(slow["params"]) == len(
        optimisers(network, 1e-3)[1].param_groups[0]["params"]
    )
