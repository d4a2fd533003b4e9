"""The command `bowstring train`: which trainings there are, and what it refuses before any work."""

import pytest

from bowstring.cli.train import bundle_command, train


@pytest.mark.parametrize(
    ("old", "new"), [("senses", "multimodal"), ("letters", "g2p"), ("image-codec", "autoencoder")]
)
def test_a_training_that_was_renamed_is_refused_by_its_new_name(old, new):
    with pytest.raises(ValueError, match=f"'{old}' is called '{new}' now"):
        train(old)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "which training"),
        ({"recipe": "tiny", "bundle": "parts"}, "leave 'tiny' out"),
        ({"recipe": "g2p", "minutes": 3.0}, "--minutes is for the other trainings"),
        ({"recipe": "tiny", "device": "warp"}, "device is 'warp'"),
        ({"recipe": "tiny", "seed": 3}, "--seed is for multimodal"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_any_work(given, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        train(**{"recipe": None, "out": tmp_path / "out", "device": "cpu"} | given)


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"):
        train("tiny", out=tmp_path / "file" / "run", device="cpu")


def test_options_of_a_bundle_belong_to_its_recipe(tmp_path):
    with pytest.raises(ValueError, match="text has no option 'steps'; it is for int4, int2, multimodal"):
        bundle_command("text", tmp_path / "out", steps=3)
    with pytest.raises(ValueError, match="shortcut has no option 'seed'; it is for multimodal"):
        bundle_command("shortcut", tmp_path / "out", seed=3)
