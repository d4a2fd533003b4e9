"""A conditioning is the sum of its parts, on a network whose answers without it are known."""

import pytest
import torch

from bowstring.core.conditioning import NOTHING, Branch, Cache, Conditioning, LowRank, visible
from tests.conftest import build_network

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
RNG = torch.Generator().manual_seed(5)
X, POSITION = torch.randn(2, 6, 128, generator=RNG), torch.arange(6.0)[None]


def low_rank(outputs, inputs, rank=3, scale=0.3):
    return LowRank(torch.randn(rank, inputs, generator=RNG), torch.randn(outputs, rank, generator=RNG), scale)


def branch(rank=3, control=None):
    down, up = torch.randn(rank, 128, generator=RNG), torch.randn(128, rank, generator=RNG)
    return Branch(0.1 * down, 0.1 * up, control)


def entries(count, b=2):
    return torch.randn(b, count, 128, generator=RNG)


@torch.no_grad()
def hidden(network, conditioning=NOTHING, x=X):
    return network(x, POSITION, conditioning=conditioning)[0]


@pytest.mark.parametrize(
    "name",
    [
        *("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down"),
        *("cross.q", "cross.kv", "cross.out"),
    ],
)
def test_a_delta_is_what_merging_it_into_the_weight_would_be(name):
    network, merged = build_network(), build_network()
    looked_at = Conditioning(entries=entries(4))
    before = hidden(network, looked_at)
    weight = merged.trunk.linear_maps()[f"layers.2.{name}"].weight
    one, two = (low_rank(*weight.shape) for _ in range(2))
    with torch.no_grad():
        weight += one.scale * one.b @ one.a + 2 * two.scale * two.b @ two.a
    both = Conditioning(deltas={f"layers.2.{name}": (one,)}) | Conditioning(
        deltas={f"layers.2.{name}": (two.scaled(2),)}
    )
    torch.testing.assert_close(hidden(network, both | looked_at), hidden(merged, looked_at), **CLOSE)
    assert (hidden(network, both | looked_at) - before).abs().max() > 1e-2


def test_vectors_are_added_before_their_layer(network):
    vector = torch.randn(2, 1, 128, generator=RNG)
    torch.testing.assert_close(
        hidden(network, Conditioning(added={0: vector})), hidden(network, x=X + vector), **CLOSE
    )
    twice = Conditioning(added={0: vector}) | Conditioning(added={0: vector})
    torch.testing.assert_close(hidden(network, twice), hidden(network, x=X + 2 * vector), **CLOSE)
    end = hidden(network, Conditioning(added={3: torch.full((1, 1, 128), 1e6)}))
    torch.testing.assert_close(end, network.trunk.norm.expand_as(end).detach(), atol=1e-3, rtol=1e-3)


def test_a_branch_begins_by_changing_nothing_and_then_does(network):
    closed = Branch(torch.randn(3, 128), torch.zeros(128, 3), torch.randn(1, 6, 3))
    assert torch.equal(hidden(network, Conditioning(branches={1: (closed,)})), hidden(network))
    told, other = (branch(control=torch.full((1, 1, 3), value)) for value in (0.0, 1.0))
    moved = hidden(network, Conditioning(branches={1: (told,)}))
    assert (moved - hidden(network)).abs().max() > 1e-2
    control = Branch(told.down, told.up, other.control)
    assert (hidden(network, Conditioning(branches={1: (control,)})) - moved).abs().max() > 1e-3


@pytest.mark.parametrize(("first", "second"), [(None, None), (2, None), (2, 3), (None, 3)])
def test_entries_of_two_stand_side_by_side(network, first, second):
    """Masks of one shape or another; an entry that is masked out is as if it were not there."""
    parts = []
    for ndim in (first, second):
        values, mask = entries(4), None
        if ndim == 2:
            mask = torch.tensor([[True, True, False, False], [True, False, True, True]])
        if ndim == 3:
            mask = torch.rand(2, 6, 4, generator=RNG) < 0.5
        parts.append(Conditioning(entries=values, entries_mask=mask))
    joined = parts[0] | parts[1]
    whole = [
        torch.ones(2, 6, 4, dtype=torch.bool)
        if p.entries_mask is None
        else (p.entries_mask if p.entries_mask.ndim == 3 else p.entries_mask[:, None].expand(2, 6, 4))
        for p in parts
    ]
    expected = Conditioning(
        entries=torch.cat([p.entries for p in parts], 1), entries_mask=torch.cat(whole, 2)
    )
    torch.testing.assert_close(hidden(network, joined), hidden(network, expected), **CLOSE)


