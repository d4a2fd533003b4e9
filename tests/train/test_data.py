"""The corpora: deterministic, split by work, deduplicated; what the grammars say is true."""

import gzip
import json
import random
import re

import pytest

from bowstring.train.data.corpora import (
    Document,
    build_corpus,
    deduplicated,
    functions,
    load_corpus,
    pieces,
    snippet_documents,
    story_documents,
    tale_documents,
    without_leaks,
)
from bowstring.train.data.grammar import PLOTS, Slots, story
from bowstring.train.data.parametric import never_learned, parametric
from bowstring.train.data.snippets import is_held_out, snippet
from bowstring.train.data.splits import bucket, first_split, least, overlap, split_of, word_grams, work_of


def test_a_corpus_is_the_same_bytes_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr("bowstring.train.data.corpora.story_documents", lambda: story_documents(50))
    for name in ("a", "b"):
        build_corpus("text", tmp_path / name)
    assert (tmp_path / "a/text.jsonl.gz").read_bytes() == (tmp_path / "b/text.jsonl.gz").read_bytes()
    assert load_corpus(tmp_path / "a/text.jsonl.gz")[0].source == "story"


def test_a_work_lies_in_one_split(tmp_path):
    path = tmp_path / "tales.jsonl.gz"
    text = "The grey wolf ran over the frozen river. The miller slept beside his barrels of flour. " * 40
    with gzip.open(path, "wt") as lines:
        for i in range(60):
            lines.write(json.dumps({"title": f"Tale {i}", "text": text.replace("wolf", f"wolf{i}")}) + "\n")
    splits = {}
    for document in tale_documents(path):
        title = re.search(r"wolf(\d+)", document.body).group(1)
        splits.setdefault(title, set()).add(document.split)
        assert document.split == split_of(f"Tale {title}")
    assert all(len(found) == 1 for found in splits.values())


