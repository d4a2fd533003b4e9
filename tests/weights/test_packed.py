"""A packed network is the network it was made from, on both of its paths."""

import copy
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from bowstring import _native
from bowstring.core.conditioning import NOTHING, Branch, Cache, Conditioning, LowRank
from bowstring.engine import ArrowEngine
from bowstring.nn.config import NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.nn.trunk import MAPS
from bowstring.text.weights import load_model, save_model
from bowstring.weights.format.parquet import WeightsFile
from bowstring.weights.layout import TRUNK
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import (
    QuantLinear,
    linear,
    linears,
    matrices,
    packed,
    random_network,
    unpacked,
)
from bowstring.weights.shipped import EDGE_TEXT, SHIPPED
from tests.conftest import build_network

TOLERANCE = 1e-2  # sums run in another order, and now and then an INT8 rounding falls on the other side


def apart(ours, theirs):
    """Relative distance."""
    return ((ours - theirs).norm() / theirs.norm()).item()


def quantised(network, bits):
    weights = network.state_dict()
    return packed(copy.deepcopy(network), lambda name, _: ArrowQuant.quantise(weights[name].numpy(), bits))


def states(network, given=NOTHING):
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, network.config.vocab, (2, 20), generator=rng)
    position, valid = torch.arange(20.0)[None].expand(2, -1), torch.ones(2, 20, dtype=torch.bool)
    valid[1, :3] = False
    with torch.no_grad():
        _, cache = network.prefill(tokens[:, :12], position[:, :12], valid[:, :12], given)
        hidden, cache = network.prefill(
            tokens[:, 12:16], position[:, 12:16], valid[:, 12:16], given.with_(cache=cache)
        )
        scored = network.block_hidden(tokens[:, 16:], position[:, 16:], given.with_(cache=cache))
    return hidden, scored, *cache.layers[-1]


def test_unpacked_is_what_the_bits_say_and_can_be_trained(network):
    small = quantised(network, 4)
    plain = unpacked(small)
    was, now = network.state_dict(), plain.state_dict()
    assert was.keys() == now.keys()
    for name in was:
        if name in matrices(small):
            assert 0 < apart(now[name], was[name]) < 0.15
        else:
            assert (now[name] == was[name]).all()
    plain.plain(torch.ones(1, 4, dtype=torch.long), torch.ones(1, 4)).sum().backward()
    assert plain.trunk.layers[0].attention.qkv.weight.grad is not None


needs_library = pytest.mark.skipif(_native._find()[0] is None, reason="no native library")


@needs_library
@pytest.mark.parametrize("bits", [2, 4])
def test_one_native_call_is_the_layers_one_by_one(network, bits, monkeypatch):
    small = quantised(network, bits)
    native = states(small)
    monkeypatch.setattr(_native, "library", lambda: None)
    for ours, theirs in zip(native, states(small), strict=True):
        assert apart(ours, theirs) < TOLERANCE


@needs_library
def test_each_token_may_have_its_own_time_natively(network, monkeypatch):
    small = quantised(network, 4)
    x, position = torch.randn(2, 6, 128, generator=torch.Generator().manual_seed(1)), torch.arange(6.0)[None]
    t = torch.rand(2, 6, generator=torch.Generator().manual_seed(2))
    native, _ = small(x, position.expand(2, -1), t, step_size=t / 2)
    monkeypatch.setattr(_native, "library", lambda: None)
    assert apart(native, small(x, position.expand(2, -1), t, step_size=t / 2)[0]) < TOLERANCE


def test_four_bits_stay_close_to_the_original_and_two_bits_less(network):
    full = states(network)[0]
    error = [((states(quantised(network, bits))[0] - full).norm() / full.norm()).item() for bits in (4, 2)]
    assert error[0] < 0.5 * error[1] < 0.6


WIDTH, FFN = 128, 200


