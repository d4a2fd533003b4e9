"""Several texts at once, stop strings, text as it settles: what is exact about them."""

import json
import re
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bowstring.core.cancel import Cancelled
from bowstring.text.pipeline import TextFrame, TextPipeline
from bowstring.text.request import TextRequest
from bowstring.text.result import TextResult
from bowstring.text.sampling import Sampling, Steered, holding, law, penalised, sample_text
from bowstring.text.stops import Deltas, before_byte, first_stop
from bowstring.text.tokenizer import EOS, KINDS, MASK, SEP

PROMPTS = ["a fox", "a much longer prompt about a bear that went to the sea", "the cat"]


@pytest.fixture(scope="module")
def pipeline(network, codec):
    return TextPipeline(network, codec, 128)


def written(pipeline, prompts, n=1, stop=(), cancel=None, **how):
    request = TextRequest(prompts, n=n, stop=stop, cancel=cancel, **{"mode": "diffusion", **how})
    frames = pipeline.stream(request, 4)
    return [one for one in frames if isinstance(one, TextResult)]


@pytest.mark.parametrize(
    "how",
    [
        {"mode": "ar"},
        {"block": 8, "steps": 3, "order": "confidence"},
        {"top_k": 9, "repetition_penalty": 1.3, "min_tokens": 20},
    ],
)
def test_a_text_does_not_depend_on_its_neighbours(pipeline, how):
    how = {"max_tokens": 40, "seed": 3, **how}
    together = written(pipeline, PROMPTS, n=2, **how)
    alone = [one for prompt in PROMPTS for one in written(pipeline, [prompt], n=2, **how)]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert [one.trajectory for one in together] == [one.trajectory for one in alone]
    assert [one.nfe for one in together] == [one.nfe for one in alone]
    assert [one.settings["number"] for one in together] == [0, 1] * 3
    single = written(pipeline, PROMPTS[:1], **how)
    assert single[0].tokens == together[0].tokens != together[1].tokens


def test_a_text_slides_when_its_own_context_is_full(network, codec):
    """Rows of a short and of a long prompt fill the context at different times."""
    short, how = TextPipeline(network, codec, 64), {"max_tokens": 72, "min_tokens": 72, "seed": 1}
    together = written(short, PROMPTS, block=8, steps=2, **how)
    alone = [written(short, [one], block=8, steps=2, **how)[0] for one in PROMPTS]
    assert [one.tokens for one in together] == [one.tokens for one in alone]


def test_what_a_step_changed_is_kept_and_nothing_else(pipeline):
    made = written(pipeline, PROMPTS[:1], max_tokens=64, min_tokens=64, block=4, steps=2)[0]
    assert sum(len(places) for places, _ in made.history.changes) == 64
    assert len(made.trajectory) == made.nfe + 1 == len(made.seconds) + 1
    assert set(made.trajectory[0]) == {MASK} and MASK not in made.trajectory[-1]
    assert made.trajectory[-1] == made.tokens


def test_a_stop_string_cuts_across_tokens_and_ends_the_work(pipeline):
    whole = written(pipeline, PROMPTS[:1], max_tokens=48, min_tokens=48, seed=5)[0]
    stop = re.search("[ -~]{6}", whole[8:]).group()  # ends within a token, somewhere
    for given_stop in (stop, [stop, "never said"]):
        cut = written(pipeline, PROMPTS[:1], stop=given_stop, max_tokens=48, min_tokens=48, seed=5)[0]
        assert cut == whole[: whole.find(stop)]
        assert (cut.finish_reason, whole.finish_reason) == ("stop", "length")
        assert cut.nfe < whole.nfe
        assert whole.tokens[: len(cut.tokens)] == cut.tokens and len(cut.tokens) < len(whole.tokens)
        assert json.loads(json.dumps(cut.to_json()))["settings"]["stop"][0] == stop


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pieces_are_never_taken_back_and_together_are_the_text(codec, data):
    """Any tokens, halves of characters included, in any order of unmasking."""
    tokens = data.draw(st.lists(st.integers(8, codec.vocab - 1), max_size=12))
    stops = [s.encode() for s in data.draw(st.lists(st.text(min_size=1, max_size=3), max_size=2))]
    raw = codec.to_bytes(tokens)
    at = first_stop(raw, stops)
    expected = (raw if at < 0 else raw[:at]).decode("utf-8", "replace")
    growing, canvas, said = Deltas(codec, stops), [MASK] * len(tokens), ""
    for place in data.draw(st.permutations(range(len(tokens)))):
        canvas[place] = tokens[place]
        said += growing.push(canvas)
        assert expected.startswith(said)
    assert said + growing.finish() == expected
    if at < 0:
        assert expected == codec.decode(tokens)
    else:
        kept = before_byte(codec, tokens, at)
        assert len(codec.to_bytes(kept)) <= at < len(codec.to_bytes(tokens[: len(kept) + 1]))


def test_every_byte_of_every_token_is_known(codec):
    text = "naïve — 日本 🦊\n\tx" + "".join(map(chr, range(32, 127)))
    assert codec.to_bytes(codec.encode(text)).decode() == text
    assert codec.to_bytes([MASK, EOS]) == b""


