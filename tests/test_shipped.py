"""The model with all heads that ships: it answers as a newcomer asks it, and says what it is."""

import copy

import numpy as np
import pytest
import torch

from bowstring.core.loop import last
from bowstring.engine import ArrowEngine
from bowstring.fields.sampling import fields
from bowstring.fields.weights import load_fields
from bowstring.image.sampling import ImageSampling, caption_tokens, sample_images
from bowstring.nn.heads.continuous import ContinuousHead
from bowstring.speech.vocoder import Vocoder
from bowstring.text.native import Window, write
from bowstring.text.pipeline import FILLED, GAPS
from bowstring.text.sampling import Sampling
from bowstring.weights.folder import named_tensors
from bowstring.weights.format.parquet import WeightsFile
from bowstring.weights.layout import weights_files
from bowstring.weights.metadata import read_metadata
from bowstring.weights.shipped import model_folder


@pytest.fixture(scope="module")
def engine():
    return ArrowEngine.load("multimodal")


def test_it_is_packed_and_distilled():
    metadata = read_metadata(model_folder("multimodal"))
    assert metadata.bits == 4
    assert metadata.distilled
    for path in weights_files(model_folder("multimodal")):
        WeightsFile(path).verify()


@pytest.mark.parametrize(
    ("before", "middle", "after"),
    [
        ("Once upon a", " time", " there was a fox who lived in a forest."),
        ("There was once a brave little", " boy", " who lived in a wood. The fox was hungry."),
    ],
)
def test_an_infill_finds_out_how_long_it_is(before, middle, after):
    """Words of one token, a length that every other one would spoil."""
    found = ArrowEngine.load("text-int4").infill(before, after, kind="text", temperature=0)
    assert found == before + middle + after and len(found.tokens) == 1
    assert found.nfe >= len(GAPS) + FILLED


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


def test_a_new_modality_changes_nothing_of_what_was_there(engine):
    """Every tensor to the bit, and what the others say; the trunk knows of no modality."""
    network = copy.deepcopy(engine.network)
    x, t = {"audio": torch.randn(1, 5, 96)}, {"audio": torch.tensor([0.5])}
    place = {"audio": torch.arange(5.0)[None]}
    before = {name: bytes(one.data) for name, one in named_tensors(network, "float32")}
    with torch.no_grad():
        said = network.flow(x, t, place)["audio"]
        network.add_head("smell", ContinuousHead(3, network.config.width))
        assert torch.equal(network.flow(x, t, place)["audio"], said)
        both = {**x, "smell": torch.randn(1, 4, 3)}
        made = network.flow(
            both, {"smell": torch.tensor([0.2]), **t}, {"smell": torch.arange(4.0)[None], **place}
        )
    after = {name: bytes(one.data) for name, one in named_tensors(network, "float32")}
    new = after.keys() - before.keys()
    assert new == {
        f"heads.smell.{part}"
        for part in ("up.weight", "up.bias", "down.weight", "down.bias", "std", "modality")
    }
    assert all(after[name] == value for name, value in before.items())
    assert made["smell"].shape == (1, 4, 3) and not any(
        "modality" in name for name in network.trunk.state_dict()
    )


def test_numbers_do_not_depend_on_threads_of_torch(engine):
    """Text, and the tokens of a picture, guided and not."""
    threads = torch.get_num_threads()
    network, made = engine.network, []
    prompts = [caption_tokens(engine.tokenizer, "a fox", "noto")]
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            pictures = [
                last(sample_images(network, prompts, ImageSampling(steps=steps))).x for steps in (2, 5)
            ]
            made.append([engine.generate("a story about a fox", max_tokens=12).tokens, *pictures])
    finally:
        torch.set_num_threads(threads)
    (text, *one), (same, *two) = made
    assert list(text) == list(same) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_loading_leaves_torchs_threads_alone():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        ArrowEngine.load("text-int4").generate("a story about a fox", max_tokens=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_drafts_of_the_shipped_model_stay():
    """With eight places drafted, the same text in under three quarters of the evaluations."""
    engine = ArrowEngine.load("text-int4")
    pipeline = engine.text_pipeline
    known = pipeline.prompt("a story about a fox", "text")

    class Eight(Window):
        def size(self):
            return 8

    plain, fast = (
        [*write(pipeline.decoder, known, Sampling(mode=mode, max_tokens=100), 256, 0, Eight())]
        for mode in ("ar", "auto")
    )
    assert [one.token for one in fast] == [one.token for one in plain]
    assert fast[-1].nfe < 0.75 * plain[-1].nfe


def test_the_shipped_fields_are_read_and_sampled():
    made = fields(load_fields(), "phi4", 0.6, size=64, steps=2)
    assert made.shape[-2:] == (64, 64) and bool(made.isfinite().all())
