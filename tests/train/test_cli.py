"""The command `bowstring train`: which trainings there are, and what it refuses before any work."""

import pytest

from bowstring.cli.train import train


@pytest.mark.parametrize(
    ("old", "new"), [("senses", "multimodal"), ("letters", "g2p"), ("image-codec", "autoencoder")]
)
def test_a_training_that_was_renamed_is_refused_by_its_new_name(old, new):
    with pytest.raises(ValueError, match=f"'{old}' is called '{new}' now"):
        train(old)
