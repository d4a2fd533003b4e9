import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowstring.text.tokenizer import EOS, SPECIAL_TOKENS, TextTokenizer
from bowstring.weights.layout import TOKENIZER, find
from bowstring.weights.shipped import SHIPPED

ANY = st.text(st.characters(exclude_categories=("Cs",)), max_size=80)


@pytest.fixture(scope="module")
def shipped():
    return TextTokenizer.load(find(SHIPPED, TOKENIZER))


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_every_string_comes_back(text):
    codec = TextTokenizer.load(find(SHIPPED, TOKENIZER)) if not _cached else _cached[0]
    _cached[:] = [codec]
    tokens = codec.encode(text)
    assert codec.decode(tokens) == text
    assert all(token >= len(SPECIAL_TOKENS) for token in tokens)


_cached: list[TextTokenizer] = []


def test_no_text_produces_a_reserved_id(shipped):
    text = " ".join(SPECIAL_TOKENS)
    assert shipped.decode(shipped.encode(text)) == text
    assert EOS not in shipped.encode("<|end|>")


def test_the_vocabulary_is_within_the_bounds_of_the_design(shipped):
    assert 2048 <= shipped.vocab <= 4096


def test_pieces_show_masks_and_hide_other_reserved_ids(shipped):
    assert shipped.pieces([1, EOS, *shipped.encode("fox")])[:2] == ["░", ""]


def test_training_and_saving_give_the_same_tokenizer(codec, tmp_path):
    codec.save(tmp_path / "t.json")
    assert TextTokenizer.load(tmp_path / "t.json").encode("once upon a time") == codec.encode(
        "once upon a time"
    )


def test_a_tokenizer_of_somebody_else_is_refused(tmp_path):
    from tokenizers import Tokenizer, models

    path = tmp_path / "t.json"
    path.write_text(Tokenizer(models.BPE({"a": 0}, [])).to_str())
    with pytest.raises(ValueError, match="as token 0; expected '<\\|null\\|>'"):
        TextTokenizer.load(path)
