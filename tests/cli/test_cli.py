"""The command as a user types it."""

import errno
import io
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bowstring.cli import app, main
from bowstring.cli.image import half_blocks
from bowstring.cli.terminal import can_show, put, table
from bowstring.engine import ArrowEngine

CODE = 'm = "androidx.test:runner:1.6.1"; x[:star:2]; print("a\\n[bold]' + "\u00df" * 3 + "\r\n\t"


class Screen(io.TextIOWrapper):
    """A standard output that says it is a terminal."""

    def __init__(self, encoding):
        super().__init__(io.BytesIO(), encoding, write_through=True)

    def isatty(self):
        return True


@pytest.fixture
def run(capfdbinary, monkeypatch):
    """Runs the command in this process: (exit code, standard output as bytes, standard error)."""

    def command(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stopped:
            main([str(one) for one in arguments])
        out, err = capfdbinary.readouterr()
        return stopped.value.code, out, err.decode()

    return command


@pytest.fixture
def no_work(monkeypatch):
    """Loading a model fails the test: what is refused is to be refused before."""

    def load(*_):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(ArrowEngine, "load", load)


def test_no_help_imports_torch_or_takes_long():
    code = "import sys, resource; from bowstring.cli import app\n"
    code += "import typer.main\n"
    code += "for name in ['', *typer.main.get_command(app).commands]:\n"
    code += "    try: app([name, '--help'] if name else ['--help'])\n    except SystemExit: pass\n"
    code += "u = resource.getrusage(resource.RUSAGE_SELF)\n"
    code += "print('torch' in sys.modules, u.ru_utime + u.ru_stime, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported, seconds = done.stderr.split()
    assert imported == "False" and float(seconds) < 3.0  # 17 pages; about 0.8 on a busy machine


def test_version_and_hyphens(run):
    assert run("--version") == (0, b"bowstring 0.1.0\n", "")
    code, out, err = run("say", "-5 degrees", "-o", "x.wav")
    assert (code, out) == (2, b"") and 'behind --: bowstring say ... -- "-5 degrees"' in err
    assert err.count("\n") == 1


def test_run_prints_one_json_object(run, folder):
    code, out, _ = run("run", "a fox", "--model", folder, "--max-new-tokens", 8, "--seed", -1, "--json")
    made = json.loads(out)
    assert code == 0 and made["settings"]["prompt"] == "a fox" and "trajectory" not in made
    assert made["settings"]["seed"] == 2**64 - 1


def test_a_pipe_gets_the_text_to_the_byte_and_nothing_else(run, folder):
    how = ["--model", folder, "--max-tokens", 16, "--mode", "ar", "--seed", 3]
    code, out, err = run("run", "a fox", *how)
    made = ArrowEngine.load(folder).generate("a fox", mode="ar", max_tokens=16, seed=3)
    assert (code, out) == (0, made.text.encode()) and "evaluations" in err
    assert run("run", "-", *how, stdin=b"a fox\n")[1] == out


def test_infill_keeps_both_sides_to_the_byte(run, folder):
    suffix = " :rocket: [/bold]\\n" + " the fox" * 6 + "\r\n"
    how = ["--suffix", suffix, "--length", 4, "--model", folder]
    code, out, err = run("infill", CODE, *how)
    assert code == 0, err
    assert out.startswith(CODE.encode()) and out.endswith(suffix.encode())
    assert run("infill", "-", *how, stdin=CODE.encode())[1] == out
    assert json.loads(run("infill", CODE, *how, "--json")[1])["text"] == out.decode()


def test_encode_show_doctor_and_verify(run, folder):
    assert len(json.loads(run("encode", "a fox", "--model", folder)[1])) == 384
    assert json.loads(run("show", "--json", "--model", folder)[1])["modalities"] == "text"
    assert b"torch" in run("doctor")[1]
    assert b"match their hashes" in run("verify", "--model", folder)[1]


def test_convert_and_tiers(run, folder, tmp_path):
    for name in ("w.safetensors", "W.SAFETENSORS"):
        assert b"tensors written" in run("convert", folder / "shared_transformer.parquet", tmp_path / name)[1]
    rows = {row["preset"]: row for row in json.loads(run("tiers", "--json")[1])}
    assert rows["edge"]["parameters"] < 100e6 and rows["edge"]["file_mb"] < 35 and rows["edge"]["bits"] == 2
    assert rows["workstation"]["file_mb"] <= 200 and rows["cloud"]["parameters"] <= 3e9
    assert b"runs here" in run("tiers")[1]


def test_files_are_written_and_pipes_stay_clean(run, tmp_path):
    code, out, err = run("say", "hello", "-o", tmp_path / "x.wav", "--steps", 1)
    assert (code, out) == (0, b"") and f"written to {tmp_path / 'x.wav'}" in err
    with wave.open(str(tmp_path / "x.wav")) as file:
        assert file.getframerate() == 24_000
    code, out, err = run("image", "a fox", "-o", tmp_path / "x.JPG", "--num-inference-steps", 1)
    assert (code, out) == (0, b"") and "written to" in err
    with Image.open(tmp_path / "x.JPG") as picture:
        assert (picture.format, picture.size) == ("JPEG", (512, 512))
    how = ["--text", "Hello :wave: [b]you[/b].", "--no-picture", "--steps", 1, "-o", tmp_path / "all"]
    how += ["--portrait", tmp_path / "x.JPG", "--landmarks", "0.3,0.4 0.7,0.4 0.5,0.7"]
    code, out, err = run("converse", "a fox", *how)
    assert (code, out) == (0, b"Hello :wave: [b]you[/b].") and "passes" in err
    assert (tmp_path / "all" / "speech.wav").exists()
    with Image.open(tmp_path / "all" / "face.gif") as face, Image.open(tmp_path / "x.JPG") as still:
        apart = np.asarray(face.convert("RGB"), float) - np.asarray(still.resize((256, 256)), float)
        assert abs(apart).mean() < 20


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "a fox", "--mode", "gan"], "mode is 'gan'; expected 'auto', 'ar' or 'diffusion'"),
        (["run", "a fox", "--model", "nowhere"], "no model 'nowhere' ships"),
        (["run", "a fox", "--model", "./nowhere"], "holds no model"),
        (["run", "a fox", "--temperature", "nan"], "temperature is nan; expected a number"),
        (["run", "a fox", "--seed", "18446744073709551616"], "seed is 18446744073709551616; expected"),
        (["run", "a fox", "--stepz", "3"], "No such option: --stepz"),
        (["run"], "Missing argument"),
        (["tell"], "No such command 'tell'"),
        (["train", "nope"], "tiny, fields, autoencoder"),
        (["data", "nope"], "expected text, code, checked"),
        (["run", "a fox", "--model", "fields"], "a model of physical fields; `bowstring sample`"),
        (
            ["run", "a fox", "--adapter", "structure:abc"],
            "the weight of the adapter 'structure:abc' is 'abc'",
        ),
        (["rm", "text-int4"], "'text-int4' ships with the program and stays"),
        (["import", ".", "-o", ""], "'' is no name of a model"),
        (["encode", ""], "the text is empty"),
        (["bench", "weather"], "unknown topic 'weather'"),
        (["data", "smells"], "unknown corpus 'smells'"),
        (["data", "pictures"], "fetch it with `bowstring data pictures --download`"),
        (["sample", "phi4", "-o", "x.png", "--beta", "0.9"], "knows 0.2 to 0.68"),
        (["sample", "phi4", "-o", "x.png", "--beta", "nan"], "--beta is nan; expected a number"),
        (["sample", "phi4", "-o", "x.png", "--count", "0"], "--count is 0; expected a whole number from 1"),
        (["sample", "phi4", "-o", "x.png", "-n", "-1"], "--count is -1"),
        (["sample", "phi4", "-o", "x.png", "--steps", "0"], "--steps is 0"),
        (["sample", "heat", "-o", "x.png", "--time", "-1"], "--time is -1"),
        (["convert", "a.bin", "b.parquet"], "one ends in .parquet"),
        (["convert", "a.parquet", "b.safetensors"], "there is no file a.parquet"),
        (["quantise", "out", "--bits", "3"], "expected 2 or 4"),
        (
            ["say", "hello", "-o", "x.wav", "--voice", "none.wav"],
            "no voice 'none.wav' is remembered and there is no such file",
        ),
        (["say", "hello", "-o", "x.wav", "--speed", "0"], "speed is 0.0; expected a number from 0.5 to 2"),
        (["converse", "a fox", "-o", "x", "--steps", "0"], "steps is 0; expected a whole number from 1"),
        (["converse", "a fox", "-o", "x", "--portrait", "none.png"], "there is no picture none.png"),
        (["converse", "a fox", "-o", "x", "--landmarks", "1 2"], "landmarks are of a portrait"),
        (["image", "a fox", "-o", "x.png", "--start", "none.png"], "there is no picture none.png"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(run, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, b"") and says in err
    assert err.startswith("bowstring: ") and err.count("\n") == 1
    assert not [*tmp_path.glob("x*")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["say", "hello", "-o", "x.mp3"], "x.mp3 ends in '.mp3'; expected .wav"),
        (["say", "hello", "-o", "folder"], "folder is a folder; expected the name of a file"),
        (["say", "hello", "-o", "/sys/x.wav"], "/sys/x.wav cannot be written"),
        (["say", "hello", "-o", "none/x.wav"], "there is no folder"),
        (["image", "a fox", "-o", "none/x.png", "--steps", "300"], "there is no folder"),
        (["image", "a fox", "-o", "x.gif"], "x.gif ends in '.gif'; expected .png, .jpg or .jpeg"),
        (["converse", "a fox", "-o", "file"], "file is a file; expected a folder"),
        (["sample", "phi4", "-o", "x.jpg", "--size", "256"], "x.jpg ends in '.jpg'; expected .png or .npy"),
        (["sample", "phi4", "-o", "none/x.png", "--steps", "150"], "there is no folder"),
        (["train", "tiny", "--out", "file"], "file is a file; expected a folder"),
        (["quantise", "file"], "file is a file; expected a folder"),
    ],
)
def test_outputs_are_checked_before_the_work(run, no_work, arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    code, out, err = run(*arguments)
    assert (code, out) == (2, b"") and says in err and err.count("\n") == 1
    assert sorted(os.listdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("steps is\n  0"), 2, "bowstring: steps is 0"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "d"), 2, "bowstring: d: Is a directory"),
        (PermissionError("not here"), 2, "bowstring: not here"),
        (
            OSError(errno.ENOSPC, "x cannot be written: full"),
            2,
            "bowstring: x cannot be written: full",
        ),
        (ImportError("pip install this"), 2, "bowstring: pip install this"),
        (MemoryError(), 2, "bowstring: there is not enough memory; ask for something smaller or shorter"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            2,
            "bowstring: there is not enough memory",
        ),
        (KeyboardInterrupt(), 130, "bowstring: interrupted"),
        (RuntimeError("odd"), 2, "bowstring: RuntimeError: odd; this is a fault of the program, the option"),
        (IndexError(), 2, "bowstring: IndexError: no more is known; this is a fault of the program"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), 2, "bowstring: 'utf-8' codec can't decode"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_happens_is_one_sentence_and_debug_shows_where(run, monkeypatch, error, code, says):
    def load(*_):
        raise error

    monkeypatch.setattr(ArrowEngine, "load", load)
    found, out, err = run("run", "a fox")
    assert (found, out) == (code, b"") and err.startswith(says) and err.count("\n") == 1
    for arguments in (["--debug", "run", "a fox"], ["run", "a fox", "--debug"]):
        found, _, err = run(*arguments)
        assert found == code and ("Traceback" in err or code == 130)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "bowstring", "--version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "bowstring: standard output cannot be written: No space left on device\n"


