"""Memories as a user types them."""

import io
import json
import sys

import pytest

from bowstring.cli import main


@pytest.fixture
def run(capfdbinary, monkeypatch, tmp_path):
    """Runs the command with a store of its own: (exit code, lines of standard output, standard error)."""

    def command(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stopped:
            main([*map(str, arguments), "--memory", str(tmp_path / "store")])
        out, err = capfdbinary.readouterr()
        return stopped.value.code, out.decode().splitlines(), err.decode()

    return command


def test_remember_recall_edit_forget_undo(run):
    code, (id,), err = run("remember", "The fox lives behind the mill.", "--tag", "animal")
    assert (code, err) == (0, "")
    code, lines, err = run("recall", "where is the fox?")
    assert (
        code == 0
        and lines[0].startswith(id)
        and lines[0].endswith("behind the mill.")
        and "words only" in err
    )
    assert run("memories", "edit", id[:6], "The fox has moved.")[1] == [id]
    assert json.loads(run("recall", "moved", "--json")[1][0])[0]["text"] == "The fox has moved."
    assert run("memories", "forget", id)[1] == [id] and run("memories", "list")[1] == []
    assert run("memories", "undo")[1] == [id] and len(run("memories", "list", "--tag", "animal")[1]) == 1
    assert [one["version"] for one in json.loads(run("memories", "show", id, "--json")[1][0])] == [1, 2, 3]
    assert run("memories", "forget", id, "--erase")[2] == "1 erased\n"
    assert (
        run("memories", "verify")[0] == 0
        and json.loads(run("memories", "stats", "--json")[1][0])["records"] == 0
    )


def test_files_are_remembered_once(run, tmp_path):
    note = tmp_path / "note.md"
    note.write_text("# Animals\nA fox.\n# Plants\nA fern.\n")
    assert len(run("remember", note, "a third", "--namespace", "n")[1]) == 3
    note.write_text("# Animals\nA fox.\n# Plants\nAn oak.\n")
    _, lines, err = run("remember", note, "--namespace", "n")
    assert len(lines) == 1 and "1 known already" in err
    assert len(run("memories", "list", "--source", note)[1]) == 3
    assert run("memories", "list", "--namespace", "other")[1] == []


def test_a_key_is_one_fact(run):
    (id,) = run("remember", "blue", "--key", "colour")[1]
    assert run("remember", "-", "--key", "colour", stdin=b"red")[1] == [id]
    assert [one["text"] for one in json.loads(run("memories", "list", "--json")[1][0])] == ["red"]
    code, _, err = run("remember", "a", "b", "--key", "colour")
    assert code == 2 and "names one fact" in err


def test_export_and_load(run, tmp_path):
    run("remember", "a", "b")
    assert "2 memories written" in run("memories", "export", tmp_path / "x.jsonl")[2]
    run("memories", "forget", "--namespace", "default", "--erase")
    assert "2 memories read" in run("memories", "load", tmp_path / "x.jsonl")[2]
    assert len(run("memories", "list")[1]) == 2


def test_mistakes_are_sentences(run, tmp_path):
    for arguments, words in [
        (("memories", "show", "nope"), "no memory has an id that begins with 'nope'"),
        (("memories", "forget"), "nothing says what to forget"),
        (("memories", "export", tmp_path / "x.txt"), ".jsonl"),
        (("memories", "undo"), "nothing to undo"),
        (("remember", " "), "nothing to remember"),
    ]:
        code, out, err = run(*arguments)
        assert (code, out) == (2, []) and words in err and err.count("\n") == 1
