"""Speech, face and picture made together: one pass a step, and every stream as it would be alone."""

import copy
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from bowstring.core.cancel import Cancelled
from bowstring.engine import ArrowEngine
from bowstring.face.animate import JAW, PRESS, closures
from bowstring.face.codec import AVATAR_CHANNELS, SHAPE_COUNT, TOKEN_FRAMES, FaceCodec, on_clock
from bowstring.face.draw import render_avatar
from bowstring.face.portrait import Portrait
from bowstring.face.shapes import SHAPES
from bowstring.face.weights import save_face
from bowstring.image.autoencoder import ImageAutoencoder
from bowstring.image.sampling import ImageSampling, caption_tokens, sample_images
from bowstring.image.weights import save_autoencoder
from bowstring.joint.pipeline import visemes_of
from bowstring.joint.sampling import JointInputs, sample_joint
from bowstring.nn.config import BASELINE_FEATURES, VOICE
from bowstring.nn.heads.speech import SpeechHead
from bowstring.speech.alignment import Span
from bowstring.speech.codec import AUDIO_CHANNELS, ROW, SpeechCodec
from bowstring.speech.files import save_wav
from bowstring.speech.g2p import Word
from bowstring.speech.sampling import SpeechSampling, predict_durations, sample_speech
from bowstring.speech.vocoder import Vocoder
from bowstring.speech.weights import save_speech
from bowstring.text.pipeline import whole_sentences
from bowstring.text.weights import save_model
from bowstring.weights.layout import FACE, SPEECH
from bowstring.weights.quant.arrowquant import ArrowQuant
from bowstring.weights.quant.packed import packed
from tests.conftest import build_network

CLOSE = {"atol": 2e-4, "rtol": 2e-4}


@pytest.fixture(scope="module")
def network():
    return build_network(modalities=["text", "image", "audio", "avatar"])


@pytest.fixture(scope="module")
def voice():
    return torch.zeros(1, VOICE)


@pytest.fixture(scope="module")
def utterance(network, voice):
    return predict_durations(network, [Word("fox", "fˈɑks"), Word(".", ".")], voice, SpeechSampling())


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network, codec):
    rng = np.random.default_rng(0)
    basis = lambda c, m: np.linalg.qr(rng.normal(size=(m, c)))[0].T.astype(np.float32)
    ones = lambda n: np.ones(n, np.float32)
    folder = tmp_path_factory.mktemp("multimodal")
    save_model(folder, network, codec, blocks=[4], context=128)
    pixels = ImageAutoencoder()
    pixels.fit_basis(torch.rand(2, 3, 256, 256) * 2 - 1)
    save_autoencoder(folder, pixels)
    mean = np.tile(np.concatenate([[8 * np.log(150), 2.5], np.full(ROW - 2, -5.0)]), 8).astype(np.float32)
    speech = SpeechCodec(mean, basis(AUDIO_CHANNELS, 8 * ROW), 0.1 * ones(AUDIO_CHANNELS))
    table = np.zeros((BASELINE_FEATURES, AUDIO_CHANNELS), np.float32)
    save_speech(folder / SPEECH, speech, table, np.zeros(VOICE, np.float32))
    size = TOKEN_FRAMES * SHAPE_COUNT
    face = FaceCodec(0.3 * ones(size), basis(AVATAR_CHANNELS, size), 0.1 * ones(AVATAR_CHANNELS))
    save_face(folder / FACE, face, np.zeros((BASELINE_FEATURES, AVATAR_CHANNELS), np.float32))
    return folder


def test_one_pass_a_step_for_everything(network, utterance, voice, codec):
    what = JointInputs(utterance, voice, caption=caption_tokens(codec, "a fox"))
    before = network.forwards
    states = [*sample_joint(network, what, 5, 3.0, seed=1)]
    assert network.forwards - before == 5 + 2  # and two that read the caption and no caption
    assert set(states[-1].x) == {"audio", "avatar", "image"}
    assert states[-1].nfe.tolist() == [5]


@pytest.mark.parametrize("steps", [3, 6, 8])
@pytest.mark.parametrize("cfg_scale", [1.0, 2.0, 3.0])
def test_every_stream_is_what_it_is_alone(network, utterance, voice, codec, steps, cfg_scale):
    """Shortcuts, the sampler and guidance are chosen by one rule at any number of steps."""
    caption = caption_tokens(codec, "a red fox", "noto")
    inputs = JointInputs(utterance, voice, caption=caption)
    *_, both = sample_joint(network, inputs, steps, cfg_scale, seed=4)
    *_, picture = sample_images(network, [caption], ImageSampling(steps, cfg_scale, seed=4))
    *_, sound = sample_speech(network, utterance, voice, SpeechSampling(steps=steps, seed=4))
    torch.testing.assert_close(both.x["image"], picture.x, **CLOSE)
    torch.testing.assert_close(both.x["audio"], sound.x, **CLOSE)
    *_, faceless = sample_joint(network, JointInputs(utterance, voice, face=False), steps, 2.0, seed=4)
    torch.testing.assert_close(both.x["audio"], faceless.x["audio"], **CLOSE)


