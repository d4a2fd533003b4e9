"""Writing with imported models: the law of a draw, the two ways of writing, chats, what is never torn."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bowstring.core.rng import Rng
from bowstring.decode.config import Blocks, DecoderConfig
from bowstring.decode.decoder import Decoder, DenseMatrix, LayerWeights
from bowstring.decode.generate import (
    Sampling,
    block_mask,
    draw,
    draw_reference,
    in_blocks,
    one_by_one,
    uniform,
)
from bowstring.llm.chat import TemplateError, chat_tokens, render
from bowstring.llm.folder import Model
from bowstring.llm.importing import GGUFSource, import_model
from bowstring.llm.pipeline import LanguageModel
from bowstring.llm.tokenizer import ModelTokenizer

from .gguf_files import gguf, small_llama


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "small.gguf").write_bytes(gguf(*small_llama("Q8_0")))
    import_model(GGUFSource(folder / "small.gguf"), folder / "small")
    return LanguageModel.load(folder / "small")


def decoder_of(blocks=None, seed=0):
    rng = np.random.default_rng(seed)
    matrix = lambda n, k: DenseMatrix((0.3 * rng.normal(size=(n, k))).astype(np.float32))
    ones = np.ones(32, np.float32)
    config = DecoderConfig("llama", 32, 2, 2, 2, 16, 48, 40, 96, 1e-5, stops=(39,), blocks=blocks)
    layers = [
        LayerWeights(
            ones, *(matrix(32, 32) for _ in range(4)), ones, matrix(48, 32), matrix(48, 32), matrix(32, 48)
        )
        for _ in range(2)
    ]
    return Decoder(config, matrix(40, 32), layers, ones)


def test_numbers_are_those_of_the_readable_generator():
    import torch

    steps = torch.tensor([0, 5, 1 << 20])
    wanted = Rng.of(12345678901234567, 3).at(steps).uniform().tolist()
    assert [uniform(12345678901234567, i, int(step)) for i, step in enumerate(steps)] == wanted
    wide = Rng.of(7, 3).at(steps).uniform(9)[1].tolist()
    assert [uniform(7, 1, 5, place) for place in range(9)] == wide


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.3])
@pytest.mark.parametrize(
    ("top_k", "top_p", "penalty"), [(0, 1.0, 1.0), (5, 1.0, 1.3), (40, 0.9, 1.0), (0, 0.3, 2.0)]
)
def test_draws_are_those_of_a_sort(temperature, top_k, top_p, penalty):
    rng, how = np.random.default_rng(3), Sampling(temperature, top_k, top_p, penalty)
    for i in range(60):
        logits = (3 * rng.normal(size=517)).astype(np.float32)
        before, u = rng.integers(0, 517, 30).tolist(), uniform(1, 0, i)
        barred = np.array([*rng.integers(0, 517, i % 4), 9999], np.uint32)
        made = [one(logits, before, how, u, barred) for one in (draw, draw_reference)]
        assert made[0][0] == made[1][0] not in barred and made[0][1:] == pytest.approx(made[1][1:], rel=1e-4)


def test_a_cache_that_is_cut_forgets_and_nothing_else():
    """A chat that goes on from a shared beginning is the chat read anew."""
    decoder, how = decoder_of(), Sampling(temperature=1.0, seed=3)
    cache = decoder.cache()
    decoder.forward(np.arange(20), cache)
    cache.truncate(7)
    tokens = [
        one.token for one, _ in zip(one_by_one(decoder, list(range(12)), cache, how), range(9), strict=False)
    ]
    fresh = one_by_one(decoder, list(range(12)), decoder.cache(), how)
    assert tokens == [one.token for one, _ in zip(fresh, range(9), strict=False)]


@pytest.mark.parametrize("prompt", [[], [1], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("steps", [None, 1, 2, 4])
def test_blocks_are_what_a_whole_forward_says(prompt, steps):
    """The fused pass (a finished block goes into the cache while the next is first evaluated) against one
    forward over everything under the block mask, at every evaluation.
    """
    decoder, how, size, mask = decoder_of(Blocks(4, 38)), Sampling(temperature=0), 4, 38
    known = list(prompt)
    head = prompt[len(prompt) // size * size :]
    canvas = head + [mask] * (size - len(head))
    done = known[: len(known) - len(head)]
    for moment in in_blocks(decoder, prompt, decoder.cache(), how, steps):
        rows = [*done, *canvas]
        hidden = decoder.forward(np.array(rows), decoder.cache(), block_mask(0, len(rows), size))
        logits = decoder.logits(hidden[len(done) :])
        logits[:, mask] = -np.inf
        for i, (before, after) in enumerate(zip(canvas, moment.tokens, strict=True)):
            assert after == before if before != mask else after in (mask, logits[i].argmax())
        if steps is not None and not head:
            assert sum(t != mask for t in moment.tokens) >= sum(t != mask for t in canvas) + 1
        canvas = list(moment.tokens)
        if moment.done:
            done, canvas = done + canvas, [mask] * size
        if len(done) > 20:
            break


def test_a_shifted_model_takes_its_first_place_from_the_token_before():
    """The first place of a block is the causal belief behind what stands; the others come from their
    neighbour.
    """
    decoder = decoder_of(Blocks(4, 38, shifted=True))
    moments = in_blocks(decoder, [1, 2, 3, 4], decoder.cache(), Sampling(temperature=0), 4)
    first = next(moments)
    whole = decoder.forward(np.array([1, 2, 3, 4, 38, 38, 38, 38]), decoder.cache(), block_mask(0, 8, 4))
    logits = decoder.logits(whole)[3:7]
    logits[:, 38] = -np.inf
    beliefs = np.exp(logits - logits.max(1, keepdims=True))
    surest = int((beliefs.max(1) / beliefs.sum(1)).argmax())
    assert first.tokens[surest] == logits[surest].argmax() and sum(t != 38 for t in first.tokens) == 1


def test_pieces_add_up_and_nothing_is_torn(model):
    """Pieces are never taken back, no character is halved, no stop is shown, and a seed fixes it all."""
    for seed in range(4):
        *pieces, result = model.stream(
            "the", temperature=1.5, top_k=0, top_p=1, max_tokens=60, seed=seed, stop=["e", "QZ"]
        )
        assert "".join(pieces) == result.text and "e" not in result.text
        again = model.generate(
            "the", temperature=1.5, top_k=0, top_p=1, max_tokens=60, seed=seed, stop=["e", "QZ"]
        )
        assert again.text == result.text and json.dumps(result.to_json())


def test_a_chat_reads_only_what_is_new(model, monkeypatch):
    rows, forward = [], Decoder.forward
    monkeypatch.setattr(
        Decoder, "forward", lambda self, t, *more: rows.append(len(t)) or forward(self, t, *more)
    )
    said = [{"role": "user", "content": "the cat"}]
    first = model.chat(said, max_tokens=8, seed=1)
    more = [*said, {"role": "assistant", "content": first.text}, {"role": "user", "content": "on"}]
    rows.clear()
    answer = model.chat(more, max_tokens=4, seed=1)
    read = sum(rows)
    rows.clear()
    fresh = LanguageModel(Model(model.decoder, model.tokenizer, model.template), "x")
    assert answer.text == fresh.chat(more, max_tokens=4, seed=1).text and read < sum(rows)


def test_special_tokens_never_come_from_what_is_said(model):
    end = model.tokenizer.special["<|end|>"]
    for content in ("<|end|>", "a<|end|>b <|user|>", "<<|end|>|end|>"):
        tokens = chat_tokens(model.tokenizer, model.template, [{"role": "user", "content": content}])
        assert end not in tokens and tokens.count(model.tokenizer.special["<|user|>"]) == 1
        assert model.tokenizer.decode(tokens) == content + ":"
        assert end not in model.tokenizer.encode(content)


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "loops more than"),
        (
            "{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}",
            "loops more than|writes more",
        ),
        ("{{ 'x' * 10 ** 10 }}", "makes something"),
        (
            "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
            "makes something",
        ),
        (
            "{% set n = namespace(s='a') %}" + "{% set n.s = n.s.replace('a', 'a' * 99) %}" * 9,
            "makes",
        ),
        ("{{ 'x'.ljust(10 ** 9) }}", "fails"),
        ("{{ '%999999999d' % 1 }}", "formats with %"),
        ("{{ ''.__class__.__mro__ }}", "fails"),
        ("{{ messages.append(1) }}", "fails"),
        ("{{ raise_exception('no system please') }}", "no system please"),
        ("{% if %}", "fails"),
        ("{% include '/etc/passwd' %}", "fails"),
        ("{{ 1 / 0 }}", "fails"),
    ],
)
def test_templates_can_do_no_harm(template, sentence):
    with pytest.raises(TemplateError, match=sentence):
        render(template, [{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0}, "top_p is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"mode": "diffusion"}, "one token at a time"),
        ({"stop": [""]}, "empty string"),
    ],
)
def test_options_are_checked_at_the_door(model, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        model.generate("the", **options)


def test_a_tokenizer_is_kept_to_the_byte(model, tmp_path):
    model.tokenizer.save(tmp_path / "tokenizer.json")
    again = ModelTokenizer.load(tmp_path / "tokenizer.json")
    for text in ("the cat, 12 345!", "naïve 😀 \n\t ", "", "a\u0000b"):
        tokens = model.tokenizer.encode(text)
        assert again.encode(text) == tokens and again.special == model.tokenizer.special
        assert b"".join(map(again.to_bytes, tokens)).decode() == text == again.decode(tokens)


def test_writing_needs_no_torch(model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from bowstring.llm.pipeline import LanguageModel\n"
        f"m = LanguageModel.load(Path({str(tmp_path / 'm')!r})); m.generate('the', max_tokens=3); "
        f"print('torch' in sys.modules)"
    )
    (tmp_path / "small.gguf").write_bytes(gguf(*small_llama("Q8_0")))
    import_model(GGUFSource(tmp_path / "small.gguf"), tmp_path / "m")
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


def test_memories_stand_before_a_question_within_their_budget(model, tmp_path):
    """The passage that shares words is there with its id; without a fitting one nothing changes."""
    from bowstring.llm.recall import Recall
    from bowstring.memory.store import ArrowStorage

    with ArrowStorage(tmp_path / "store") as store:
        known = store.add("Ada the fox lives by the lake")
        store.add("bread is made of flour")
        asked = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "where does Ada live"},
        ]
        told, taken = Recall(store)(asked, model.tokenizer)
        assert [one["id"] for one in taken] == [known]
        assert told[0]["content"].startswith("Be brief.") and "by the lake" in told[0]["content"]
        assert told[1:] == asked[1:]
        assert Recall(store, tokens=3)(asked, model.tokenizer) == (asked, [])
        nothing = [{"role": "user", "content": "zebra"}]
        assert Recall(store)(nothing, model.tokenizer) == (nothing, [])
        result = model.chat(asked, max_tokens=4, recall=Recall(store))
        assert result.settings["memories"] == taken and result.settings["messages"] == asked
        plain = model.chat("zebra", max_tokens=4, seed=3)
        assert model.chat("zebra", max_tokens=4, seed=3, recall=Recall(store)) == plain


def test_greedy_text_is_that_of_plain_numbers(tmp_path):
    """Sixteen bits between matrices give the draws of FP32 on the same weights, eight not always; a cache
    that was read with eight is not gone on from.
    """
    from bowstring.llm.folder import in_full

    (tmp_path / "small.gguf").write_bytes(gguf(*small_llama("Q4_0", seed=4)))
    source = GGUFSource(tmp_path / "small.gguf")
    import_model(source, tmp_path / "m")
    model, plain, different = LanguageModel.load(tmp_path / "m"), in_full(source), 0
    for text in ("the", "a cat sat", "on the mat.", "12 345", "he said", "what?", "(x)", "E = m"):
        tokens = model.tokenizer.encode(text)
        wanted = one_by_one(plain, tokens, plain.cache(), Sampling(0))
        wanted = [
            one.token for one, _ in zip(wanted, range(40), strict=False) if one.token != 0
        ]  # 0: the end
        rough = model.generate(text, temperature=0, activations=8, max_tokens=40)
        assert rough.settings["activations"] == 8
        different += [*rough.tokens] != wanted
        assert [*model.generate(text, temperature=0, max_tokens=40).tokens] == wanted
    assert different  # or this test sees nothing
    with pytest.raises(ValueError, match="8 or 16 bits"):
        model.generate("the", activations=12)


def test_what_bends_a_decoder_bends_its_fine_twin():
    """A twin that was made before is not taken over."""
    from bowstring.decode.deltas import Deltas

    decoder = decoder_of()
    assert decoder.fine.planes == 2 and decoder.with_deltas(Deltas({}, {})).fine is not decoder.fine