def test_standard_input_that_is_no_text_is_refused(run, no_work):
    found = run("infill", "-", "--suffix", "x", stdin=b"caf\xe9")
    assert found == (2, b"", "bowstring: standard input is no UTF-8 at byte 3; expected text\n")


def test_a_corpus_without_tales_says_what_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BOWSTRING_DATA", raising=False)
    monkeypatch.setattr("bowstring.train.data.corpora.build_corpus", lambda *_: {"story/train": 1})
    assert "no file of tales is in ../shared/data/stories.jsonl.gz" in run("data", "text")[2]
    assert run("data", "text", "--source", "tales.jsonl.gz")[2] == ""


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin-1", "ascii"])
def test_a_terminal_of_any_encoding_shows_the_work_and_keeps_it(encoding, monkeypatch, tmp_path):
    screen = Screen(encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(SystemExit) as stopped:
        main(["image", "a fox", "-o", str(tmp_path / "x.png"), "--steps", "1"])
    assert stopped.value.code == 0 and (tmp_path / "x.png").exists()
    put("a\u2591b [bold]:star:[/bold] " + "long " * 50)
    table("a [title]", {"[red]name": "[value] :star:", "n": 12345})
    shown = screen.buffer.getvalue()
    assert b"[bold]:star:[/bold] " + b"long " * 50 + b"\n" in shown and b"[value] :star:" in shown
    assert b"[red]name" in shown and b"12,345" in shown


def test_half_blocks_have_a_plain_form(monkeypatch):
    image = np.zeros((96, 96, 3), np.uint8)
    monkeypatch.setattr(sys, "stdout", Screen("cp1252"))
    assert not can_show("\u2580") and set(half_blocks(image).plain) == {" ", "\n"}
    monkeypatch.setattr(sys, "stdout", Screen("utf-8"))
    assert can_show("\u2580") and set(half_blocks(image).plain) == {"\u2580", "\n"}


def test_the_application_is_one():
    assert {command.name or command.callback.__name__ for command in app.registered_commands} >= {
        "run", "infill", "say", "image", "converse", "sample", "convert", "train",
    }  # fmt: skip