@pytest.mark.parametrize("picture", [False, True])
def test_few_bits_make_the_same_together(network, utterance, voice, codec, picture):
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    small = packed(copy.deepcopy(network), lambda name, _: ArrowQuant.quantise(weights[name], 4))
    what = JointInputs(utterance, voice, caption=caption_tokens(codec, "a fox") if picture else None)
    *_, one = sample_joint(network, what, 2, 1.0, seed=3)
    *_, two = sample_joint(small, what, 2, 1.0, seed=3)
    for name, x in one.x.items():
        off = (two.x[name] - x).norm() / x.norm()
        assert off < 0.2, (name, off)


def test_a_face_follows_what_is_said(network, utterance, voice):
    *_, one = sample_joint(network, JointInputs(utterance, voice), 4, 1.0, seed=4)
    other = predict_durations(network, [Word("me", "mˈi"), Word(".", ".")], voice, SpeechSampling())
    *_, two = sample_joint(network, JointInputs(other, voice), 4, 1.0, seed=4)
    length = min(one.x["avatar"].shape[1], two.x["avatar"].shape[1])
    assert (one.x["avatar"][:, :length] - two.x["avatar"][:, :length]).abs().max() > 1e-3


def test_times_of_everything_share_one_clock(folder, tmp_path):
    engine = ArrowEngine.load(folder)
    result = engine.converse("a fox", text="A fox sat. It ran.", steps=3, seed=2, style="noto")
    length = len(result.audio) / 24_000
    assert [span.text for span in result.words] == ["A", "fox", "sat", "It", "ran"]
    assert result.words[-1].end <= length + 0.005
    assert 0 <= len(result.face) * 0.016 - length < 0.016
    assert result.steps == result.forwards == 6  # two sentences of three steps
    starts = [span.start for span in result.visemes]
    assert starts == sorted(starts) and result.visemes[-1].end == pytest.approx(result.phonemes[-1].end)
    files = result.save(tmp_path / "out")
    assert {file.name for file in files} >= {"speech.wav", "face.gif", "face.png", "picture.png", "text.txt"}
    told = json.loads((tmp_path / "out" / "face.json").read_text())
    assert len(told["frames"]) == len(result.face) and len(told["shapes"]) == 52
    again = engine.converse("a fox", text="A fox sat. It ran.", steps=3, seed=2, style="noto")
    assert (again.audio == result.audio).all() and (again.image == result.image).all()


@pytest.fixture
def slow_speech(monkeypatch):
    """Every phoneme takes between 4 and 10 frames, no whole number of them."""
    law = lambda self, ids, voice: (4.0 + ids % 5 * 1.37).log()
    monkeypatch.setattr(SpeechHead, "duration", law, raising=False)  # goes before the submodule


