"""Patterns: the texts of the automaton are those of Python's own engine; what is not known is named."""

import random
import re
import time

import pytest

from bowstring.grammar import regex
from bowstring.grammar.automaton import compiled
from bowstring.grammar.expression import GrammarError

PATTERNS = [
    "",
    "a",
    "(a|b)*abb",
    "a?b+c*",
    "[a-c]{2,4}",
    "a{3}|b{0,1}c{2,}",
    "(?:ab|a)(c|bcd)(d*)",
    r"\d+(\.\d{1,2})?",
    "[^ab]c",
    "^(a|bc)*$",
    r"a.c|\.\*",
    r"[\]b-]a",
    "(a*)*b",
    "(?P<x>a|ab)+?c",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_that_match_are_those_of_another_engine(pattern):
    draws, automaton = random.Random(7), compiled(regex.full_match(pattern))
    for _ in range(1500):
        text = "".join(draws.choices("abcd.1]-*", k=draws.randrange(7)))
        assert automaton.accepts(text.encode()) == bool(re.fullmatch(pattern, text)), text


@pytest.mark.parametrize("pattern", ["b", "^a", "a$", "^a|b$", "a|bc", "^[ab]+$", "^$", ""])
def test_a_search_finds_what_another_engine_finds(pattern):
    draws, automaton = random.Random(8), compiled(regex.search(pattern))
    for _ in range(500):
        text = "".join(draws.choices("abc", k=draws.randrange(5)))
        assert automaton.accepts(text.encode()) == bool(re.search(pattern, text)), text


def test_characters_are_whole_utf_8():
    automaton = compiled(regex.full_match("[ä-ü€😀-😂]"))
    for code in [*range(0x700), *range(0x2000, 0x2100), *range(0x1F5F0, 0x1F610)]:
        assert automaton.accepts(chr(code).encode()) == bool(re.fullmatch("[ä-ü€😀-😂]", chr(code)))
    every = compiled(regex.full_match(r"[\u0000-\uffff]"))
    assert all(every.accepts(chr(c).encode()) for c in range(0, 0x10000, 7) if not 0xD800 <= c <= 0xDFFF)
    assert not every.accepts(b"\xed\xa0\x80") and not every.accepts(b"\xc0\xaf")


def test_the_automaton_is_the_smallest():
    """Four states and the dead one are the textbook's for this language."""
    assert len(compiled(regex.full_match("(a|b)*abb")).table) == 5
    assert len(compiled(regex.full_match("(a|a|aa*a?)?")).table) == 2


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        (r"(a)\1", "not known here"),
        ("a(?=b)", "lookaround"),
        (r"\bword", "not known here"),
        ("(?i)a", "flag"),
        ("a(b", "without an end"),
        ("a)", "without a beginning"),
        ("a**", "two quantifiers"),
        ("*a", "nothing to repeat"),
        ("a{3,1}", "bounds"),
        ("a{x}", "no {m,n}"),
        ("[a", "no end"),
        ("[z-a]", "falls"),
        ("[]a]", "begins with"),
        ("(^a)", "anchor"),
        ("a++", "possessive"),
        ("((((a{99}){99}){99}){99})", "more than 60000"),
        ("(a|b)*a(a|b){40}", "too much work|states"),
        ("(" * 999 + "a" + ")" * 999, "nested deeper"),
        ("(((((a*)*)*)*)*b){6000}", "more than 60000"),
        ("a" * 20_000, "10000"),
    ],
)
def test_what_is_not_known_or_too_large_is_refused_at_once(pattern, sentence):
    begun = time.process_time()
    with pytest.raises(GrammarError, match=sentence):
        compiled(regex.full_match(pattern))
    assert time.process_time() - begun < 1
