"""A text that is written in the passes of speech, face and picture, and is what it would be alone."""

import copy

import pytest
import torch

from bowstring.image.sampling import caption_tokens
from bowstring.joint.sampling import JointInputs, sample_joint
from bowstring.joint.writing import Always, TextRows, first_end
from bowstring.nn.config import VOICE
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.speech.g2p import Word
from bowstring.speech.sampling import SpeechSampling, predict_durations
from bowstring.text.native import written
from bowstring.text.sampling import Sampling, sample_text
from bowstring.text.tokenizer import KINDS, SEP
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from tests.conftest import build_network

HEAD = [KINDS["text"], 40, 51, 60, SEP]
HOW = Sampling("auto", max_tokens=20, temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = build_network(modalities=["text", "image", "audio", "avatar"])
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module")
def small(network):
    """The same with packed matrices."""
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return packed(copy.deepcopy(network), lambda name, _: ArrowQuant.quantise(weights[name], 4))


@pytest.fixture
def inputs(network, codec):
    voice = torch.zeros(1, VOICE)
    words = [Word("fox", "fˈɑks"), Word("runs", "ɹˈʌnz"), Word(".", ".")]
    utterance = predict_durations(network, words, voice, SpeechSampling())
    return JointInputs(utterance, voice, caption=caption_tokens(codec, "a red fox"))


def rows(network, how=HOW):
    return TextRows(network, written(HEAD, how, 128, 0, Always()))


def alone(network, how=HOW):
    text = rows(network, how)
    while text.wanted is not None:
        text.evaluate()
    return text.fresh


def together(network, inputs, steps, cfg_scale=3.0):
    """The last state of the streams, and the tokens of a text that began beside them and ended alone."""
    text = rows(network)
    *_, state = sample_joint(network, inputs, steps, cfg_scale, seed=4, rows=text)
    beside = len(text.fresh)
    while text.wanted is not None:
        text.evaluate()
    return state, text.fresh, beside


def test_on_packed_matrices_every_stream_is_bit_equal_to_itself_alone(small, inputs):
    *_, others = sample_joint(small, inputs, 6, 3.0, seed=4)
    state, tokens, beside = together(small, inputs, 6)
    assert 0 < beside < len(tokens)
    assert tokens == alone(small)  # probabilities and entropies, too
    for name, x in others.x.items():
        assert torch.equal(state.x[name], x), name


def test_on_plain_matrices_streams_are_close_and_the_text_is_that_of_the_readable_loop(network, inputs):
    *_, others = sample_joint(network, inputs, 6, 3.0, seed=4)
    state, tokens, _ = together(network, inputs, 6)
    for name, x in others.x.items():
        torch.testing.assert_close(state.x[name], x, atol=2e-4, rtol=2e-4)
    *_, readable = sample_text(network, [HEAD], HOW, 128)
    assert [one.token for one in tokens] == readable.x[0].tolist()[: len(tokens)]


def test_one_pass_holds_text_speech_face_and_picture(small, inputs, monkeypatch):
    seen, evaluate = [], UnifiedScoreNetwork.flow_and_read

    def watched(network, x, *rest):
        seen.append({name: value.shape[1] for name, value in x.items()})
        return evaluate(network, x, *rest)

    monkeypatch.setattr(UnifiedScoreNetwork, "flow_and_read", watched)
    text = rows(small)
    text.evaluate()  # the prompt is read
    before = small.forwards
    states = [*sample_joint(small, inputs, 3, 1.0, seed=4, rows=text)]
    assert small.forwards - before == 3 + 2  # and two that read the caption and no caption
    assert [set(one) for one in seen[1:]] == [{"text", "audio", "avatar", "image"}] * 3
    assert states[-1].nfe.tolist() == [3]


@pytest.mark.parametrize(
    "text, ends",
    [
        ("Mr. Fox ran. He fell. And", ["Mr. Fox ran.", " He fell."]),
        ('"Come in," said Ada. "I am', ['"Come in," said Ada.']),
        ('"Come in." "Yes?" She', ['"Come in."', ' "Yes?"']),
        ("... A fox sat. x", ["... A fox sat."]),
        ("A fox ran.", []),
    ],
)
def test_sentences_are_taken_once_the_next_one_begins(text, ends):
    found, start = [], 0
    while (end := first_end(text, start)) > start:
        found.append(text[start:end])
        start = end
    assert found == ends
