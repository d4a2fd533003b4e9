"""`run` with an imported model: every option is handed on or refused."""

import json

import pytest

from bowstring.cli import main
from bowstring.llm.importing import GGUFSource, import_model
from tests.llm.gguf_files import gguf, small_llama


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    (place / "small.gguf").write_bytes(gguf(*small_llama("Q8_0")))
    import_model(GGUFSource(place / "small.gguf"), place / "small")
    return place / "small"


def run(capfd, folder, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["run", "ab", "--model", str(folder), "--max-tokens", "4", "--json", *arguments])
    out, err = capfd.readouterr()
    return ended.value.code, out, err


def test_what_an_imported_model_takes_is_handed_on(folder, capfd):
    code, out, _ = run(capfd, folder, "--top-k", "1", "--repetition-penalty", "1.5", "--mode", "ar")
    settings = json.loads(out)["settings"]
    assert code == 0 and (settings["top_k"], settings["repetition_penalty"]) == (1, 1.5)
    assert json.loads(run(capfd, folder, "--mode", "auto", "-n", "1")[1])["settings"]["top_k"] == 40
    text = json.loads(out)["text"]
    end = next(one for one in text if " " < one < "~")
    stopped = run(capfd, folder, "--top-k", "1", "--repetition-penalty", "1.5", "--stop", end)
    assert json.loads(stopped[1])["text"] == text[: text.index(end)]
    assert run(capfd, folder, "--steps", "3", "--mode", "diffusion")[0] == 2


@pytest.mark.parametrize(
    "option",
    [
        "-n 2",
        "--kind code",
        "--min-tokens 3",
        "--block 8",
        "--remembered",
        "--memory m",
        "--namespace n",
        "--write-back",
        "--learn",
    ],
)
def test_what_it_does_not_take_is_refused_by_name(folder, capfd, option):
    code, out, err = run(capfd, folder, *option.split())
    assert (code, out) == (2, "") and option.split()[0].strip("-") in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"), [(["hi", "--steps", "2"], "steps is for"), ([""], "is empty")]
)
def test_a_chat_refuses_what_it_cannot_take(folder, capfd, arguments, says):
    with pytest.raises(SystemExit) as ended:
        main(["chat", *arguments, "--model", str(folder), "--max-tokens", "4"])
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "") and says in err and err.count("\n") == 1


def test_a_chat_that_is_to_recall_needs_a_store_that_exists(folder, capfd, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["chat", "hi", "--model", str(folder), "--memory", str(tmp_path / "store")])
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "") and "there is no store of memories in" in err
    assert not (tmp_path / "store").exists()
