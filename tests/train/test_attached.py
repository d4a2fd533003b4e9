"""What hangs on a trunk is trained anew in one go, and the trunk stays as it is."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bowstring.cli.common import app
from bowstring.cli.plans import attached, everything
from bowstring.engine import ArrowEngine
from bowstring.nn.config import BASELINE_FEATURES, VOICE
from bowstring.speech.codec import AUDIO_CHANNELS, ROW, SpeechCodec
from bowstring.speech.weights import save_speech
from bowstring.text.weights import load_model, save_model
from bowstring.train.schedule import Run
from bowstring.train.speech.durations import fit_durations
from bowstring.train.speech.files import save_utterances
from bowstring.train.text.recipes import known_recipe
from bowstring.weights.layout import FACE, SPEECH, TRUNK
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from bowstring.weights.tensors import round_module
from tests.conftest import build_network
from tests.train.test_teacher import utterance


@pytest.fixture(scope="module")
def read():
    """What a teacher said; the last forty are not learned from."""
    return [utterance(seed, "mˈɑmɑ bˈi ɹˈɛdi." if seed % 2 else "lˈʊk ˈʌp nˈaʊ.") for seed in range(46)]


@pytest.fixture(scope="module")
def start(tmp_path_factory, codec):
    """A packed model that speaks."""
    folder, network = tmp_path_factory.mktemp("start"), build_network(modalities=["text", "audio", "avatar"])
    weights = network.state_dict()
    small = packed(network, lambda name, _: ArrowQuant.quantise(weights[name].numpy(), 4))
    round_module(small.heads)
    save_model(folder, small, codec)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(8 * ROW, AUDIO_CHANNELS)))[0].T
    speech = SpeechCodec(
        *(one.astype(np.float32) for one in (np.zeros(8 * ROW), basis, np.ones(AUDIO_CHANNELS)))
    )
    table = np.zeros((BASELINE_FEATURES, AUDIO_CHANNELS), np.float32)
    save_speech(folder / SPEECH, speech, table, np.zeros(VOICE, np.float32))
    return folder


def test_durations_learn_and_nothing_else_does(read, start, tmp_path):
    network, *_ = load_model(start)
    before = {name: one.clone() for name, one in network.state_dict().items()}
    losses = [loss for _, loss in fit_durations(network, read, Run(tmp_path), steps=40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    weights = network.state_dict()
    assert network.config.duration_flow == 1
    assert network.heads["audio"].duration_flow.network.out.weight.any()
    assert all(".duration_flow." in name for name in weights.keys() - before.keys())
    for name, one in before.items():
        assert torch.equal(one, weights[name]) != (".duration." in name), name


def test_stages_hand_the_model_on_and_the_trunk_stays(read, start, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    arguments = ["train", "attached", "--start", str(start), "--data", str(data), "--out", str(out)]
    arguments += ["--only", "durations", "--only", "face", "--minutes", "0.1"]
    with pytest.raises(FileNotFoundError, match="`bowstring data speech`"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    save_utterances(data / "speech.safetensors", read)
    said = CliRunner().invoke(app, [*arguments, "--dry-run"], catch_exceptions=False).stdout
    assert "durations" in said and "to do" in said and not (out / "durations").exists()
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert [line.split()[0] for line in said.splitlines()] == ["durations", "face"]
    made = out / "face" / "model"
    assert (made / TRUNK).read_bytes() == (start / TRUNK).read_bytes()
    old, new = load_model(start)[0], load_model(made)[0]
    for part in ("audio", "avatar"):
        learned = new.heads[part].state_dict()
        assert not all(torch.equal(one, learned[name]) for name, one in old.heads[part].state_dict().items())
    assert (old.config.duration_flow, new.config.duration_flow) == (0, 1)
    assert new.heads["audio"].duration_flow.network.out.weight.any()
    assert (made / FACE).exists() and (made / SPEECH).exists()
    assert ArrowEngine.load(made).modalities == ("text", "audio", "avatar")
    noted = (out / "face.done.json").stat().st_mtime_ns
    CliRunner().invoke(app, arguments, catch_exceptions=False)  # nothing is left to do
    assert (out / "face.done.json").stat().st_mtime_ns == noted


def test_the_plans_stay_within_their_hours_and_the_twin_sees_as_much(tmp_path):
    hanging = attached(tmp_path, tmp_path, tmp_path)
    assert sum(one.minutes for one in hanging) < 180
    every = everything(tmp_path, tmp_path)
    assert [one.name for one in every[-len(hanging) :]] == [one.name for one in hanging]
    assert len({one.name for one in every}) == len(every)
    for name in ("text", "text-orders"):
        ours, twin = known_recipe(name), known_recipe(f"{name}-baseline")
        assert (ours.steps, ours.network, ours.rows) == (twin.steps, twin.network, twin.rows)
        assert twin.baseline and not ours.baseline
    assert known_recipe("text-orders").start == "text"


def test_options_of_recipes_and_of_plans_are_not_mixed_up(tmp_path):
    for arguments, sentence in (
        (["attached", "--steps", "3"], "--steps and --seed are for its recipes"),
        (["face", "--only", "durations"], "--only and --dry-run are for plans"),
        (["everything", "--start", "multimodal"], "everything begins with nothing"),
        (["attached", "--only", "fce", "--dry-run"], "no stage 'fce'"),
    ):
        made = CliRunner().invoke(app, ["train", *arguments, "--out", str(tmp_path / "out")])
        assert sentence in str(made.exception)
