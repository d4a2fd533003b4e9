"""Code and prose are told apart by what lies beside a gap, wherever the gap is."""

import random

import pytest

from bowstring.text.kind import guess_kind
from bowstring.train.data.grammar import story
from bowstring.train.data.snippets import snippet

PROSE = [
    "The fox said: \u201cWhere are you?\u201d",
    "He paid $5 (five dollars).",
    "if you see her, tell her: I am fine.",
    "a class of children from the import office return home",
    "Items:\n- milk\n- eggs (6)",
    "f(x) is a function, she thought to himself.",
    "# A heading\n\nwith love, he said:",
    "See [Illustration] and https://example.org/a.b?c=d",
    "  an indented poem\n  of the deep sea;",
]
CODE = [
    "for number in range(3):",
    "x = 5",
    "print('hi')",
    "x += 1",
    "if x > 3:",
    "    return n",
    "else:",
    "from a import b",
    "raise ValueError('x')",
    "numbers = [1, 2]",
    "    y: int = 3",
    "return a + b",
    "const x = 5;",
    "function add(a, b) {",
]


@pytest.mark.parametrize(("lines", "kind"), [(PROSE, "text"), (CODE, "code")])
def test_single_lines_are_known_wherever_they_are_cut(lines, kind):
    for line in lines:
        for cut in range(len(line) + 1):
            assert guess_kind(line[:cut], line[cut:]) == kind, line


def test_functions_and_stories_with_a_hole_are_known():
    for kind, texts in (
        ("code", [snippet(random.Random(i)).source for i in range(200)]),
        ("text", [story(random.Random(i)).text for i in range(200)]),
    ):
        rng = random.Random(0)
        begins = [rng.randrange(len(text)) for text in texts]
        found = [guess_kind(text[:at], text[at + 20 :]) for text, at in zip(texts, begins, strict=True)]
        assert found.count(kind) >= 198


def test_odd_input_takes_no_time():
    for text in ("_", "a, ", "lambda ", "SELECT ", "return a + ", "[", "(", "\n"):
        assert guess_kind(text * 20_000, text * 20_000) in ("text", "code")
