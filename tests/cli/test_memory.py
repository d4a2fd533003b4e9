"""Memories as a user types them."""

import io
import json
import sys
import zlib

import numpy as np
import pytest

from bowstring.cli import main, terminal
from bowstring.memory.store import ArrowStorage
from bowstring.speech.remembered import voice_named


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
    code, lines, err = run("recall", "the house of an animal")  # none of its words is in the text
    assert (code, err) == (0, "") and lines[0].startswith(id) and lines[0].endswith("behind the mill.")
    assert run("memories", "edit", id[:6], "The fox has moved.")[1] == [id]
    assert run("memories", "embed")[2] == "0 memories have got a vector\n"
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
    ArrowStorage(tmp_path / "store").close()
    for arguments, words in [
        (("memories", "show", "nope"), "no memory has an id that begins with 'nope'"),
        (("memories", "forget"), "nothing says what to forget"),
        (("memories", "export", tmp_path / "x.txt"), ".jsonl"),
        (("memories", "undo"), "nothing to undo"),
        (("remember", " "), "nothing to remember"),
    ]:
        code, out, err = run(*arguments)
        assert (code, out) == (2, []) and words in err and err.count("\n") == 1


def test_an_empty_text_does_not_mean_the_working_folder(run, tmp_path, monkeypatch):
    (tmp_path / "note.txt").write_text("a secret")
    monkeypatch.chdir(tmp_path)
    for arguments in (("remember", ""), ("remember", "a", ""), ("recall", "")):
        code, out, err = run(*arguments)
        assert (code, out) == (2, []) and "empty" in err and err.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "command",
    [
        "recall x",
        "memories list",
        "memories show a",
        "memories stats",
        "memories verify",
        "memories edit a b",
        "memories embed",
        "memories reembed",
        "run x --remembered",
        "run x",  # --memory guides, too
    ],
)
def test_who_does_not_remember_makes_no_store(run, tmp_path, command):
    code, out, err = run(*command.split())
    assert (code, out) == (2, []) and f"no store of memories in {tmp_path / 'store'}" in err
    assert run("memories", "export", tmp_path / "x.jsonl")[0] == 2
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("command", ["memories list", "memories embed", "run x --remembered"])
def test_a_folder_of_other_files_is_no_store(run, tmp_path, command):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "letter.txt").write_text("dear reader")
    code, out, err = run(*command.split())
    assert (code, out) == (2, []) and f"no store of memories in {tmp_path / 'store'}" in err
    assert [one.name for one in (tmp_path / "store").iterdir()] == ["letter.txt"]


def test_a_recall_that_finds_nothing_says_so(run):
    run("remember", "a fox", "--namespace", "n")
    code, out, err = run("recall", "fox", "--namespace", "other")
    assert (code, out, err) == (0, [], "nothing is remembered that has to do with 'fox'\n")


def test_lines_that_are_no_entries_name_their_file(run, tmp_path):
    place = tmp_path / "things"
    place.mkdir()
    (place / "good.jsonl").write_text('"a fox"\n')
    (place / "other.jsonl").write_text('"an owl"\n{"colour": "red"}\n')
    run("remember", "b")
    run("memories", "export", place / "store.jsonl")
    code, out, err = run("remember", place)
    assert (code, len(out)) == (0, 1) and err.count("left out: ") == 2
    assert f"{place / 'other.jsonl'} line 2: an entry has no 'colour'" in err
    assert f"`bowstring memories load {place / 'store.jsonl'}`" in err
    assert run("remember", place / "other.jsonl")[0] == 2


def test_pictures_and_recordings_of_a_folder_are_remembered_once(run, tmp_path):
    from PIL import Image, PngImagePlugin

    from bowstring.speech.files import to_wav

    place = tmp_path / "things"
    place.mkdir()
    made = PngImagePlugin.PngInfo()
    made.add_text("bowstring", json.dumps({"prompt": "a sleepy fox"}))
    Image.new("RGB", (8, 8)).save(place / "one.png", pnginfo=made)
    Image.new("RGB", (8, 8), "red").save(place / "red_barn.png")
    (place / "anna.wav").write_bytes(to_wav(np.sin(np.arange(24_000) / 20).astype(np.float32) / 2))
    (place / "left.out").write_text("x")
    assert len(run("remember", place)[1]) == 3
    assert run("remember", place)[1:] == ([], "3 known already\n")
    found = json.loads(run("recall", "sleepy fox", "--json")[1][0])[0]
    assert found["holds"] == ["picture"] and found["source"] == str(place / "one.png")
    assert json.loads(run("recall", "barn", "--json")[1][0])[0]["holds"] == ["picture"]
    with ArrowStorage(tmp_path / "store") as store:
        samples, rate = voice_named(store, "anna")
        assert rate == 24_000 and len(samples) == 24_000 and np.abs(samples).max() > 0.4
        with pytest.raises(ValueError, match=r"no voice .bob. is remembered.*here are anna"):
            voice_named(store, "bob")
        assert voice_named(None, "bob") == "bob" and voice_named(store, str(place / "anna.wav")).endswith(
            ".wav"
        )


