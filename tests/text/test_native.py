"""The loop without torch beside the readable one."""

import numpy as np
import pytest
import torch

from bowstring.decode.decoder import PackedMatrix
from bowstring.text.decoder import decoder_of
from bowstring.text.native import Window, write
from bowstring.text.pipeline import TextPipeline, TextResult
from bowstring.text.request import TextRequest
from bowstring.text.sampling import Sampling, sample_text, writes
from bowstring.text.tokenizer import EOS, KINDS, MASK, PAD, SEP
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from tests.conftest import build_network

HEAD = [KINDS["text"], 40, 51, SEP]
OPTIONS = [
    Sampling(mode="ar", max_tokens=24),
    Sampling(mode="ar", max_tokens=60, temperature=1.5, top_p=1),
    Sampling(mode="ar", max_tokens=24, temperature=0),
    Sampling(mode="ar", max_tokens=24, top_k=7, repetition_penalty=1.3, min_tokens=20),
    Sampling(max_tokens=24),
    Sampling(max_tokens=24, block=8, steps=8, temperature=1.2, top_p=0.8),
    Sampling(max_tokens=24, block=3, steps=9, repetition_penalty=0.8, min_tokens=24),
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = build_network()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module")
def small(network):
    """The same with packed matrices."""
    state, made = network.state_dict(), build_network()
    made.load_state_dict(state)
    return packed(made.eval(), lambda name, shape: ArrowQuant.quantise(state[name].numpy(), 4))


@pytest.mark.parametrize("how", OPTIONS)
@pytest.mark.parametrize("context", [128, 20])
def test_texts_are_those_of_the_readable_loop(network, how, context):
    """Token for token, at the same probabilities, when the context slides, too."""
    from dataclasses import replace

    decoder = decoder_of(network, context)
    assert writes(how)
    for seed in range(3):
        one = replace(how, seed=seed)
        *_, state = sample_text(network, [HEAD], one, context, numbers=[seed])
        wanted = [token for token in state.x[0].tolist() if token not in (PAD, MASK)]
        made = [*write(decoder, HEAD, one, context, seed)]
        assert [token.token for token in made] == wanted


@pytest.mark.parametrize("how", [one for one in OPTIONS if one.mode == "ar"])
@pytest.mark.parametrize("sizes", [(0, 4, 8), (3,), (2, 9)])
@pytest.mark.parametrize("context", [128, 24])
def test_drafts_change_how_fast_a_text_comes_and_not_what_it_says(small, how, sizes, context):
    """Token for token, at the same probabilities, whatever is drafted."""
    from dataclasses import replace

    decoder = decoder_of(small, context)

    class Fixed(Window):
        def size(self):
            self.at += 1
            return sizes[self.at % len(sizes)]

    for seed in range(4):
        plain = [*write(decoder, HEAD, replace(how, seed=seed), context, seed)]
        fast = [*write(decoder, HEAD, replace(how, seed=seed, mode="auto"), context, seed, Fixed())]
        assert [(one.place, one.token, one.probability) for one in fast] == [
            (one.place, one.token, one.probability) for one in plain
        ]


@pytest.mark.parametrize(
    ("four", "eight", "best"), [(2.5, 4.5, 4), (2.5, 3.0, 4), (3.9, 3.0, 8), (3.9, 4.1, 0)]
)
def test_a_window_goes_where_tokens_come_fastest(four, eight, best):
    """The first cycle behind another size takes ten times as long and moves nothing."""
    window, used = Window(), []
    for _ in range(2000):
        size, last = window.size(), used[-1] if used else -1
        used.append(size)
        seconds = {0: 1.0, 4: four, 8: eight}[size] * (1 if size == last else 10)
        window.took(size, tokens=4 if size else 1, seconds=seconds)
    trials = 3 * len(window.TRIAL)  # rounds of 400, 800 and 1600 cycles
    assert used.count(best) >= 2000 - trials and used[:9] == [0, 0, 0, 4, 4, 4, 8, 8, 8]


def test_other_ways_of_writing_are_left_to_the_readable_loop():
    assert not writes(Sampling(order="confidence"))
    assert not writes(Sampling(block=8, steps=4))
    assert not writes(Sampling(block=8, steps=8, max_tokens=20))


def test_a_packed_model_writes_natively_and_alone_as_together(small):
    """Frames, stops and results of the loop are those of the pipeline, whatever is written beside."""

    class Letters:
        def encode(self, text):
            return [8 + ord(c) % 80 for c in text]

        def to_bytes(self, tokens):
            return bytes(97 + token % 26 for token in tokens if token > 7)

        def decode(self, tokens):
            return self.to_bytes(tokens).decode()

    pipeline = TextPipeline(small, Letters(), 128)
    assert isinstance(pipeline.decoder.layers[0].q, PackedMatrix)
    asked = lambda prompt, stop=(): TextRequest(
        prompt, "diffusion", max_tokens=20, temperature=1.2, stop=stop
    )
    alone = [[*pipeline.stream(asked(prompt), 4)][-1] for prompt in ("ab", "cd")]
    items = [*pipeline.stream(asked(["ab", "cd"]), 4)]
    assert [one for one in items if isinstance(one, TextResult)] == alone
    frames = [one for one in items if not isinstance(one, TextResult) and one.number == 0]
    assert frames[0].share == 0 and all(t == MASK for t in frames[0].tokens)
    assert np.array_equal([t for t in frames[-1].tokens if t not in (PAD, MASK, EOS)], alone[0].tokens)
    assert alone[0].trajectory[-1] == frames[-1].tokens
    stop = alone[0][3:5]
    cut = [*pipeline.stream(asked("ab", stop), 4)][-1]
    assert cut == alone[0][: alone[0].find(stop)] and cut.finish_reason == "stop"