def bent(b, length, m, rank, kinds):
    """A conditioning with these kinds of parts, each of which matters."""
    rng = torch.Generator().manual_seed(7)
    draw = lambda *shape: torch.randn(shape, generator=rng)
    sizes = {
        "qkv": (3 * WIDTH, WIDTH),
        "up": (2 * FFN, WIDTH),
        "down": (WIDTH, FFN),
        "kv": (2 * WIDTH, WIDTH),
    }
    given = NOTHING
    if "entries" in kinds:
        mask = torch.rand(b, length, m, generator=rng) < 0.7
        given |= Conditioning(entries=draw(b, m, WIDTH), entries_mask=mask if "masked" in kinds else None)
    if "read" in kinds:
        mask = torch.rand(b, 1, m + 1, generator=rng) < 0.7
        given |= Conditioning(
            read={1: draw(b, m + 1, 2 * WIDTH)}, read_mask=mask[:, 0] if "masked" in kinds else None
        )
    if "added" in kinds:
        given |= Conditioning(
            added={0: draw(b, 1, WIDTH), 1: draw(1, length, WIDTH), 2: draw(b, length, WIDTH)}
        )
    if "branches" in kinds:
        told = [None, draw(b, 1, rank)]
        given |= Conditioning(
            branches={
                i: tuple(Branch(0.1 * draw(rank, WIDTH), draw(WIDTH, rank), c, 0.3) for c in told[: 1 + i])
                for i in range(2)
            }
        )
    if "deltas" in kinds:
        names = [f"layers.{i}.{name}" for i, name in itertools.product(range(2), MAPS)]
        given |= Conditioning(
            deltas={
                name: tuple(
                    LowRank(draw(rank, k), draw(n, rank), 0.3 / k**0.5)
                    for n, k in [sizes.get(name.rpartition(".")[2], (WIDTH, WIDTH))] * 2
                )
                for name in names
                if "0.cross" not in name
            }
        )
    return given


@pytest.fixture(scope="module")
def two_layers():
    network = build_network(width=WIDTH, depth=2, ffn_hidden=FFN, cross_every=2)
    with torch.no_grad():
        network.trunk.layers[1].cross.gate.fill_(4.0)  # wide open
        network.trunk.layers[1].cross.out.weight.mul_(4.0)
    return quantised(network, 4)


KINDS = ["entries", "read", "added", "branches", "deltas"]
COMBINATIONS = [some for n in range(1, 6) for some in itertools.combinations(KINDS, n)]


