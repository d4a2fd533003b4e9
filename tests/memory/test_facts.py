"""What the model has made is taken for no fact, whoever asks."""

import pytest

from bowstring.cli.text import lesson_texts
from bowstring.llm.recall import Recall
from bowstring.memory.embed import default_embedder
from bowstring.memory.facts import MADE, facts
from bowstring.memory.store import ArrowStorage

FOX, SHIP = "The fox lives behind the mill.", "A ship is being built in the harbour."


class Letters:
    def encode(self, text):
        return list(text)


@pytest.fixture
def store(tmp_path):
    with ArrowStorage(tmp_path / "store", default_embedder()) as made:
        made.add("The fox lives on the moon.", namespace=MADE, tags=["animal"])
        yield made


def test_alone_it_is_nothing(store):
    asked = [{"role": "user", "content": "Where does the fox live?"}]
    assert facts(store) is None and Recall(store)(asked, Letters()) == (asked, [])
    assert facts(store, {"namespace": MADE}) == {"namespace": MADE}


def test_it_is_left_out_of_chats_and_lessons(store):
    (fox, _) = store.add(FOX, namespace="n", tags=["animal"]), store.add(SHIP, namespace="other")
    asked = [{"role": "user", "content": "Where does the fox live?"}]
    for where in (None, {"tags": ["animal"]}):
        told, taken = Recall(store, where=where)(asked, Letters())
        assert fox in [one["id"] for one in taken] and "moon" not in told[0]["content"]
    assert lesson_texts(store, "Where does the fox live?", 200, {}) == [FOX]
    assert lesson_texts(store, "Where does the fox live?", 200, {"namespace": "other"}) == []
