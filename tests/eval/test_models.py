"""What the bench of models measures with: oracles, rivals and rows, at tiny sizes."""

from dataclasses import replace

import numpy as np
import pytest

from bowstring.eval import parity, rival, tokenizing
from bowstring.eval.rows import TINY, random_decoder, row_costs, size_of
from bowstring.text.tokenizer import SPECIAL_TOKENS, TextTokenizer
from bowstring.weights.layout import TOKENIZER, find
from bowstring.weights.shipped import model_folder


def test_every_family_says_what_transformers_says():
    pytest.importorskip("transformers")
    most, found = parity.largest_difference()
    assert most < 1e-4 and len(found) == 8


def test_pairs_go_half_a_head_apart():
    """Two heads of four: rows 0 1 2 3 are pairs (0, 1), (2, 3), so the first halves are rows 0 and 2."""
    rows = np.arange(8)[:, None]
    assert parity.halves_apart(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_rows_are_counted_as_they_are():
    """Bytes and operations of a row, by hand; every key is measured."""
    decoder, c = random_decoder(TINY), TINY
    weights = c.layers * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96)
    read, operations = size_of(decoder)
    assert operations == 2 * (weights + 512 * 64)
    assert read == weights * 9 // 16 + 512 * 64 * 17 // 16  # an FP16 scale for every 32
    found = row_costs(1, tiny=True)
    assert set(found["sdar_tokens_s"]) == {"1", "2", "4"} and found["rows_8_over_1"].value > 0


def test_llama_cpp_reads_what_is_made_for_it(tmp_path):
    pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    config = replace(TINY, family="llama", context=256, blocks=None, qk_norm=False)
    one = rival.Rival(rival.random_llama(config, tmp_path / "random.gguf"), 1, 256)
    assert one.vocab == 512 and one.decode_rate(4) > 0 and one.prefill_rate(range(9)) > 0
    logits = one.logits([5, 6, 7])
    assert logits.shape == (3, 512) and np.allclose(one.logits([5]), logits[:1])
    one.close()


def test_tokenizers_that_say_the_same_are_timed():
    """tiktoken with our merges says our tokens; one that cuts texts otherwise is no rival."""
    path = find(model_folder("text-int4"), TOKENIZER)
    found = tokenizing.own_rates(path, 1)
    assert found["ours"].value > 0 and found["tokenizers"].value > 0
    pytest.importorskip("tiktoken")
    assert found["tiktoken"].value > 0
    ours = TextTokenizer.load(path).encode
    other = tokenizing.of_tiktoken(path, r"\S+|\s+", SPECIAL_TOKENS)
    assert tokenizing.rates(ours, {"tiktoken": other}, 1)["tiktoken"].value is None