def test_what_was_read_is_what_the_slot_would_read(network):
    """Behind other entries or alone, and its mask beside theirs."""
    slot = network.trunk.layers[2].cross
    values, others = entries(4), Conditioning(entries=entries(3), entries_mask=torch.rand(2, 3) < 0.7)
    read = Conditioning(
        read={2: slot.kv(values).detach()}, read_mask=torch.rand(2, 6, 4, generator=RNG) < 0.5
    )
    fresh = Conditioning(entries=values, entries_mask=read.read_mask)
    for one, expected in ((read, fresh), (others | read, others | fresh)):
        torch.testing.assert_close(hidden(network, one), hidden(network, expected), **CLOSE)
    twice = hidden(network, read | read)
    torch.testing.assert_close(twice, hidden(network, fresh | fresh), **CLOSE)
    assert (twice - hidden(network)).abs().max() > 1e-2


def test_deltas_of_the_slot_leave_what_was_read_alone(network):
    slot = network.trunk.layers[2].cross
    read = Conditioning(read={2: slot.kv(entries(4)).detach()})
    delta = Conditioning(deltas={"layers.2.cross.kv": (low_rank(256, 128),)})
    assert torch.equal(hidden(network, read | delta), hidden(network, read))


def test_entries_are_read_by_layers_with_a_slot(network):
    with pytest.raises(ValueError, match="layer 1 has no slot"):
        hidden(network, Conditioning(read={1: torch.zeros(1, 4, 256)}))
    with pytest.raises(ValueError, match=r"layers \[2\] and \[1\]"):
        Conditioning(read={2: torch.zeros(1, 4, 256)}) | Conditioning(read={1: torch.zeros(1, 4, 256)})


def test_rows_are_what_each_sample_would_have_alone(network):
    given = Conditioning(
        entries=entries(4),
        added={1: torch.randn(2, 1, 128, generator=RNG)},
        branches={0: (branch(control=torch.randn(2, 6, 3, generator=RNG)),)},
        deltas={"layers.0.attention.qkv": (low_rank(384, 128),)},
    )
    index = torch.tensor([1, 1, 0])
    torch.testing.assert_close(
        hidden(network, given.rows(index), X[index]), hidden(network, given)[index], **CLOSE
    )


def test_two_caches_are_joined_by_the_caller(network):
    tokens, valid = torch.tensor([[9, 10, 11]]), torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        _, cache = network.prefill(tokens, torch.arange(3.0)[None], valid)
        _, more = network.prefill(tokens + 1, torch.arange(3.0)[None] + 3, valid, Conditioning(cache))
    with pytest.raises(ValueError, match=r"cache\.joined"):
        Conditioning(cache) | Conditioning(more)
    behind = Cache(tuple((k[:, :, 3:], v[:, :, 3:]) for k, v in more.layers), valid)
    joined = cache.joined(behind)
    assert joined.length == 6 and all(
        torch.equal(a, b)
        for ours, theirs in zip(joined.layers, more.layers, strict=True)
        for a, b in zip(ours, theirs, strict=True)
    )


def test_masks_meet():
    left = torch.tensor([True, True, False])[None, None, None]
    right = torch.tensor([True, False, True])[None, None, None]
    both = Conditioning(mask=left) | Conditioning(mask=right)
    assert both.mask.flatten().tolist() == [True, False, False]
    assert (Conditioning(mask=left) | NOTHING).mask is left and (NOTHING | NOTHING).mask is None
    assert visible(None, torch.tensor([[True, False]])).tolist() == [[[[True, False], [True, False]]]]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Conditioning(deltas={"layers.0.attention.kqv": ()}), "layers.0.attention.qkv"),
        (lambda: Conditioning(deltas={"layers.0.attention.out": (low_rank(128, 64),)}), "maps 64 numbers"),
        (lambda: Conditioning(deltas={"layers.0.cross.q": (low_rank(128, 128),)}), "no linear map"),
        (lambda: Conditioning(added={4: X}), "layer 4; this trunk has 0 to 3"),
        (lambda: Conditioning(branches={3: (branch(),)}), "layer 3; this trunk has 0 to 2"),
        (lambda: LowRank(torch.zeros(3, 8), torch.zeros(8, 4)), "expected \\(rank, inputs\\)"),
        (lambda: Branch(torch.zeros(3, 8), torch.zeros(8, 3), torch.zeros(1, 2)), "expected \\(b, l, 3\\)"),
    ],
)
def test_what_a_trunk_has_no_place_for_is_refused(network, make, says):
    with pytest.raises(ValueError, match=says):
        hidden(network, make())
