"""`bowstring sample` refuses in one sentence what means nothing, before any work."""

import json

import numpy as np
import pytest
from PIL import Image

import bowstring.fields.weights
from bowstring.cli import main


@pytest.fixture
def sample(monkeypatch, tmp_path):
    """Runs the command in a folder of its own; a model is loaded only where the test gives one."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model=None):
        def load(folder=None):
            assert model is not None, "the model was loaded though the options are wrong"
            return model

        monkeypatch.setattr(bowstring.fields.weights, "load_fields", load)
        with pytest.raises(SystemExit) as done:
            main(["sample", *arguments])
        return done.value.code

    return run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["phi4", "-o", "x.png", "--count", "0"], "--count is 0"),
        (["phi4", "-o", "x.png", "--count", "-1"], "--count is -1"),
        (["phi4", "-o", "x.png", "--steps", "0"], "--steps is 0"),
        (["phi4", "-o", "x.png", "--beta", "nan"], "--beta is nan"),
        (["phi4", "-o", "x.png", "--relax", "-2"], "--relax is -2"),
        (["heat", "-o", "x.png", "--time", "nan"], "--time is nan"),
        (["heat", "-o", "x.png", "--time", "-3"], "--time is -3"),
        (["heat", "-o", "x.png", "--scales"], "--scales is for phi4"),
        (["phi4", "-o", "x.png", "--scales", "--relax", "5"], "leave out --relax"),
        (["phi4", "-o", "x.jpg"], "'.jpg'"),
        (["phi4", "-o", "none/x.png"], "there is no folder"),
    ],
)
def test_what_means_nothing_is_refused_before_the_model_is_loaded(sample, capsys, arguments, says):
    assert sample(*arguments) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert says in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["phi4", "--beta", "0.9"], "beta is [0.9]; this model knows 0.2 to 0.68"),
        (["heat", "--time", "500"], "time is [500.0]; this model knows 1 to 100"),
        (["cahn-hilliard", "--mean", "0.9"], "mean is [0.9]; this model knows -0.4 to 0.4"),
        (["spin-glass"], "family is 'spin-glass'"),
        (["phi4", "--size", "65"], "size is 65; expected 64, 128 or 256"),
    ],
)
def test_what_the_model_does_not_know_is_said_in_the_units_of_the_option(
    sample, capsys, linear_model, arguments, says
):
    assert sample(*arguments, "-o", "x.png", model=linear_model) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_fields_are_written_with_their_settings(sample, capsys, linear_model):
    few = ["--count", "2", "--steps", "3", "--seed", "7"]
    assert sample("phi4", "-o", "x.PNG", *few, model=linear_model) == 0
    assert json.loads(Image.open("x.PNG").text["bowstring"])["seed"] == 7
    assert sample("heat", "-o", "y.npy", *few, model=linear_model) == 0
    assert np.load("y.npy").shape == (2, 64, 64)
    assert capsys.readouterr().out == ""
