"""Schemas that people wrote: few are refused, and each text is valid."""

import random

import numpy as np
import pytest

from bowstring.eval import schemas
from bowstring.grammar.checking import fits
from bowstring.grammar.expression import GrammarError
from bowstring.grammar.schema import automaton

SAMPLE = schemas.schemas()[3::18]


def near_end(form, draws):
    """A text of an automaton by a random walk of 40 bytes and the shortest way to an end."""
    state, made = form.start, bytearray()
    while not (form.accepting[state] and len(made) > 40):
        ways = np.flatnonzero(form.table[state] != form.dead)
        if not len(ways):
            break
        if len(made) > 40:
            near = form.distance[form.table[state, ways]]
            ways = ways[near == near.min()]
        made.append(int(draws.choice(ways)))
        state = form.table[state, made[-1]]
    return made.decode()


def test_few_schemas_are_refused_and_every_text_is_valid():
    draws, refused = random.Random(1), []
    for one in SAMPLE:
        try:
            form = automaton(one["schema"])
        except GrammarError:
            refused.append(one["name"])
            continue
        for _ in range(3):
            text = near_end(form, draws)
            assert fits(text, "schema", one["schema"]), (one["name"], text)
    assert len(refused) <= 0.1 * len(SAMPLE), refused


@pytest.mark.parametrize("steps", schemas.STEPS)
def test_blocks_of_a_random_network_are_valid_at_any_number_of_steps(steps):
    model = schemas.random_diffusion()
    wanted = {"type": "array", "items": {"enum": ["ab", 1.5, None]}, "uniqueItems": True, "minItems": 2}
    text = model.generate("fox:", schema=wanted, max_tokens=24, steps=steps, temperature=1.5)
    assert fits(str(text), "schema", wanted)


def test_public_schemas_are_at_least_half():
    every = schemas.schemas()
    assert len(every) >= 300 and sum(one["source"] != "own" for one in every) >= len(every) / 2