@needs_library
@pytest.mark.parametrize("cached", [0, 5])
@pytest.mark.parametrize(
    ("b", "length", "m", "rank"), [(1, 1, 1, 1), (2, 3, 5, 3), (1, 17, 19, 16), (3, 4, 2, 5)]
)
def test_all_that_bends_a_forward_bends_the_native_one_alike(
    two_layers, b, length, m, rank, cached, monkeypatch
):
    """Every combination, tails of every kind, with and without a cache, one time for all or one for each."""
    rng = torch.Generator().manual_seed(2)
    x, position = torch.randn(b, length, WIDTH, generator=rng), cached + torch.arange(float(length))[None]
    cache = None
    if cached:
        shape = (b, WIDTH // 64, cached, 64)
        layers = tuple(tuple(torch.randn(shape, generator=rng) for _ in range(2)) for _ in range(2))
        cache = Cache(layers, torch.ones(b, cached, dtype=torch.bool))
    times = (torch.full((1, 1), 0.3), torch.rand(b, length, generator=rng))
    given = [bent(b, length, m, rank, (*some, *more)) for some in COMBINATIONS for more in ((), ("masked",))]
    calls = [(t, one.with_(cache=cache)) for t, one in itertools.product(times, given)]
    run = lambda: [two_layers(x, position, t, None, one)[0] for t, one in calls]
    with torch.no_grad():
        plain = [two_layers(x, position, t, None, Conditioning(cache))[0] for t in times]
        native = run()
        monkeypatch.setattr(_native, "library", lambda: None)
        far = [apart(a, b) for a, b in zip(native, run(), strict=True)]
        moved = [apart(one, plain[i // len(given)]) for i, one in enumerate(native)]
    assert max(far) < TOLERANCE
    assert min(moved) > 5 * TOLERANCE


@needs_library
def test_a_network_may_be_copied_cast_and_filled_anew(two_layers):
    """No address outlives what it pointed to."""
    given = bent(2, 20, 5, 3, ("entries",)).with_(entries_mask=None)
    small = copy.deepcopy(two_layers)
    expected = states(small, given)
    twin = copy.deepcopy(small)
    weights = {name: 1.5 * value for name, value in small.state_dict().items()}
    small.load_state_dict(weights, assign=True)
    changed = states(small, given)
    small.load_state_dict(twin.state_dict())
    for name, value in zip(["copied", "filled"], [twin, small], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(states(value, given), expected, strict=True)), name
    del small
    junk = [torch.full((3, 128), float("nan")) for _ in range(200)]
    assert all(torch.equal(a, b) for a, b in zip(states(twin, given), expected, strict=True)), len(junk)
    assert apart(changed[0], expected[0]) > 5 * TOLERANCE
    twin.trunk.double()
    assert apart(states(twin, given)[0], expected[0]) < TOLERANCE
    again = pickle.loads(pickle.dumps(two_layers))  # as spawned processes do
    assert torch.equal(states(again, given)[0], expected[0])


@needs_library
def test_numbers_do_not_depend_on_threads(two_layers):
    before = torch.get_num_threads()
    made = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            _native.set_threads(count)
            hidden, *rest = states(two_layers)
            made.append([hidden, *rest, two_layers.heads["text"](hidden)])
    finally:
        torch.set_num_threads(before)
        _native.set_threads(0)
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


@needs_library
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 1, 1), (3, 17, 5), (4, 64, 16), (6, 200, 33), (9, 33, 18)]
)
def test_a_native_linear_map_is_torchs(rows, inputs, outputs):
    rng = torch.Generator().manual_seed(rows)
    x, w = torch.randn(2, rows, inputs, generator=rng), torch.randn(outputs, inputs, generator=rng)
    bias = torch.randn(outputs, generator=rng)
    for some in (None, bias):
        torch.testing.assert_close(
            linear(x, w, some), torch.nn.functional.linear(x, w, some), atol=1e-4, rtol=1e-4
        )
    assert torch.equal(linear(x[:, :1], w), linear(x, w)[:, :1])


def test_two_threads_count_their_own_passes(two_layers):
    x, position = torch.randn(1, 3, WIDTH), torch.arange(3.0)[None]
    count = lambda n: (two_layers.forwards, [two_layers(x, position) for _ in range(n)], two_layers.forwards)
    with ThreadPoolExecutor(2) as pool, torch.no_grad():
        for n, (before, _, after) in zip((5, 9), pool.map(count, (5, 9)), strict=True):
            assert after - before == n


@pytest.mark.parametrize("bits", [2, 4])
def test_a_packed_model_comes_back_as_views_of_its_file(network, codec, tmp_path, bits):
    small = quantised(network, bits)
    save_model(tmp_path, small, codec, context=128)
    loaded, _, metadata = load_model(tmp_path)
    assert metadata.bits == bits
    for name, matrix in matrices(loaded).items():
        assert not matrix.lines.flags.owndata and not matrix.lines.flags.writeable
        np.testing.assert_array_equal(matrix.dequantise(), matrices(small)[name].dequantise())
    assert apart(states(loaded)[0], states(small)[0]) < 0.02  # embeddings are in FP16
    assert ArrowEngine.load(tmp_path).generate("a fox", max_tokens=8).nfe > 0


def test_a_packed_file_that_lacks_a_part_is_refused(network, codec, tmp_path):
    from bowstring.weights.format.parquet import Tensor, write

    save_model(tmp_path, quantised(network, 4), codec)
    file = WeightsFile(tmp_path / TRUNK)
    arrays = {name: np.array(file[name]) for name in file}
    arrays.pop("trunk.layers.0.attention.qkv.weight.scales")
    write(tmp_path / TRUNK, ((n, Tensor.of(a)) for n, a in arrays.items()), {})
    with pytest.raises(ValueError, match=r"lacks tensor 'trunk\.layers\.0\.attention\.qkv\.weight\.scales'"):
        load_model(tmp_path)


def test_random_networks_are_born_packed():
    config = NetworkConfig(width=128, depth=2, ffn_hidden=192, rank=32, vocab=64)
    network = random_network(config, 2)
    hidden, _ = network(torch.randn(1, 4, 128), torch.arange(4.0)[None])
    assert torch.isfinite(hidden).all() and 0.5 < hidden.std() < 2
    with torch.device("meta"):
        names = {name for name, *_ in linears(UnifiedScoreNetwork(config).trunk)}
    assert set(matrices(network)) == names
    assert isinstance(network.trunk.layers[0].attention.qkv, QuantLinear)


@pytest.mark.parametrize("folder", [SHIPPED, EDGE_TEXT])
def test_shipped_packed_models_agree_on_both_paths(folder, monkeypatch):
    """The stated tolerance of the native path, on what ships: 2 %, two and a half steps of INT8.

    Six layers pass a rounding that fell to the other side on; without such, the paths differ by 1e-6.
    """
    if _native._find()[0] is None:
        pytest.skip("needs the native library")
    network, _, _ = load_model(folder)
    native = states(network)
    monkeypatch.setattr(_native, "library", lambda: None)
    for ours, theirs in zip(native, states(network), strict=True):
        assert apart(ours, theirs) < 2e-2
