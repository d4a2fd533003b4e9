"""Tokens in plain Python are those of the library, for every text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowstring.edge.bpe import BPE
from bowstring.text.tokenizer import TextTokenizer
from bowstring.weights.shipped import DATA

PATH = DATA / "tokenizer" / "tokenizer.json"
THEIRS, OURS = TextTokenizer.load(PATH), TextTokenizer(BPE.load(PATH))
HARD = [
    "I'll  don't\t\n you've  'S",
    "x = [a_1, ²Ⅷ½]  # 3.14\r\n\r\n\tpass   ",
    "\u00a0\u2003 naïve \u0301café 日本語12\u3000\x1c\x1fend",
    "<|end|> <|mask|>",
    "",
]


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_are_spelled_alike(text):
    assert OURS.encode(text) == THEIRS.encode(text)
    assert OURS.to_bytes(OURS.encode(text)).decode() == text


@given(st.text(max_size=40))
def test_any_text_is_spelled_alike(text):
    assert OURS.encode(text) == THEIRS.encode(text)
