from itertools import pairwise

import pytest
import torch

from bowstring.speech.g2p import G2P, SYMBOLS, spelled
from bowstring.speech.g2p_network import G2PNetwork
from bowstring.speech.letters import best_phonemes, letter_ids
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


def test_numpy_reads_words_as_the_network_that_was_trained():
    """Gates in another order, a direction that is not turned back or an untied bias break this."""
    arrays = G2P(G2P_FOLDER).letters
    network = G2PNetwork(len(SYMBOLS))
    network.load_state_dict({name: torch.from_numpy(one) for name, one in arrays.items()})
    for word in ("bowstring", "xylograph", "o'maley", "a", "zzz", "quixotically"):
        with torch.no_grad():
            path = network(torch.tensor([letter_ids(word)]))[0].argmax(-1).tolist()
        kept = [b for a, b in pairwise([0, *path]) if b not in (a, 0)]
        assert best_phonemes(arrays, word) == [one - 1 for one in kept]
    assert best_phonemes(arrays, "1") == []
