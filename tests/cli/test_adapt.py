"""The commands that look at what was learned, on a ledger that lies in a folder."""

import json

import numpy as np
import pytest

from bowstring.adapt.gate import Verdict
from bowstring.adapt.ledger import Ledger, Provenance
from bowstring.cli import main
from bowstring.llm.importing import GGUFSource, import_model
from tests.llm.gguf_files import gguf, small_llama

BASE = "sha256:" + "0" * 64
BETTER = Verdict(True, "better", 0.12, 0.01, 0.05, 0.01, 0.001, 0.0005)
WORSE = Verdict(False, "old domains lost 3.0%", 0.12, 0.01, 0.05, 0.01, 0.03, 0.001)
FROM = Provenance("ab12", 40, 12, 0, "L2", 100, 12.5, 0.01, BASE, "ar")


@pytest.fixture
def folder(tmp_path):
    vectors = np.eye(8, dtype=np.float32)
    with Ledger(tmp_path / "ledger", BASE) as ledger:
        ledger.keep("wugs", b"old", vectors, 0.8, BETTER, FROM)
        ledger.keep("wugs", b"new", vectors, 0.8, BETTER, FROM)
        ledger.reject("noise", WORSE, FROM)
    return tmp_path / "ledger"


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_what_was_learned_is_listed_shown_exported_and_taken_back(folder, tmp_path, capsys):
    there = ("--adaptations", str(folder))
    code, out, _ = called(capsys, "adaptations", "list", *there)
    assert code == 0 and "wugs" in out and "noise" not in out
    (one,) = json.loads(called(capsys, "adaptations", "list", *there, "--json")[1])
    assert one["version"] == 2 and one["verdict"]["gain"] == 0.12
    both = json.loads(called(capsys, "adaptations", "list", "--rejected", *there, "--json")[1])
    assert {one["domain"] for one in both} == {"wugs", "noise"}
    code, out, _ = called(capsys, "adaptations", "export", one["id"], "-o", str(tmp_path / "out"), *there)
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == b"new"
    code, out, _ = called(capsys, "adaptations", "undo", one["id"], *there)
    assert "took back wugs, version 2" in out and "in force" in out
    called(capsys, "adaptations", "export", one["id"], "-o", str(tmp_path / "back"), *there)
    assert (tmp_path / "back" / "adapter_model.safetensors").read_bytes() == b"old"
    assert called(capsys, "adaptations", "prune", "--keep", "0", *there)[1] == "erased 2\n"
    assert called(capsys, "adaptations", "list", *there)[1] == ""


def test_mistakes_are_sentences(folder, tmp_path, capsys):
    there = ("--adaptations", str(folder))
    for arguments in (("show", "zzzz"), ("undo", "zzzz"), ("prune", "--keep", "-1")):
        code, _, err = called(capsys, "adaptations", *arguments, *there)
        assert code == 2 and "Traceback" not in err and len(err.strip().splitlines()) == 1
    (tmp_path / "few.jsonl").write_text('{"prompt": "a", "answer": "b"}\n')
    code, _, err = called(capsys, "adapt", str(tmp_path / "few.jsonl"), *there)
    assert code == 2 and "too few" in err
    (tmp_path / "same.jsonl").write_text('{"prompt": "a", "answer": "c"}\n')
    pair = (str(tmp_path / "few.jsonl"), "--test", str(tmp_path / "same.jsonl"))
    code, _, err = called(capsys, "adapt", *pair, *there)
    assert code == 2 and "too few" in err


@pytest.fixture
def here(monkeypatch):
    """Lessons are learned in this process, in few steps, and old texts are few."""
    from bowstring.adapt import learners, process, router

    monkeypatch.setattr(learners, "OLD", 24)
    monkeypatch.setattr(learners.ImportedLearner, "steps", 12)
    told = []

    def supervised(module, job, limit_s, progress=None, cancel=None):
        monkeypatch.setattr(process, "tell", lambda **said: told.append(said))
        process.run(json.loads(job.read_text()))
        return told[-1]["result"]

    monkeypatch.setattr(router, "supervised", supervised)


@pytest.mark.parametrize("level", ["L2", "L4"])
def test_an_imported_model_learns_by_the_command_and_the_ledger_has_what_came_of_it(
    here, level, tmp_path, capsys
):
    (tmp_path / "small.gguf").write_bytes(gguf(*small_llama()))
    import_model(GGUFSource(tmp_path / "small.gguf"), tmp_path / "small")
    names, colours = ("bo", "ca", "du", "fe", "gi", "ho", "ju", "ka"), ("red", "old", "big", "sad")
    asked = ("{}?", "say {}", "what is {}", "{} is", "tell {}", "the {}")
    rows = [
        {"prompt": form.format(name), "answer": colours[i % 4]}
        for i, name in enumerate(names)
        for form in asked
    ]
    (tmp_path / "colours.jsonl").write_text("\n".join(map(json.dumps, rows)))
    there = ("--adaptations", str(tmp_path / "ledger"))
    learns = ("adapt", str(tmp_path / "colours.jsonl"), "--model", str(tmp_path / "small"), *there)
    code, out, err = called(capsys, *learns, "--level", level, "--json")
    assert code == 0, err
    made = json.loads(out)
    facts, verdict = made["provenance"], made["verdict"]
    assert (made["domain"], facts["kind"], facts["level"]) == ("colours", "ar", level)
    assert facts["steps"] == 12 and 0 < facts["share"] < 1 and facts["examples"] + facts["held_out"] == 48
    assert verdict["gain"] > 0 and verdict["gain_se"] > 0 and verdict["reason"]
    (listed,) = json.loads(called(capsys, "adaptations", "list", "--rejected", *there, "--json")[1])
    assert listed == made
    code, _, err = called(capsys, *learns, "--level", "L5")
    assert code == 2 and "L0" in err and len(err.splitlines()) == 1