def written(path, rows):
    with gzip.open(path, "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_no_two_splits_share_a_work_though_chapters_have_other_titles(tmp_path):
    """Volumes of a series, chapters of a novel and a tale that two collections tell are one work each."""
    places = [f"Novel {i} (book {i})" for i in range(40)] + [
        "The Road to Oz (book 485)",
        "Ozma of Oz (book 9)",
    ]
    text = "The grey wolf ran over the frozen river. The miller slept beside his barrels of flour. " * 12
    rows = [
        {"title": f"Chapter {i}", "source": place, "text": text.replace("wolf", f"wolf of {place} {i}")}
        for place in places
        for i in range(4)
    ]
    rows += [
        {
            "title": "Rapunzel",
            "source": f"Fairy Tales {i} (book 5{i})",
            "text": text.replace("wolf", f"hen {i}"),
        }
        for i in range(2)
    ]
    documents = [*tale_documents(written(tmp_path / "t.gz", rows))]
    splits = {}
    for document in documents:
        splits.setdefault(document.work, set()).add(document.split)
    assert len(splits) == 42 and all(len(found) == 1 for found in splits.values())
    assert {d.work for d in documents if "Oz" in d.body} == {"The Oz books"}
    assert set.union(*splits.values()) == {"train", "valid", "test"}


def test_what_is_held_out_depends_on_names_alone():
    assert [bucket(name) for name in ("a", "The Snow Queen")] == [90, 91]
    assert work_of("Chapter I", "Heidi (book 1448)") == ("Heidi", work_of("II", "Heidi (book 7)")[1])
    names = [f"plot {i}" for i in range(30)]
    kept = least(names, 5, "plot")
    assert kept == least([*reversed(names), *names], 5, "plot") and len(kept) == 5
    assert kept != least(names, 5, "filler")
    assert len(kept & least(names[:29], 5, "plot")) >= 4  # who adds a name moves one other at most


def test_a_held_out_plot_leaves_no_sentence_of_its_own_in_training():
    """Templates, not draws, are kept: no run of eight words of a held-out plot's own lines is learned."""
    documents = [*story_documents(3000)]
    learned = {gram for d in documents if d.split == "train" for gram in word_grams(d.body)}
    held = [plot for plot in PLOTS if story(plotted(plot)).novelty in ("template", "both")]
    assert len(held) == 2
    for plot in PLOTS:
        own = [" ".join(plot(Slots(random.Random(i)))[0]) for i in range(20)]
        shares = [overlap(text, learned) for text in own]
        assert (max(shares) < 0.15) if plot in held else (sum(shares) / 20 > 0.2), plot.__name__
    novelties = {d.novelty for d in documents if d.split == "test"}
    assert novelties == {"template", "filler", "combination"}


def plotted(plot):
    """Chance that picks this plot and is itself otherwise."""

    class Picked(random.Random):
        def choice(self, some):
            return plot if some is PLOTS else super().choice(some)

    return Picked(0)


def test_no_held_out_filler_or_template_is_learned():
    for documents in ([*story_documents(1500)], [*snippet_documents(3000)]):
        learned = [d for d in documents if d.split != "test"]
        assert learned and {d.novelty for d in learned} == {"combination"}
        assert {d.novelty for d in documents if d.split == "test"} >= {"template", "filler"}
    words = {word for d in story_documents(1500) if d.split == "train" for word in d.body.split()}
    assert "Otto" in words and "Rufus" not in words and "Clara" not in words


def test_training_drops_what_is_nearly_a_held_out_text():
    body = " ".join(f"word{i}" for i in range(40))
    row = lambda split, source, text: Document("text", split, source, ("p",), text, True, work=text)
    documents = [
        row("test", "tale", body),
        row("train", "tale", body.replace("word0 ", "once ")),
        row("train", "tale", " ".join(f"word{i}" for i in range(0, 80, 2))),
        row("train", "story", body),
    ]
    assert [*without_leaks(documents, ("tale",))] == [documents[0], *documents[2:]]


def test_a_model_of_the_first_rule_is_measured_on_what_both_rules_keep():
    tale = lambda split, title: Document("text", split, "tale", ("p",), "x", True, work="w", title=title)
    kept = next(f"t{i}" for i in range(100) if first_split(f"t{i}") == "test")
    seen = next(f"t{i}" for i in range(100) if first_split(f"t{i}") == "train")
    assert tale("test", kept).held_out(rule=1)
    assert not tale("test", seen).held_out(rule=1)  # a chapter that was learned from
    assert not tale("train", kept).held_out(rule=1)  # a chapter whose book was learned from
    assert tale("test", seen).held_out()


def test_a_corpus_that_does_not_name_its_works_is_refused(tmp_path):
    written(tmp_path / "text.jsonl.gz", [{"kind": "text", "prompts": []}])
    with pytest.raises(ValueError, match="earlier rule; delete it and build it again"):
        load_corpus(tmp_path / "text.jsonl.gz")


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


@pytest.mark.parametrize("grammar", [snippet, parametric, never_learned])
def test_every_function_of_the_grammar_passes_its_own_check(grammar):
    for i in range(300):
        one = grammar(random.Random(i))
        space = {}
        exec(one.source, space)  # written by our grammar, not by a model
        assert eval(one.check, space) is True, one.source


def test_a_function_with_another_number_or_text_than_the_prompt_fails():
    wrong = 0
    for i in range(300):
        one = parametric(random.Random(i))
        for filler in one.fillers:
            other = "'qq'" if filler.startswith("'") else str(int(filler) + 1)
            space = {}
            exec(one.source.replace(filler, other), space)
            wrong += eval(one.check, space) is not True
            assert all(filler in way for way in (one.prompt, *one.others))
    assert wrong > 0.95 * sum(len(parametric(random.Random(i)).fillers) for i in range(300))


def test_numbers_and_texts_that_are_held_out_are_in_no_learned_function():
    novel = [one for i in range(2000) if (one := parametric(random.Random(i))).novelty == "filler"]
    assert 60 < len(novel) < 400
    assert all(any(map(is_held_out, one.fillers)) for one in novel)
    learned = {d.body for d in snippet_documents(3000) if d.split != "test"}
    assert not {one.source for one in novel} & learned
    assert {never_learned(random.Random(i)).novelty for i in range(200)} == {"template", "both"}


def test_stories_hold_what_their_prompts_ask_for():
    """Content words of the prompts appear in the text that they were made from."""
    for i in range(300):
        one = story(random.Random(i))
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
        [*tale_documents(tmp_path / "t.gz")]
