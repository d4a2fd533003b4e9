"""The corpora: deterministic, split by work, deduplicated; what the grammars say is true."""

import gzip
import json
import random
import re

import pytest

from bowstring.train.data.corpora import (
    Document,
    build,
    deduplicated,
    functions,
    load,
    pieces,
    split_of,
    stories,
    tales,
)
from bowstring.train.data.grammar import tale
from bowstring.train.data.snippets import snippet


def test_a_corpus_is_the_same_bytes_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr("bowstring.train.data.corpora.stories", lambda: stories(50))
    for name in ("a", "b"):
        build("text", tmp_path / name)
    assert (tmp_path / "a/text.jsonl.gz").read_bytes() == (tmp_path / "b/text.jsonl.gz").read_bytes()
    assert load(tmp_path / "a/text.jsonl.gz")[0].source == "story"


def test_a_work_lies_in_one_split(tmp_path):
    path = tmp_path / "tales.jsonl.gz"
    text = "The grey wolf ran over the frozen river. The miller slept beside his barrels of flour. " * 40
    with gzip.open(path, "wt") as lines:
        for i in range(60):
            lines.write(json.dumps({"title": f"Tale {i}", "text": text.replace("wolf", f"wolf{i}")}) + "\n")
    splits = {}
    for document in tales(path):
        title = re.search(r"wolf(\d+)", document.body).group(1)
        splits.setdefault(title, set()).add(document.split)
        assert document.split == split_of(f"Tale {title}")
    assert all(len(found) == 1 for found in splits.values())


def test_splits_have_their_shares():
    drawn = [split_of(str(i)) for i in range(20_000)]
    assert drawn.count("valid") / 20_000 == pytest.approx(0.02, abs=0.004)
    assert drawn.count("test") / 20_000 == pytest.approx(0.03, abs=0.005)


def test_a_body_is_kept_once_whatever_its_spelling():
    rows = [
        Document("text", s, "story", ("p",), b, True) for s, b in (("train", "A fox."), ("test", "a FOX!"))
    ]
    assert [document.split for document in deduplicated(rows)] == ["train"]


def test_pieces_end_with_sentences_and_lose_nothing():
    text = " ".join(f"Sentence number {i} says something." for i in range(100))
    cut = pieces(text, 300)
    assert " ".join(cut) == text
    assert all(len(piece) <= 300 and piece.endswith(".") for piece in cut)


def test_every_function_of_the_grammar_passes_its_own_check():
    for i in range(300):
        one = snippet(random.Random(i))
        space = {}
        exec(one.source, space)  # written by our grammar, not by a model
        assert eval(one.check, space) is True, one.source


def test_stories_hold_what_their_prompts_ask_for():
    """Content words of the prompts appear in the text that they were made from."""
    for i in range(300):
        one = tale(random.Random(i))
        for prompt in one.prompts[:2]:
            for word in re.findall(r"[a-z]{4,}", prompt.split("about")[-1]):
                assert word[:4] in one.text.lower() or word in ("that", "with", "from", "wants", "begins"), (
                    prompt,
                    one.text,
                )


def test_functions_lose_their_docstring_and_keep_their_first_line_as_prompt():
    head, body = "def f(a, b):", "    total = a + b  # sum\n    return total + 0 * len([a, b])\n"
    source = f'{head}\n    """Add two\n    numbers.\n\n    More."""\n{body}'
    assert [*functions(source)] == [("add two numbers", f"{head}\n{body}")]
    assert [*functions("def broken(:")] == []


def test_a_row_without_title_is_refused(tmp_path):
    with gzip.open(tmp_path / "t.gz", "wt") as lines:
        lines.write('{"text": "x"}\n')
    with pytest.raises(ValueError, match="line 1: expected the keys"):
        [*tales(tmp_path / "t.gz")]
