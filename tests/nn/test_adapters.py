"""Adapters begin without effect, add up, and are small."""

import pytest
import torch

from bowstring.core.conditioning import NOTHING
from bowstring.nn.adapters import ControlNet, LoRA

RNG = torch.Generator().manual_seed(0)
X, POSITION = torch.randn(2, 5, 128, generator=RNG), torch.arange(5.0)[None]


@torch.no_grad()
def hidden(network, conditioning=NOTHING):
    return network(X, POSITION, conditioning=conditioning)[0]


def shaken(adapter):
    """The same with numbers in every matrix."""
    for one in adapter.parameters():
        one.add_(0.1 * torch.randn(one.shape, generator=RNG))
    return adapter


def both(network):
    maps = ("attention.qkv", "feed_forward.down", "cross.q")
    return LoRA.fresh(network.trunk, 3, 6.0, RNG, maps), ControlNet.fresh(network.trunk, 3, 7, RNG)


def test_fresh_adapters_change_nothing_to_the_bit_and_learn(network):
    control = torch.randn(2, 5, 7, generator=RNG)
    for adapter, given in zip(both(network), ({}, {"control": control}), strict=True):
        assert torch.equal(hidden(network, adapter.conditioning(**given)), hidden(network))
        assert torch.equal(
            hidden(network, shaken(adapter).conditioning(weight=0.0, **given)), hidden(network)
        )
        learned = [one.requires_grad_() for one in adapter.parameters()]
        y = network(X, POSITION, conditioning=adapter.conditioning(**given))[0]
        gradients = torch.autograd.grad(y[..., 0].sum(), learned, allow_unused=True)
        unused = [i for i, one in enumerate(gradients) if one is None or not one.any()]
        # without entries the slot of cross-attention is not run
        assert len(unused) == (2 if isinstance(adapter, LoRA) else 0)


def test_two_loras_weigh_as_their_numbers_say(network):
    one, two = (shaken(both(network)[0]) for _ in range(2))
    name = "layers.0.attention.qkv"
    deltas = (one.conditioning(0.5) | two.conditioning(2.0)).deltas[name]
    merged = 0.5 * 6 / 3 * one.b[name] @ one.a[name] + 2 * 6 / 3 * two.b[name] @ two.a[name]
    made = sum(delta(X) for delta in deltas)
    torch.testing.assert_close(made, X @ merged.T, atol=1e-4, rtol=1e-4)


def test_a_control_is_heard_token_by_token(network):
    net = shaken(both(network)[1])
    control = torch.zeros(2, 5, 7)
    control[:, 3:] = 1.0
    still, told = (hidden(network, net.conditioning(one)) for one in (torch.zeros(2, 5, 7), control))
    assert (told[:, 3:] - still[:, 3:]).abs().max() > 1e-3
    torch.testing.assert_close(hidden(network, net.conditioning()), still)
    assert (still - hidden(network)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: LoRA({}, {}, 1.0), "at least one"),
        (lambda: LoRA({"x": torch.zeros(2, 4)}, {"y": torch.zeros(4, 2)}, 1.0), "the same names"),
        (
            lambda: LoRA({"x": torch.zeros(2, 4)}, {"x": torch.zeros(4, 3)}, 1.0),
            "expected \\(rank, inputs\\)",
        ),
        (
            lambda: LoRA(
                {"x": torch.zeros(2, 4), "y": torch.zeros(3, 4)},
                {"x": torch.zeros(4, 2), "y": torch.zeros(4, 3)},
                1.0,
            ),
            "ranks \\[2, 3\\]",
        ),
        (lambda: ControlNet({0: torch.zeros(2, 4)}, {}, {}), "the same layers"),
        (
            lambda: ControlNet({0: torch.zeros(2, 4)}, {0: torch.zeros(4, 2)}, {0: torch.zeros(3, 5)}),
            "ranks and controls",
        ),
        (
            lambda: ControlNet(
                {0: torch.zeros(2, 4)}, {0: torch.zeros(4, 2)}, {0: torch.zeros(2, 5)}
            ).conditioning(torch.zeros(1, 1, 4)),
            "expected \\(b, l, 5\\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
