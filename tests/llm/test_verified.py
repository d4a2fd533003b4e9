"""Guessed states of a block change no text; canvases are filled by chance as the schedule says."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from bowstring.core.process import Masked, linear
from bowstring.core.samplers.masked import revealed_share
from bowstring.decode.config import Blocks, DecoderConfig
from bowstring.decode.decoder import Decoder, DenseMatrix, LayerWeights
from bowstring.decode.generate import Sampling, by_chance, in_blocks, uniform
from bowstring.weights.quant.grouped import GroupedMatrix

MASK = 38


def decoder_of(size, *, shifted=False, vocab=40, packed=False, seed=0, canvas=None):
    rng = np.random.default_rng(seed)

    def matrix(n, k):
        values = (0.6 * rng.normal(size=(n, k))).astype(np.float32)
        return GroupedMatrix.quantise(values, 4) if packed else DenseMatrix(values)

    ones = np.ones(32, np.float32)
    blocks = None if canvas is not None else Blocks(size, vocab - 2, shifted)
    config = DecoderConfig(
        "sdar", 32, 2, 2, 2, 16, 64, vocab, 96, 1e-5, stops=(vocab - 1,), blocks=blocks, canvas=canvas
    )
    shapes = ((32, 32),) * 4
    layers = [
        LayerWeights(
            ones, *(matrix(*s) for s in shapes), ones, matrix(64, 32), matrix(64, 32), matrix(32, 64)
        )
        for _ in range(2)
    ]
    return Decoder(config, matrix(vocab, 32), layers, ones, matrix(vocab, 32))


def written(decoder, prompt, how, count, **options):
    """Finished blocks, and the evaluations of the last one."""
    made = (block for block in in_blocks(decoder, prompt, decoder.cache(), how, **options) if block.done)
    blocks = [*itertools.islice(made, count)]
    return [block.tokens for block in blocks], blocks[-1].forwards


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("size", [4, 8])
def test_guesses_save_evaluations_and_change_no_token(size, shifted, packed):
    decoder, spent = decoder_of(size, shifted=shifted, packed=packed), [0, 0]
    for seed, prompt in enumerate(([1, 2, 3, 4, 5], [7], [9] * 16, [1, 2])):
        how = Sampling((0.0, 0.3, 1.0)[seed % 3], 0, 1.0, seed=seed)
        for steps in (size, 2, None):
            plain, once = written(decoder, prompt, how, 5, steps=steps)
            for guesses in (1, 3, 20):
                guessed, fewer = written(decoder, prompt, how, 5, steps=steps, guesses=guesses)
                assert guessed == plain and fewer <= once
                spent = [spent[0] + once, spent[1] + fewer]
    assert spent[1] < 0.95 * spent[0]


def test_a_full_context_leaves_no_room_for_guesses_and_ends_as_without():
    decoder = decoder_of(4, packed=True)
    decoder.config = replace(decoder.config, context=24, stops=())
    made = [written(decoder, [1, 2, 3, 4], Sampling(1.0), 99, steps=4, guesses=n)[0] for n in (0, 3)]
    assert made[0] == made[1] and len(made[0]) == 5


def law_of_two_places(decoder):
    """The law of a block of two behind nothing, one token an evaluation, the surer draw first, a place's
    number being the same in every evaluation: cells of two uniform numbers, each with one text.
    """

    def belief(canvas):
        cache = decoder.cache()
        logits = decoder.logits(decoder.forward(np.array(canvas), cache, np.ones((2, 2), bool)))
        logits[:, decoder.config.blocks.mask] = -np.inf
        p = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    mask, vocab = decoder.config.blocks.mask, decoder.config.vocab
    both, law = belief([mask, mask]), Counter()
    for a, b in itertools.product([t for t in range(vocab) if t != mask], repeat=2):
        first = both[0, a] >= both[1, b]  # this token stays, the other place draws again
        fixed, other = (a, b) if first else (b, a)
        again = belief([a, mask] if first else [mask, b])[int(first)]
        old = both[int(first)]
        low, high = old[:other].sum(), old[: other + 1].sum()
        for token in range(vocab):
            start, stop = again[:token].sum(), again[: token + 1].sum()
            overlap = max(min(high, stop) - max(low, start), 0)
            text = (fixed, token) if first else (token, fixed)
            law[text] += both[1 - int(first), fixed] * overlap
    return law


def test_the_law_with_guesses_is_that_of_one_token_an_evaluation():
    """Every text of a toy vocabulary, enumerated; draws without any second evaluation fail the same test."""
    decoder = decoder_of(2, vocab=5, seed=1)
    law, count = law_of_two_places(decoder), 1000
    assert sum(law.values()) == pytest.approx(1)
    worst = {}
    for name, options in {"guessed": {"steps": 2, "guesses": 1}, "at once": {"steps": 1}}.items():
        seen = Counter()
        for seed in range(count):
            seen[written(decoder, [], Sampling(1.0, 0, 1.0, seed=seed), 1, **options)[0][0]] += 1
        errors = [
            abs(seen[text] / count - p) / max((p * (1 - p) / count) ** 0.5, 1e-9)
            for text, p in law.items()
            if p > 1e-3
        ]
        worst[name] = max(errors)
    assert worst["guessed"] < 4 < 5 < worst["at once"]


def test_places_are_revealed_with_the_chance_of_the_masked_process():
    """As often as core's process says between times 1 - k / n, and every place on its own."""
    steps, places = 5, 4000
    drawn = dict.fromkeys(range(places), (0, 1.0))
    rule = by_chance(steps, seed=3, sample=0)
    for step in range(steps):
        t, s = torch.tensor([1 - step / steps]), torch.tensor([1 - (step + 1) / steps])
        share = float(revealed_share(Masked(MASK, linear), t, s))
        kept = rule(drawn, step)
        assert abs(len(kept) / places - share) <= 4 * (share * (1 - share) / places) ** 0.5
        assert len({uniform(3, 0, step, i, 1) for i in range(50)}) == 50


def test_a_canvas_is_one_block_in_which_all_see_all():
    """Filled in n evaluations at most, the prompt kept, by chance and by confidence, fixed by a seed."""
    decoder = decoder_of(0, canvas=MASK)
    with pytest.raises(ValueError, match="97 places; this sdar model has 96"):
        decoder.on_canvas(97)
    canvas, prompt = decoder.on_canvas(12), [5, 6, 7]
    for rule in (None, by_chance(9, 1, 0), by_chance(3, 1, 0)):
        (tokens,), spent = written(canvas, prompt, Sampling(1.0, seed=1), 2, rule=rule)
        assert tokens[:3] == (5, 6, 7) and MASK not in tokens and spent <= 9
        assert written(canvas, prompt, Sampling(1.0, seed=1), 2, rule=rule)[0] == [tokens]
    rows = np.array([5, 6, 7] + [MASK] * 9)
    wanted = decoder.logits(decoder.forward(rows, decoder.cache(), np.ones((12, 12), bool)))
    first = next(in_blocks(canvas, prompt, canvas.cache(), Sampling(0), 9))
    (place,) = [i for i in range(3, 12) if first.tokens[i] != MASK]
    wanted[:, MASK] = -np.inf
    assert first.tokens[place] == wanted[place].argmax()
