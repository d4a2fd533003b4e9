import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from bowstring.speech.codec import ROW
from bowstring.speech.postfilter import ASKED, Postfilter
from bowstring.speech.postfilter import HOP as STEP
from bowstring.speech.source_filter import HOP, Frames, synthesise
from bowstring.speech.stream import KNEE, asked
from bowstring.speech.vocoder import Vocoder
from bowstring.train.schedule import Run
from bowstring.train.speech.postfilter import (
    PIECE_FRAMES,
    Pair,
    aligned_pair,
    fit_postfilter,
    mean_distance,
    spectral_distance,
    window_spectra,
)
from bowstring.weights.folder import named_tensors
from bowstring.weights.format.parquet import write

INSIDE = slice(400, -400)


def frames(count=200, level=-4.0):
    rng = np.random.default_rng(0)
    envelope = np.full((count, 48), level, np.float32)
    noise = np.full((count, 5), 0.5, np.float32)
    pitch = (150 * np.exp(0.1 * rng.normal(size=count).cumsum() / 10)).astype(np.float32)
    return Frames(pitch, np.ones(count, np.float32), envelope, noise)


def test_it_knows_the_frames_of_the_codec():
    assert (STEP, ASKED) == (HOP, ROW)
    assert asked(frames()).shape == (200, ASKED)


def test_a_new_one_changes_nothing():
    signal = torch.randn(2, 200 * HOP, generator=torch.Generator().manual_seed(0))
    made = Postfilter(16, 1)(signal, torch.zeros(2, 200, ASKED))
    assert made.shape == signal.shape
    torch.testing.assert_close(made[:, INSIDE], signal[:, INSIDE], atol=1e-5, rtol=0)


def test_equal_gains_are_a_gain():
    network = Postfilter(16, 1)
    torch.nn.init.constant_(network.leave.bias, 0.7)
    signal = torch.randn(1, 100 * HOP, generator=torch.Generator().manual_seed(1))
    gain = torch.exp(4 * torch.tanh(torch.tensor(0.7 / 4)))
    made = network(signal, torch.zeros(1, 100, ASKED))
    torch.testing.assert_close(made[:, INSIDE], gain * signal[:, INSIDE], atol=1e-4, rtol=0)


def test_a_click_is_weighed_by_the_frames_around_it_only():
    network = Postfilter(16, 1)
    torch.nn.init.normal_(network.leave.weight)
    signal = torch.zeros(1, 60 * HOP)
    signal[0, 30 * HOP] = 1.0
    heard = network(signal, torch.zeros(1, 60, ASKED))[0].abs() > 1e-9
    found = heard.nonzero()
    assert 30 * HOP - 512 < found.min() and found.max() < 30 * HOP + 512


def test_spectra_of_white_noise_are_of_size_one():
    white = torch.randn(1, 48_000, generator=torch.Generator().manual_seed(2))
    for size in (256, 2048):
        power = window_spectra(white, size)[..., 1:-1, 8:-8].square()
        assert abs(power.mean() - 1) < 0.05


def test_the_distance_of_a_gain():
    white = torch.randn(1, 24_000, generator=torch.Generator().manual_seed(3))
    assert spectral_distance(white, white) == 0
    roots = sum(3 * window_spectra(white, n).sqrt().mean() * (2**0.5 - 1) for n in (256, 512, 1024, 2048)) / 4
    assert spectral_distance(2 * white, white) == pytest.approx(np.log(2) + float(roots), rel=0.01)


def test_it_learns_what_was_asked_wrongly(tmp_path, monkeypatch):
    monkeypatch.setattr("bowstring.train.speech.postfilter.POSTFILTER_ROWS", 2)
    torch.manual_seed(0)
    loud, quiet = frames(), frames(level=-6.0)
    signal = synthesise(quiet, 5)
    told = [aligned_pair(loud, quiet, signal, seed) for seed in range(4)]
    assert all(len(one.conditions) == 200 and one.made.shape == one.meant.shape for one in told)
    network = Postfilter(16, 1)
    first = mean_distance(network, told[:1])
    steps = [*fit_postfilter(network, told, told, 60, Run(tmp_path))]
    assert [moment.step for moment, _ in steps] == [*range(60)]
    assert mean_distance(network.eval(), told[:1]) < 0.6 * first
    assert [
        *fit_postfilter(network, told, told, 60, Run(tmp_path))
    ] == []  # finished; nothing is trained twice
    assert PIECE_FRAMES <= 200


def test_frames_are_heard_with_and_without_one(tmp_path):
    plain = Vocoder.load(tmp_path / "none.parquet")
    assert plain.postfilter is None
    network = Postfilter()
    write(tmp_path / "postfilter.parquet", named_tensors(network, "float16"), {})
    filtered = Vocoder.load(tmp_path / "postfilter.parquet")
    one, other = (vocoder.sound(frames(), 3) for vocoder in (plain, filtered))
    np.testing.assert_allclose(one[INSIDE], other[INSIDE], atol=1e-5)
    loud = plain.sound(frames(level=4.0))
    assert KNEE < np.abs(loud).max() <= 1


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    write(tmp_path / "postfilter.parquet", named_tensors(Postfilter(16, 1), "float16"), {})
    with pytest.raises(ValueError, match=r"expects|lacks"):
        Vocoder.load(tmp_path / "postfilter.parquet")
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other\.parquet"):
        Vocoder.load(tmp_path / "other.parquet")


def test_pairs_are_as_long_as_the_shortest():
    long = frames(220)
    one = aligned_pair(frames(200), long, np.zeros(210 * HOP, np.float32), 0)
    assert isinstance(one, Pair) and len(one.conditions) == 200 and len(one.meant) == 200 * HOP
    np.testing.assert_allclose(one.conditions[:, 0], np.log(long.pitch[:200]) - 5, rtol=1e-6)
