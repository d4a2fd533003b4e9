"""Lessons: what files may hold, and a split that no context crosses."""

import json

import pytest

from bowstring.adapt.lesson import Example, Lesson, halves, named, read_examples, split


def test_no_context_stands_on_both_sides_and_more_data_move_nothing():
    some = [Example(f"question {i % 60}", f"answer {i}") for i in range(240)]
    lesson = split(some)
    sides = [{one.prompt for one in part} for part in (lesson.train, lesson.held_out)]
    assert not sides[0] & sides[1] and len(lesson.train) + len(lesson.held_out) == 240
    more = split([*some, *(Example(f"other {i}", "x") for i in range(60))])
    assert set(lesson.held_out) <= set(more.held_out) and set(lesson.train) <= set(more.train)
    assert split(some).id == lesson.id != more.id


def test_too_little_to_judge_by_is_refused():
    with pytest.raises(ValueError, match="too few; expected at least 8"):
        split([Example(f"q {i}", "a") for i in range(12)])


def test_files_of_each_kind(tmp_path):
    rows = [
        {"prompt": "What is a wug?", "answer": "A blue bird."},
        {"text": "one two three four five six seven eight"},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_examples(tmp_path / "a.jsonl") == [
        Example("What is a wug?", "A blue bird."),
        Example("one two three four", " five six seven eight"),
    ]
    (tmp_path / "a.txt").write_text(
        "The wug is a blue bird that lives in the hills of Aum.\n\nIt eats only moss."
    )
    made = read_examples(tmp_path / "a.txt")
    assert [one.prompt + one.answer for one in made] == [(tmp_path / "a.txt").read_text()]


@pytest.mark.parametrize(
    "content, words",
    [
        ('{"prompt": "x"}', "line 1"),
        ("[1]", "line 1"),
        ('{"prompt": "x", "answer": " "}', "answer is empty"),
        ('{"prompt": "x", "answer": 3}', "line 1"),
        ('{"question": "x", "answer": "y"}', "expected"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_lines_that_are_no_examples_are_named(tmp_path, content, words):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(ValueError, match=words):
        read_examples(tmp_path / "a.jsonl")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    for name, words in (("a.csv", "ends in"), ("a.txt", "no text in UTF-8")):
        with pytest.raises(ValueError, match=words):
            read_examples(tmp_path / name)


def test_short_passages_say_too_little():
    assert [*halves(["one two three"])] == []


def test_long_prompts_with_one_beginning_name_two_domains():
    long = "tell me all about the wugs of the northern hills and " * 3
    assert named("What is a wug?") == "What is a wug?"
    assert named(long + "one") != named(long + "two") and len(named(long)) == 80


def test_what_is_taught_is_not_what_judges_whatever_its_case():
    some = [Example(f"question {i}", "a") for i in range(16)]
    shouted = [Example(f"QUESTION  {i}", "a") for i in range(15, 40)]
    with pytest.raises(ValueError, match="is taught and asked"):
        Lesson(tuple(some), tuple(shouted))
