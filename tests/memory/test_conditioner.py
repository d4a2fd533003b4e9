"""Memories as conditions: what guides, with which weights, and that nothing else is touched."""

import dataclasses

import numpy as np
import pytest
import torch

from bowstring.core.conditioning import NOTHING, Conditioning, LowRank
from bowstring.memory.conditioner import MADE, MemoryConditioner, keep_made
from bowstring.memory.record import Embedder
from bowstring.memory.store import ArrowStorage
from bowstring.nn.memory import MemoryProjector, ProjectorConfig, slots
from bowstring.weights.memory import load_projectors, save_projectors
from tests.conftest import build_network

WIDTH = 16
WORDS = ("fox", "bear", "river", "hill", "red", "blue", "tax", "bill")
BASE = "sha256:" + "0" * 64


def count_words(texts):
    """A vector says which words are there, and the shape of the rest is the text's own."""
    rows = [[float(word in text) for word in WORDS] + [0.01] * (WIDTH - len(WORDS)) for text in texts]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


EMBEDDER = Embedder("words", "1", WIDTH, count_words)


@pytest.fixture
def store(tmp_path):
    with ArrowStorage(tmp_path / "memory", EMBEDDER) as made:
        yield made


def open_network():
    network = build_network(width=128, depth=3, cross_every=2)
    with torch.no_grad():
        network.trunk.layers[1].cross.gate.fill_(1.0)
    return network


def learned(layers=(1,), tokens=True, seed=0):
    """A projector whose deltas matter."""
    torch.manual_seed(seed)
    projector = MemoryProjector(ProjectorConfig(128, WIDTH, layers, 3, 24, 4, tokens))
    with torch.no_grad():
        for one in projector.b.values():
            one.normal_()
    return projector.eval().requires_grad_(False)


def conditioner(store, network, where=None):
    return MemoryConditioner(store, network.trunk, {"text": learned()}, where)


@torch.no_grad()
def hidden(network, given=NOTHING):
    tokens = torch.arange(8, 20)[None]
    return network.plain(tokens, torch.ones_like(tokens), given)


def test_memories_guide_with_weights_that_are_one_together(store):
    network = open_network()
    ids = store.add_many(["the fox is red", "the fox is blue", "the tax bill"])
    found = conditioner(store, network).get_condition("a story about a fox")
    assert {one.id for one in found.memories} == {*ids[:2]} and not found.notes
    assert sum(one.weight for one in found.memories) == pytest.approx(1.0)
    assert found.memories[0].weight == pytest.approx(0.5)  # they fit alike
    assert (hidden(network, found.conditioning) - hidden(network)).abs().max() > 1e-3
    assert len(conditioner(store, network).get_condition("a fox", top_k=1).memories) == 1


@pytest.mark.parametrize("filled", [False, True])
def test_where_nothing_fits_nothing_is_bent(store, filled):
    network = open_network()
    if filled:
        store.add("the tax bill")
    found = conditioner(store, network).get_condition("a story about a fox")
    assert found.conditioning is NOTHING and not found.memories and "no memory guided" in found.notes[0]
    assert torch.equal(hidden(network, found.conditioning), hidden(network))


def test_the_order_in_which_they_were_remembered_changes_nothing(tmp_path):
    network, texts = open_network(), ["the fox is red", "the fox by the river", "a fox on the hill"]
    outputs = []
    for number, order in enumerate(([0, 1, 2], [2, 0, 1])):
        with ArrowStorage(tmp_path / str(number), EMBEDDER) as store:
            for i in order:
                store.add(texts[i], key=str(i))
            found = conditioner(store, network).get_condition("a fox")
            rank = {one.text: one.weight for one in found.memories}
            outputs.append((rank, hidden(network, found.conditioning)))
    assert outputs[0][0] == pytest.approx(outputs[1][0]) and len(outputs[0][0]) == 3
    torch.testing.assert_close(outputs[0][1], outputs[1][1], atol=1e-6, rtol=1e-5)


