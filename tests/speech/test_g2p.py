import pytest

from bowstring.speech.g2p import G2P, spelled
from bowstring.weights.shipped import G2P_FOLDER


@pytest.fixture(scope="module")
def g2p():
    return G2P(G2P_FOLDER)


def test_acronyms_are_spelled_also_where_there_are_several(g2p):
    assert g2p.word("FBI") == spelled("F.B.I.")
    assert g2p.word("GPUs") == spelled("GPU") + "z" and g2p.word("PDFs") == spelled("PDF") + "s"
    assert g2p.word("U.S.") == spelled("US") != g2p.word("us")


def test_capitals_of_words_stay_words(g2p):
    assert [g2p.word(w) for w in ("LETS", "NASA", "UNESCO")] == [
        g2p.word(w) for w in ("lets", "nasa", "unesco")
    ]


def test_the_hour_is_no_article(g2p):
    assert [word.phonemes for word in g2p.sentence("5 a.m.").words][1] == spelled("AM")


def test_parts_of_a_name_with_humps_are_said_one_by_one(g2p):
    assert g2p.word("MapReader") == g2p.word("Map") + g2p.word("Reader")


def test_what_is_left_out_is_reported(g2p):
    words, unspoken = g2p.sentence("Привет мир, hello there.")
    assert [word.text for word in words] == ["hello", "there", "."] and unspoken == ("Привет", "мир")


@pytest.mark.parametrize("text", ["", "...", "!!!", "😀", "Привет"])
def test_nothing_to_say_is_an_error(g2p, text):
    with pytest.raises(ValueError, match="nothing to say"):
        g2p.sentence(text)