def test_the_face_keeps_step_with_the_sound_over_minutes(folder, slow_speech):
    """Every utterance that is rounded up by itself would add up to seconds here."""
    engine = ArrowEngine.load(folder)
    made = engine.converse(
        "x", "A fox ran. A frog sat by it. The cat saw both of them. " * 40, steps=1, picture=False
    )
    length = len(made.audio) / 24_000
    assert length > 60
    assert 0 <= len(made.face) * 0.016 - length < 0.016
    assert length - made.words[-1].end < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_faces_that_are_put_together_lie_on_one_clock(seed):
    """Each frame says when its middle is; whatever the lengths, the whole says so without a gap."""
    rng, parts, begin = np.random.default_rng(seed), [], 0
    for count in rng.integers(1, 40, 30).tolist():
        own = begin + 2 * np.arange(-(-count // 8) * 4) + 1  # in frames of 8 ms
        parts.append(on_clock(np.repeat(own[:, None], 52, 1).astype(np.float64), begin, begin + count))
        begin += count
    whole = np.concatenate(parts)
    assert len(whole) == -(-begin // 2)
    ends = np.abs(whole[:, 0] - (2 * np.arange(len(whole)) + 1))
    assert (ends <= 1).all() and (ends == 0).mean() > 0.9  # beyond an utterance's tokens its last frame stays


def test_sound_is_made_once_and_comes_in_parts(folder, monkeypatch, slow_speech):
    engine, made, heard = ArrowEngine.load(folder), [], Vocoder.heard

    def counted(self, frames, *excitation):
        made.append(len(frames))
        return heard(self, frames, *excitation)

    monkeypatch.setattr(Vocoder, "heard", counted)
    text = "A fox sat. It ran. A bear saw it."
    *parts, result = engine.say_stream(text, steps=2)
    assert len(parts) == len(made) == 3
    np.testing.assert_array_equal(np.concatenate([part.audio for part in parts]), result.audio)
    frames = len(result.audio) // 192
    assert sum(made) <= frames + 2 * 48  # at each seam what lies around it is looked at again
    *frames, both = engine.converse_stream("x", text, picture=False, steps=2)
    np.testing.assert_allclose(both.audio, result.audio, atol=2e-3)
    assert [len(one.audio) for one in frames] == [len(one.audio) for one in parts]


def test_streams_leave_gradients_to_the_caller(folder):
    engine = ArrowEngine.load(folder)
    streams = (
        engine.image_stream("a fox", steps=2),
        engine.say_stream("A fox. It ran.", steps=2),
        engine.converse_stream("a fox", "A fox. It ran.", steps=2),
        engine.converse_stream("a fox", steps=2, max_tokens=8),
    )
    for stream in streams:
        for _ in stream:
            assert torch.is_grad_enabled()
        assert torch.is_grad_enabled()


def test_work_stops_within_a_step(folder):
    engine, stop = ArrowEngine.load(folder), threading.Event()
    for make in (engine.image_stream, engine.say_stream, engine.converse_stream):
        stop.clear()
        stream = make("A fox sat. It ran.", steps=9, cancel=stop)
        next(stream)
        before = engine.network.forwards
        stop.set()
        with pytest.raises(Cancelled):
            next(stream)
        assert engine.network.forwards == before
    with pytest.raises(Cancelled):
        engine.say("A fox.", cancel=lambda: True)


def test_speech_is_chosen_among_candidates_and_spoken_again_until_it_will_do(folder):
    engine = ArrowEngine.load(folder)
    one, two = (engine.say("A fox.", steps=1, seed=seed) for seed in (3, 3 + (1 << 32)))
    assert not np.array_equal(one.audio, two.audio)
    level = lambda result: float(np.square(result.audio).mean())
    louder = max((one, two), key=level)
    forbid = lambda result: level(result) >= level(louder)
    made = engine.say("A fox.", steps=1, seed=3, constraints=[forbid], candidates=2)
    np.testing.assert_array_equal(made.audio, louder.audio)
    odds = engine.say(
        "A fox.", steps=1, seed=3, energies=[(lambda r: 1e6 * (level(r) < level(louder)), 1.0)], candidates=2
    )
    np.testing.assert_array_equal(odds.audio, louder.audio)
    again = engine.say("A fox.", steps=1, seed=3, valid=lambda result: False, retries=1)
    assert [attempt.strength for attempt in again.tries] == [1, 2] and "valid" in again.notes[-1]


def test_results_are_arrays_that_show_themselves(folder, tmp_path):
    engine = ArrowEngine.load(folder)
    said, seen = engine.say("A fox.", steps=1), engine.converse("a fox", "A fox.", steps=1)
    painted = engine.image("a fox", steps=1)
    for result, values in ((said, said.audio), (seen, seen.face), (painted, painted.image)):
        np.testing.assert_array_equal(np.asarray(result), values)
        assert len(repr(result)) < 130 and repr(result).startswith(type(result).__name__)
        json.dumps(result.to_json())
    assert said._repr_html_().startswith('<audio controls src="data:audio/wav;base64,UklGR')
    assert "<audio" in seen._repr_html_() and "image/gif" in seen._repr_html_()
    assert painted._repr_png_()[:4] == b"\x89PNG" and painted.pil.size == (512, 512)
    with pytest.raises(ValueError, match=r"expected \.png"):
        painted.save(tmp_path / "fox.bmp")


def test_threads_share_parts_and_passes_are_counted_apart(folder):
    engine = ArrowEngine.load(folder)
    talk = lambda seed: engine.converse("a fox", "A fox. It ran.", steps=3, seed=seed, picture=seed % 2 == 0)
    with ThreadPoolExecutor(4) as pool:
        made = [*pool.map(talk, range(4))]
    for seed, one in enumerate(made):
        again = talk(seed)
        np.testing.assert_array_equal(again.audio, one.audio)
        assert one.forwards == again.forwards == again.steps == 6


def test_diffusion_of_every_modality_is_what_its_own_method_makes(folder, tmp_path):
    engine = ArrowEngine.load(folder)
    speech = engine.diffuse("A fox.", "audio", num_steps=2, seed=5)
    assert isinstance(speech, np.ndarray)
    assert (speech == engine.say("A fox.", num_inference_steps=2, seed=5).audio).all()
    picture = engine.diffuse("a fox", "image", num_steps=2, guidance_scale=2, style="flat", seed=5)
    assert (picture == engine.image("a fox", style="flat", steps=2, guidance_scale=2, seed=5).image).all()
    seen = engine.diffuse("A fox.", "avatar", num_steps=2, seed=5)
    assert seen.image is None and seen.steps == 2
    assert (seen.face == engine.converse("x", "A fox.", picture=False, steps=2, seed=5).face).all()
    path = engine.render_avatar("A fox.", tmp_path / "fox.png", 32, steps=2, seed=5)
    assert path.read_bytes() == render_avatar(seen.face, tmp_path / "same.png", 32).read_bytes()
    path = engine.render_avatar("A fox.", tmp_path / "fox.gif", 64, steps=2, seed=5, portrait=picture)
    same = render_avatar(seen.face, tmp_path / "same.gif", 64, portrait=Portrait(picture, None, 64))
    assert path.read_bytes() == same.read_bytes()
    assert "avatar was not trained without prompts" in seen.notes[0]


def test_mistakes_are_told(folder, network, codec, tmp_path):
    engine = ArrowEngine.load(folder)
    with pytest.raises(TypeError, match="unexpected keyword"):
        engine.converse("a fox", text="A fox.", loudness=3)
    for name, wrong, says in (
        ("steps", 0, "steps is 0; expected a whole number from 1"),
        ("speed", 0, "speed is 0; expected a number from 0.5 to 2"),
        ("speed", float("nan"), "speed is nan"),
        ("speed", 0.001, "speed is 0.001"),
        ("cfg_scale", -1, "cfg_scale is -1"),
        ("style", "oil", "style is 'oil'"),
        ("seed", 2**65, "seed is"),
        ("voice", "none.wav", "there is no sound none.wav"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=says):
            next(engine.converse_stream("a fox", **{name: wrong}))  # before anything is written
    save_model(tmp_path, build_network(modalities=["text", "image"]), codec, blocks=[4], context=128)
    with pytest.raises(ValueError, match="no audio head"):
        ArrowEngine.load(tmp_path).converse("a fox", text="A fox.")


def test_a_voice_comes_from_a_file_or_an_array_and_its_faults_are_noted(folder, tmp_path):
    engine = ArrowEngine.load(folder)
    pulses = np.where(np.arange(36_000) % 200 < 9, 0.5, 0.0) + 0.01 * np.sin(np.arange(36_000))
    save_wav(tmp_path / "me.wav", pulses)
    advice = "a voice is matched better from about 5 s"
    for make in (engine.say, lambda text, **how: engine.converse("x", text, picture=False, **how)):
        by_path = make("A fox.", voice=tmp_path / "me.wav", steps=2)
        assert by_path.notes[0] == f"{tmp_path / 'me.wav'} has only 1.5 s; {advice}"
        by_rate = make("A fox.", voice=(24_000, (pulses * 32767).round().astype(np.int16)), steps=2)
        np.testing.assert_allclose(by_rate.audio, by_path.audio, atol=0.02)
        assert make("A fox.", steps=2).notes == ()


def test_visemes_join_equal_neighbours():
    spans = [Span("m", 0.0, 0.1), Span("ˈ", 0.1, 0.11), Span("b", 0.11, 0.2), Span("i", 0.2, 0.3)]
    assert visemes_of(spans) == [Span("PP", 0.0, 0.2), Span("I", 0.2, 0.3)]


def test_whole_sentences():
    assert whole_sentences("Yes. No! And th") == "Yes. No!"
    assert whole_sentences("never ends") == "never ends"


def test_lips_meet_exactly_where_they_must(folder):
    engine = ArrowEngine.load(folder)
    how = {"text": "Bob may pop up.", "steps": 2, "picture": False}
    shut, free = (engine.converse("a face", closing=closing, **how) for closing in (True, False))
    assert closures(free.face, free.phonemes) < 1.0  # a fresh network does not know
    assert closures(shut.face, shut.phonemes) == 1.0
    same = np.ones(len(SHAPES), bool)
    same[[JAW, *PRESS]] = False
    np.testing.assert_array_equal(shut.face[:, same], free.face[:, same])
    assert (shut.face[:, JAW] <= free.face[:, JAW]).all()
