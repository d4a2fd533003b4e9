"""Names and paths of models are told apart by their form."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bowstring.cli.common import app
from bowstring.engine import ArrowEngine
from bowstring.weights.metadata import read_metadata
from bowstring.weights.shipped import DATA, SHIPPED, installed_folder, model_folder, names


def test_a_plain_name_is_a_shipped_model_whatever_lies_here(tmp_path, monkeypatch):
    (tmp_path / "text-int4").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_folder("text-int4") == model_folder(None) == SHIPPED
    here = ["./text-int4", "text-int4/", Path("text-int4")]
    assert [model_folder(one) for one in here] == [Path("text-int4")] * 3
    assert model_folder(".") == Path(".") and model_folder("/a/text") == Path("/a/text")


def test_the_command_tells_them_apart_too(tmp_path, monkeypatch):
    (tmp_path / "multimodal").mkdir()
    monkeypatch.chdir(tmp_path)
    verified = CliRunner().invoke(app, ["verify", "--model", "multimodal"])
    assert "match their hashes" in verified.stdout, verified.output
    assert isinstance(
        CliRunner().invoke(app, ["verify", "--model", "./multimodal"]).exception, FileNotFoundError
    )


@pytest.mark.parametrize("name", ["senses", "text-int2"])
def test_no_import_goes_by_an_old_name(name):
    """Neither to be removed nor to be made."""
    error = CliRunner().invoke(app, ["rm", name]).exception
    assert isinstance(error, ValueError) and f"no import is named '{name}': what shipped" in str(error)
    with pytest.raises(ValueError, match="no import is named"):
        installed_folder(name)


def test_an_old_name_is_refused_with_the_new_one():
    with pytest.raises(FileNotFoundError, match="'senses' is called 'multimodal' now"):
        ArrowEngine.load("senses")
    with pytest.raises(FileNotFoundError, match=r"quantise \./text-int2 --bits 2 --qat-steps 400"):
        ArrowEngine.load("text-int2")
    with pytest.raises(FileNotFoundError, match="'text' no longer ships; 'text-int4'"):
        ArrowEngine.load("text")


def test_every_model_that_ships_is_packed():
    """The default is what a newcomer waits for: few bits, or he waits five times as long."""
    assert {read_metadata(model_folder(name)).bits for name in names() if name != "fields"} == {4}


def test_an_unknown_name_gets_those_that_there_are():
    with pytest.raises(FileNotFoundError, match=r"no model 'txt' ships.*multimodal.*text.*\./txt"):
        model_folder("txt")
    assert (DATA / "multimodal" / "metadata.json").exists()