def test_draws_follow_the_law():
    logits = torch.tensor([1.5, 0.0, 1.0, 0.5, -1.0]).double()
    p = logits.softmax(-1)
    torch.testing.assert_close(law(logits, 1, 1), p)
    torch.testing.assert_close(law(logits, 0.5, 1), (2 * logits).softmax(-1))
    kept = p * torch.tensor([1, 0, 1, 1, 0])
    torch.testing.assert_close(law(logits, 1, 1, top_k=3), kept / kept.sum())
    torch.testing.assert_close(law(logits, 1, 1, top_k=99), p)
    two = p * torch.tensor([1, 0, 1, 0, 0])  # of the three kept, two have three quarters
    torch.testing.assert_close(law(logits, 1, 0.75, top_k=3), two / two.sum())
    torch.testing.assert_close(law(logits, 0, 0.1, top_k=2), torch.eye(5).double()[0])
    torch.testing.assert_close(law(torch.zeros(4), 0, 1).sum(), torch.tensor(1.0))


def test_a_penalty_halves_odds_as_it_says():
    logits, seen = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([True, True, False])
    torch.testing.assert_close(penalised(logits, seen, 2.0), torch.tensor([1.0, -2.0, 0.5]))
    torch.testing.assert_close(penalised(logits, seen, 1.0), logits)
    ids = holding(torch.zeros(1, 12, dtype=torch.bool), torch.tensor([[MASK, 9, EOS, 11]]))
    assert ids.nonzero()[:, 1].tolist() == [9, 11]


class Constant:
    """A block model that believes the same of every place."""

    def __init__(self, logits):
        self.logits = logits

    def score(self, carry, noisy):
        return self.logits.expand(*noisy.shape, -1).clone()

    def commit(self, carry, tokens):
        return carry


def test_what_stands_is_penalised_and_the_end_waits_its_turn():
    logits = torch.full((12,), -3.0).index_fill(0, torch.tensor([9]), 4.0)
    steered = Steered(Constant(logits), penalty=2.0, min_tokens=3)
    carry = {"next": logits[None], "tokens": torch.tensor([[2, 10, SEP]]), "head": torch.tensor([3])}
    carry = steered.begin(carry, 12)
    masks = torch.full((1, 2), MASK)
    first = steered.score(carry, masks)
    assert first[0, :, 10].tolist() == [-6.0, -6.0] and first[0, :, 9].tolist() == [4.0, 4.0]
    assert first[0, :, EOS].tolist() == [-torch.inf] * 2
    assert steered.score(carry, torch.tensor([[9, MASK]]))[0, 1, 9] == 2.0
    later = steered.score(steered.commit(carry, torch.tensor([[9, 11]])), masks)
    assert later[0, :, EOS].tolist() == [-torch.inf, -3.0]
    assert later[0, 0, [9, 10, 11]].tolist() == [2.0, -6.0, -6.0]


def test_no_text_ends_before_its_least_length(small_end, codec):
    for least in (0, 7, 16):
        how = Sampling(max_tokens=16, min_tokens=least, seed=2)
        *_, state = sample_text(small_end, [[KINDS["text"], 9, SEP]] * 8, how, 128)
        ends = [(row == EOS).int().argmax().item() if bool((row == EOS).any()) else 16 for row in state.x]
        assert min(ends) >= least
        assert least or max(ends) < 7  # this network wants to end at once


@pytest.fixture(scope="module")
def small_end():
    """A network that ends its texts whenever it may."""
    from tests.conftest import build_network

    network = build_network()

    class Ending(torch.nn.Module):
        def __init__(self, head):
            super().__init__()
            self.head = head

        def forward(self, hidden):
            logits = self.head(hidden)
            logits[..., EOS] += 50
            return logits

        def embed(self, *given):
            return self.head.embed(*given)

    network.heads["text"] = Ending(network.heads["text"])
    return network


def test_work_stops_within_a_step(pipeline):
    stop, seen = threading.Event(), []
    request = TextRequest("a fox", "diffusion", max_tokens=32, min_tokens=32, cancel=stop)
    with pytest.raises(Cancelled):
        for frame in pipeline.stream(request, 4):
            seen.append(frame)
            if len(seen) == 5:
                stop.set()
    assert len(seen) == 5 and all(isinstance(one, TextFrame) for one in seen)
    before = pipeline.network.forwards
    with pytest.raises(Cancelled):
        written(pipeline, ["a fox"], cancel=lambda: True)
    assert pipeline.network.forwards == before


def test_a_result_is_a_string():
    made = TextResult(
        "a <fox>\n", (9, 10), 2, (0.1,), nats={"nll": 1.0, "entropy": 1.0}, settings={"seed": 1}
    )
    assert made == "a <fox>\n" and {made: 1}["a <fox>\n"] and json.dumps(made) == '"a <fox>\\n"'
    assert type(made.text) is str and made.but("x", nfe=3).nfe == 3 and made.but("x").tokens == (9, 10)
    assert "a &lt;fox&gt;" in made._repr_html_()
    assert len(repr(TextResult("fox " * 1000, range(1000)))) < 130
    frame = TextFrame(np.array([9, MASK]), np.array([0.5, 0.0], np.float32), 1, 0.5)
    assert (frame.tokens, frame.confidence) == ((9, MASK), (0.5, 0.0)) and len(repr(frame)) < 60