def test_deltas_of_the_entries_act_on_memories_alone():
    """A caption beside them is read as it would be alone, and without memories there is no delta."""
    network, projector = open_network(), learned(tokens=False)
    caption = Conditioning(entries=torch.randn(1, 5, 128, generator=torch.Generator().manual_seed(1)))
    vectors = torch.from_numpy(count_words(["the fox is red"]))[None]
    unseen = projector.conditioning(network.trunk, vectors, mask=torch.zeros(1, 1, dtype=torch.bool))
    assert not unseen.deltas
    torch.testing.assert_close(hidden(network, caption | unseen), hidden(network, caption))
    seen = projector.conditioning(network.trunk, vectors)
    assert (hidden(network, caption | seen) - hidden(network, caption)).abs().max() > 1e-3
    none = torch.zeros(1, 0, WIDTH)
    assert learned(tokens=True).conditioning(network.trunk, none) is NOTHING


def test_keys_and_values_are_the_slots_own_with_the_delta_merged():
    network, projector = open_network(), learned()
    slot, vectors = network.trunk.layers[1].cross, torch.randn(1, 2, WIDTH)
    delta: LowRank = projector.delta("layers.1.cross.kv")
    merged = slot.kv.weight + delta.scale * delta.b @ delta.a
    entries = projector.entries(vectors)
    expected = entries @ merged.T
    torch.testing.assert_close(projector.read(slot, 1, entries), expected, atol=1e-4, rtol=1e-4)
    assert entries.square().mean(-1).allclose(torch.ones(1, 2, 3), atol=1e-3)


def test_what_was_made_is_kept_and_never_taken_for_a_fact(store):
    network = open_network()
    kept = keep_made(store, "the fox is blue", "a fox", ())
    assert store.get(kept).source == "made by the model" and store.get(kept).namespace == MADE
    assert not conditioner(store, network).get_condition("a fox").memories
    fact = store.add("the fox is red")
    assert [one.id for one in conditioner(store, network).get_condition("a fox").memories] == [fact]
    asked = conditioner(store, network).within({"namespace": MADE})
    assert [one.id for one in asked.get_condition("a fox").memories] == [kept]


def test_projectors_come_back_from_their_file(tmp_path):
    path = tmp_path / "memory" / "projector.parquet"
    projectors = {"text": learned(), "image": learned(tokens=False, seed=1)}
    save_projectors(path, projectors, BASE, EMBEDDER.identity)
    found, card = load_projectors(path)
    assert card.embedder == EMBEDDER.identity and card.base == BASE
    for name, one in projectors.items():
        assert found[name].config == one.config
        for key, value in one.state_dict().items():
            step = value.abs().amax(-1, keepdim=True) / 127  # half a step of INT8 at most
            assert ((found[name].state_dict()[key] - value).abs() <= 0.51 * step).all(), key
    assert path.stat().st_size < 200_000


def test_a_file_that_is_none_is_refused(tmp_path):
    from bowstring.weights.format.parquet import Tensor, write

    path = tmp_path / "projector.parquet"
    write(path, [("text.entry", Tensor.of(np.zeros((3, 128), np.float32)))], {"memory": {"base": BASE}})
    with pytest.raises(ValueError, match="holds no projectors"):
        load_projectors(path)
    card = dataclasses.asdict(ProjectorConfig(128, WIDTH, (1,))) | {"layers": [1]}
    whole = {"base": BASE, "embedder": EMBEDDER.identity, "projectors": {"text": card}}
    write(path, [("text.entry", Tensor.of(np.zeros((3, 128), np.float32)))], {"memory": whole})
    with pytest.raises(ValueError, match=r"projector\.parquet"):
        load_projectors(path)
    with pytest.raises(ValueError, match="expected 1 to"):
        ProjectorConfig(128, WIDTH, (1,), entries=10**9)


def test_slots_are_where_the_trunk_has_them():
    assert [*slots(build_network(depth=6, cross_every=3).trunk)] == [2, 5]