def test_a_file_that_cannot_be_remembered_is_no_text(run, tmp_path):
    (tmp_path / "a.docx").write_bytes(b"x")
    (tmp_path / "a.pdf").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    (tmp_path / "c.wav").write_bytes(b"x")
    for name, words in [
        ("a.docx", "ends in '.docx'; expected"),
        ("a.pdf", "no PDF that can be read"),
        ("b.png", "no picture that can be read"),
        ("c.wav", "no recording that can be read"),
        ("d.md", "there is no file"),
    ]:
        code, out, err = run("remember", tmp_path / name)
        assert (code, out) == (2, []) and words in err and err.count("\n") == 1
    assert run("memories", "list")[1] == []
    assert len(run("remember", "see notes.md there")[1]) == 1


def test_what_is_remembered_guides_and_is_named(run, tmp_path):
    _, (id,), _ = run("remember", "The fox is shy and lives by the sea.")
    asked = ("run", "a story about a fox", "--max-tokens", "6", "--remembered", "--write-back")
    code, lines, err = run(*asked)
    assert code == 0 and lines and f"memory {id} (1.00): The fox is shy" in err
    told = json.loads("".join(run(*asked, "--json")[1]))
    assert [one["id"] for one in told["memories"]] == [id]
    assert len(run("memories", "list", "--namespace", "made")[1]) == 1  # the same text is one record
    out = tmp_path / "fox.png"
    code, _, err = run("image", "the fox by the sea", "--steps", "1", "--size", "32", "-o", out)
    assert code == 0 and f"memory {id}" in err and out.exists()


def chunk(kind, data):
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png(side, carried=None):
    size = side.to_bytes(4, "big") * 2
    words = b"" if carried is None else chunk(b"tEXt", b"bowstring\x00" + carried)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1 + 3 * side) * side if side < 99 else b""))
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x02\x00\x00\x00")
    return head + words + pixels + chunk(b"IEND", b"")


def test_a_file_of_a_folder_that_cannot_be_read_is_left_out_and_named(run, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "bomb.png").write_bytes(png(20_000))
    (place / "deep.jsonl").write_text("[" * 100_000)
    (place / "deep_fox.png").write_bytes(png(4, b"[" * 50_000))
    (place / "listed_fox.png").write_bytes(png(5, b'{"prompt": [1, 2]}'))
    (place / "red.png").write_bytes(png(6, b'{"prompt": "a red fox"}'))
    code, lines, err = run("remember", place)
    assert code == 0 and len(lines) == 3 and err.count("left out") == 2
    assert "bomb.png" in err and "deep.jsonl" in err
    found = json.loads("".join(run("memories", "list", "--json")[1]))
    assert {one["text"] for one in found} == {"deep fox", "listed fox", "a red fox"}
    assert run("remember", place / "bomb.png")[0] == 2


def test_a_terminal_shows_control_characters_and_does_not_obey_them(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, Terminal())
    terminal.put_line("a\x1b]0;owned\x07\tb\r\nc\rd\x9b2J\u00e9")
    assert sys.stdout.getvalue() == "a\\x1b]0;owned\\x07\tb\r\nc\\x0dd\\x9b2J\u00e9\n"
    terminal.note("memory \x1b[2J")
    terminal.explain(ValueError("no \x1b[2J"), debug=False)
    assert "\x1b[2J" not in sys.stderr.getvalue() and sys.stderr.getvalue().count("\\x1b[2J") == 2


def test_a_folder_or_a_long_name_is_no_voice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anna").mkdir()
    with ArrowStorage(tmp_path / "store") as store:
        store.add(key="anna", voice=np.ones(240, np.float32))
        samples, rate = voice_named(store, "anna")
        assert rate == 24_000 and len(samples) == 240
        with pytest.raises(ValueError, match="is remembered and there is no such file"):
            voice_named(store, "n" * 5000)
