"""The engine with a memory: what guides is told, nothing else changes, and what was made is no fact."""

import random
import shutil

import numpy as np
import pytest

from bowstring import ArrowEngine
from bowstring.memory.conditioner import MADE
from bowstring.memory.embed import default_embedder
from bowstring.memory.store import ArrowStorage
from bowstring.train.data.remembered import Facts, matches
from bowstring.weights.layout import MEMORY
from bowstring.weights.shipped import MULTIMODAL

FOX = Facts("fox", "brave", "castle", "bear", "purple")
PROMPT = FOX.prompt
LENGTH = 48


@pytest.fixture
def engine(tmp_path):
    made = ArrowEngine.load(memory=tmp_path / "memory")
    assert made.folder == MULTIMODAL
    yield made
    made.memory.close()


def test_an_empty_store_guides_nothing_and_is_no_error(engine):
    plain = ArrowEngine.load(MULTIMODAL)
    given = {"max_tokens": 16, "seed": 3}
    assert engine.generate(PROMPT, **given) == plain.generate(PROMPT, **given)
    guided = engine.generate(PROMPT, memory_guided=True, **given)
    assert (
        guided == plain.generate(PROMPT, **given) and guided.tokens == plain.generate(PROMPT, **given).tokens
    )
    assert not guided.memories and "nothing is remembered" in guided.notes[-1]
    diffused = engine.diffuse(PROMPT, max_tokens=16)
    assert diffused == plain.diffuse(PROMPT, max_tokens=16, memory_guided=False)
    picture = engine.diffuse("my favourite picture", "image", num_steps=1)
    assert np.array_equal(picture, plain.diffuse("my favourite picture", "image", num_steps=1))


def test_a_memory_guides_a_story_and_is_named(engine):
    fox = engine.memory.add(FOX.sentence(random.Random(0)))
    engine.memory.add("The dentist is on Monday at ten.")
    texts = [engine.generate(PROMPT, memory_guided=True, max_tokens=LENGTH, seed=i) for i in range(4)]
    plain = [engine.generate(PROMPT, max_tokens=LENGTH, seed=i) for i in range(4)]
    assert all([guide.id for guide in one.memories] == [fox] for one in texts)
    assert texts[0].memories[0].weight == pytest.approx(1.0)
    assert texts[0].to_json()["memories"][0]["id"] == fox
    assert sum(matches(one, FOX) for one in texts) >= 4 + sum(matches(one, FOX) for one in plain)
    assert not plain[0].memories
    two = engine.generate([PROMPT, "a story about a bear"], n=2, memory_guided=True, max_tokens=8)
    assert len(two) == 4 and two[0] == engine.generate(PROMPT, memory_guided=True, max_tokens=8)


def test_a_filter_says_who_may_guide(engine):
    engine.memory.add(FOX.sentence(random.Random(0)), namespace="hers")
    engine.memory_where = {"namespace": "his"}
    assert not engine.generate(PROMPT, memory_guided=True, max_tokens=4).memories
    engine.memory_where = {"namespace": "hers"}
    assert engine.generate(PROMPT, memory_guided=True, max_tokens=4).memories


def test_what_was_made_is_remembered_as_the_models(engine):
    text = engine.generate(PROMPT, write_back=True, max_tokens=8)
    kept = engine.memory.list({"namespace": MADE})
    assert [one.text for one in kept] == [text] and kept[0].source == "made by the model"
    assert not engine.generate(PROMPT, memory_guided=True, max_tokens=4).memories
    with pytest.raises(ValueError, match="needs a memory"):
        ArrowEngine.load(MULTIMODAL).generate(PROMPT, write_back=True, max_tokens=4)


def test_a_memory_guides_a_picture(engine):
    engine.memory.add("My favourite picture shows a fox, all blue, drawn in the flat style.")
    given = {"steps": 2, "cfg_scale": 1.0, "size": 64}
    guided = engine.image("my favourite picture", memory_guided=True, write_back=True, **given)
    plain = engine.image("my favourite picture", **given)
    assert len(guided.memories) == 1 and not plain.memories
    tint = lambda image: image.image[..., 2].astype(float).mean() - image.image[..., 0].astype(float).mean()
    assert tint(guided) > tint(plain) + 2  # bluer
    (kept,) = engine.memory.list({"namespace": MADE})
    assert kept.holds == ("payload", "picture") or set(kept.holds) == {"payload", "picture"}


def test_a_form_and_memories_do_not_go_together(engine):
    engine.memory.add(FOX.sentence(random.Random(0)))
    with pytest.raises(ValueError, match="do not go together"):
        engine.generate(PROMPT, choices=["a", "b"], memory_guided=True)


def test_vectors_of_another_embedder_are_refused(tmp_path):
    own = default_embedder()
    other = type(own)("other", "1", own.width, own.encode)
    with ArrowStorage(tmp_path / "memory", other) as store:
        store.add(FOX.sentence(random.Random(0)))
        engine = ArrowEngine.load(MULTIMODAL, memory=store)
        with pytest.raises(ValueError, match="projects vectors of 'bowstring'"):
            engine.generate(PROMPT, memory_guided=True, max_tokens=4)


def test_a_model_without_projectors_says_so(tmp_path):
    folder = tmp_path / "plain"
    ArrowEngine.load(MULTIMODAL).save(folder)
    assert (folder / MEMORY).exists()  # they lie beside the trunk
    shutil.rmtree((folder / MEMORY).parent)
    engine = ArrowEngine.load(folder, memory=tmp_path / "memory")
    text = engine.generate(PROMPT, memory_guided=True, max_tokens=4)
    assert "no projectors" in text.notes[-1]
