"""The model with all heads that ships: it answers as a newcomer asks it, and says what it is."""

import numpy as np
import pytest

from bowstring.engine import ArrowEngine
from bowstring.speech.vocoder import Vocoder
from bowstring.weights.folder import read_metadata
from bowstring.weights.format.parquet import WeightsFile
from bowstring.weights.shipped import model_folder


@pytest.fixture(scope="module")
def engine():
    return ArrowEngine.load("multimodal")


def test_it_is_packed_and_distilled():
    metadata = read_metadata(model_folder("multimodal"))
    assert metadata.quantization == "int4"
    assert metadata.distilled
    WeightsFile(model_folder("multimodal") / "network.parquet").verify()


def test_few_steps_are_jumps_and_need_no_unguided_twin(engine):
    assert engine.network.shortcut_step_size(4) == 0.25
    assert engine.network.shortcut_step_size(16) == 0.0
    before = engine.network.forwards
    made = engine.image("a fox", style="noto", steps=2)
    assert engine.network.forwards - before == made.nfe + 1  # and one that reads the caption
    assert made.image.shape == (512, 512, 3)


def test_a_caption_decides_the_colour(engine):
    fox, frog = (
        engine.image(name, style="noto", steps=8).image[128:384, 128:384].mean((0, 1))
        for name in ("fox", "frog")
    )
    assert fox[0] > fox[1] + 40  # red over green
    assert frog[1] > frog[0] + 40


def test_it_speaks_every_word_and_moves_its_lips(engine):
    made = engine.converse("a fox", text="My boat is blue.", picture=False, steps=4)
    assert [word.text for word in made.words] == ["My", "boat", "is", "blue"]
    assert 0.5 < len(made.audio) / 24_000 < 4.0
    assert np.abs(made.audio).max() > 0.05
    assert made.face.shape[1] == 52
    assert made.forwards == made.steps


def test_its_vocoder_has_learned(engine):
    """The postfilter quietens what is too loud in pauses: more than it changes what is loud."""
    made = engine.say("My boat is blue.", steps=4)
    vocoder = engine.speech_pipeline.vocoder
    assert vocoder.postfilter is not None
    plain = ArrowEngine.load("multimodal")
    plain.speech_pipeline.vocoder = Vocoder()
    bare = plain.say("My boat is blue.", steps=4)
    assert len(bare.audio) == len(made.audio)
    loud = np.abs(bare.audio) > np.quantile(np.abs(bare.audio), 0.9)
    power = lambda x, where: float(np.square(x[where]).mean())
    assert 0.2 < power(made.audio, loud) / power(bare.audio, loud) < 5
    ends = np.s_[:1200]
    assert power(made.audio, ends) < power(bare.audio, ends)
