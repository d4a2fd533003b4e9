"""Texts that are written side by side, by mixtures, by copies: each is what it is alone."""

import copy
import threading

import numpy as np
import pytest

from bowstring.adapt.router import with_decoder
from bowstring.decode.deltas import Deltas, LowRank
from bowstring.decode.mixture import MixedDecoder
from bowstring.llm.adapters import save_adapter
from bowstring.llm.pipeline import LanguageModel, last

from .test_deltas import SHAPES, drawn
from .test_generate import model  # noqa: F401  a fixture

ASKED = {"max_tokens": 8, "temperature": 0.9}


def deltas_of(model, seed):  # noqa: F811
    sizes = {name: getattr(model.decoder.layers[0], name).shape for name in SHAPES}
    return Deltas(
        {
            (0, name): (LowRank(drawn(2, k, seed=seed), drawn(n, 2, seed=seed + 2), 8.0),)
            for name, (n, k) in sizes.items()
        }
    )


def test_streams_that_take_turns_in_one_thread_do_not_meet(model):  # noqa: F811
    alone = [model.generate(prompt, **ASKED) for prompt in ("ab", "cde")]
    streams = [model.stream(prompt, **ASKED) for prompt in ("ab", "cde")]
    made, running = {}, dict(enumerate(streams))
    while running:
        for i, stream in list(running.items()):
            try:
                made[i] = next(stream)
            except StopIteration:
                del running[i]
    assert [made[0].tokens, made[1].tokens] == [one.tokens for one in alone]
    assert [made[0].text, made[1].text] == [one.text for one in alone]


def test_a_stream_that_was_left_keeps_nobody_waiting(model):  # noqa: F811
    left = model.stream("ab", **ASKED)
    next(left)
    made = []
    other = threading.Thread(target=lambda: made.append(model.generate("ab", **ASKED)), daemon=True)
    other.start()
    other.join(20)
    assert made and made[0].text == last(left).text


def test_a_mixture_writes_by_the_mean_of_its_laws(model):  # noqa: F811
    one, two = (model.decoder.with_deltas(deltas_of(model, seed)) for seed in (7, 8))
    same = with_decoder(model, MixedDecoder([one, one], [0.4, 0.6]))
    for asked in (ASKED, ASKED | {"temperature": 0}):  # numbers of 8 and of 16 bits
        wanted = with_decoder(model, one).generate("ab", **asked)
        assert same.generate("ab", **asked).tokens == wanted.tokens
    mixed = with_decoder(model, MixedDecoder([one, two], [0.3, 0.7]))
    chances = [np.exp(with_decoder(model, decoder).log_likelihood("ab", "c")) for decoder in (one, two)]
    assert np.exp(mixed.log_likelihood("ab", "c")) == pytest.approx(
        0.3 * chances[0] + 0.7 * chances[1], rel=1e-4
    )
    assert mixed.generate("ab", **ASKED).tokens != same.generate("ab", **ASKED).tokens


def test_likelihoods_and_copies_go_by_the_active_adapters(model, tmp_path):  # noqa: F811
    plain = LanguageModel.load(model.folder)
    deltas = deltas_of(model, 7)
    save_adapter(tmp_path, deltas, model.decoder.config, kind="ar", base=model.base, domain="one")
    before = plain.log_likelihood("ab", "cd")
    plain.load_adapter(tmp_path, "one")
    bent = with_decoder(model, model.decoder.with_deltas(deltas))
    assert plain.log_likelihood("ab", "cd") == bent.log_likelihood("ab", "cd") != before
    plain.recall = object()
    other = copy.deepcopy(plain)
    assert other.recall is plain.recall and other.log_likelihood("ab", "cd") == bent.log_likelihood(
        "ab", "cd"
    )
    other.unload_adapter("one")
    assert plain.log_likelihood("ab", "cd") == bent.log_likelihood("ab", "cd")
