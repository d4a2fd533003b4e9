"""Names and paths of models are told apart by their form."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bowstring.cli.common import app
from bowstring.engine import ArrowEngine
from bowstring.weights.shipped import DATA, SHIPPED, model_folder


def test_a_plain_name_is_a_shipped_model_whatever_lies_here(tmp_path, monkeypatch):
    (tmp_path / "text").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_folder("text") == model_folder(None) == SHIPPED
    assert model_folder("./text") == model_folder("text/") == model_folder(Path("text")) == Path("text")
    assert model_folder(".") == Path(".") and model_folder("/a/text") == Path("/a/text")


def test_the_command_tells_them_apart_too(tmp_path, monkeypatch):
    (tmp_path / "text-int2").mkdir()
    monkeypatch.chdir(tmp_path)
    verified = CliRunner().invoke(app, ["verify", "--model", "text-int2"])
    assert "match their hashes" in verified.stdout, verified.output
    assert isinstance(
        CliRunner().invoke(app, ["verify", "--model", "./text-int2"]).exception, FileNotFoundError
    )


def test_an_old_name_is_refused_with_the_new_one():
    with pytest.raises(FileNotFoundError, match="'senses' is called 'multimodal' now"):
        ArrowEngine.load("senses")


def test_an_unknown_name_gets_those_that_there_are():
    with pytest.raises(FileNotFoundError, match=r"no model 'txt' ships.*multimodal.*text.*\./txt"):
        model_folder("txt")
    assert (DATA / "multimodal" / "metadata.json").exists()
