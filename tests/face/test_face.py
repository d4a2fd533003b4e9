import io

import numpy as np
import pytest
import torch
from PIL import Image

from bowstring.face.animate import (
    FALL,
    FRAME,
    JAW,
    LIDS,
    RISE,
    animate,
    blinks,
    closures,
    dominance,
    lag,
    loudness,
)
from bowstring.face.draw import PICTURE, drawn_face, render_avatar, strip, to_gif
from bowstring.face.shapes import SHAPES, TABLE, VISEMES, viseme_of
from bowstring.speech.alignment import Span
from bowstring.speech.g2p import STRESS, SYMBOLS


def said(text, each=0.09, start=0.2):
    return [Span(sound, start + i * each, start + (i + 1) * each) for i, sound in enumerate(text)]


def test_there_are_52_shapes_and_15_visemes_and_every_sound_has_one():
    assert len(SHAPES) == len(set(SHAPES)) == 52
    assert len(VISEMES) == 15 and TABLE.shape == (15, 52)
    assert [s for s in SYMBOLS if s not in STRESS + "xT" and viseme_of(s) == "sil"] == []


def test_dominance_rises_and_falls_to_a_tenth():
    moment = np.array([0.5 - RISE, 0.5, 0.6, 0.7, 0.7 + FALL])
    np.testing.assert_allclose(dominance(moment, 0.5, 0.7), [0.1, 1, 1, 1, 0.1])


def test_lips_are_shut_in_every_p_b_and_m():
    phonemes = said("hɑpɑbimAbɑməpO")
    face = animate(phonemes, np.ones(120))
    assert closures(face, phonemes) == 1.0
    assert closures(np.ones_like(face), phonemes) == 0.0
    assert np.isnan(closures(face, said("sisi")))


def test_vowels_open_the_jaw_and_loud_ones_more():
    phonemes = said("ɑ", each=0.4)
    middle = int(0.4 / FRAME)
    quiet, loud = (animate(phonemes, np.full(60, e))[middle, JAW] for e in (0.2, 1.0))
    assert loud > 1.5 * quiet > 0.2


def test_a_delay_is_measured_to_a_fraction_of_a_frame():
    t = np.arange(400) * FRAME
    face = lambda d: np.where(
        np.arange(52) == JAW, np.sin(9 * (t - d))[:, None] + np.sin(4 * (t - d))[:, None], 0
    )
    assert lag(face(0.024), face(0.0)) == pytest.approx(0.024, abs=0.003)
    assert lag(face(0.0), face(0.05)) == pytest.approx(-0.05, abs=0.003)


def test_blinks_close_the_lids_and_depend_on_the_seed():
    lids = blinks(600, seed=1)
    assert lids.max() == 1.0 and (lids == 0).mean() > 0.8
    assert (blinks(600, seed=1) == lids).all() and (blinks(600, seed=2) != lids).any()
    assert animate([], np.zeros(600), seed=1)[:, LIDS[0]].max() == 1.0


def test_loudness_is_between_silence_and_shouting():
    assert loudness(np.full((8, 48), -16.0)).tolist() == [0] * 4
    assert loudness(np.full((8, 48), 0.0)).tolist() == [1] * 4


def test_a_face_can_be_looked_at():
    still, talking = np.zeros(52, np.float32), np.zeros(52, np.float32)
    talking[JAW] = 0.8
    closed, opened = drawn_face(still, 96), drawn_face(talking, 96)
    assert closed.shape == (96, 96, 3) and (closed != opened).any(-1).mean() > 0.005
    motion = animate(said("hɛlO"), np.ones(50))
    assert strip(motion, 4, 64).shape == (64, 256, 3)
    gif = Image.open(io.BytesIO(to_gif(motion, 48)))
    assert gif.n_frames == int(np.ceil(50 * FRAME / PICTURE))
    assert gif.info["duration"] == 40


def test_an_avatar_is_drawn_into_the_file_that_its_name_asks_for(tmp_path):
    face = np.tile(np.linspace(0, 1, 20, dtype=np.float32)[:, None], (1, 52))
    with Image.open(render_avatar(face, tmp_path / "a.gif", 32)) as gif:
        assert gif.n_frames > 1
    with Image.open(render_avatar(face, tmp_path / "a.png", 32)) as strip_of_moments:
        assert strip_of_moments.size == (8 * 32, 32)
    with pytest.raises(ValueError, match=r"ends in '.avi'; expected \.gif, \.mp4 or \.png"):
        render_avatar(face, tmp_path / "a.avi")
    with pytest.raises(ValueError, match="frames, 52"):
        render_avatar(np.zeros((20, 51)), tmp_path / "a.gif")


def test_a_film_moves_and_speaks(tmp_path):
    av = pytest.importorskip("av")
    face = np.zeros((50, len(SHAPES)), np.float32)
    face[25:, SHAPES.index("jawOpen")] = 1.0
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(24_000) / 24_000).astype(np.float32)
    seconds = len(face) * FRAME
    path = render_avatar(face, tmp_path / "talk.mp4", 64, tone[: int(24_000 * seconds)])
    with av.open(str(path)) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(pictures) == round(seconds / PICTURE) and pictures[0].shape == (64, 64, 3)
    assert (
        np.abs(pictures[-1].astype(int) - drawn_face(face[-1], 64)).mean()
        < 8
        < np.abs(pictures[-1] - 1.0 * pictures[0]).max()
    )
    with av.open(str(path)) as film:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in film.decode(audio=0)])
    loudest = np.abs(np.fft.rfft(sound[2000:12000])).argmax() * 24_000 / 10_000
    assert abs(loudest - 500) < 5 and len(sound) >= len(tone) * seconds
    with pytest.raises(ValueError, match="even"):
        render_avatar(face, tmp_path / "odd.mp4", 63)


def test_a_film_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("bowstring.face.video.AVAILABLE", False)
    with pytest.raises(ImportError, match=r"bowstring\[video\]"):
        render_avatar(np.zeros((20, len(SHAPES))), tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("face", "error", "says"),
    [
        ("smile", TypeError, "the face is 'smile'"),
        (np.zeros((0, 52)), ValueError, r"shape \(0, 52\)"),
        (np.zeros((9, 5)), ValueError, r"expected \(frames, 52\)"),
        (np.full((2, 52), np.nan), ValueError, "not finite"),
    ],
)
def test_what_is_no_motion_is_not_drawn(face, error, says, tmp_path):
    with pytest.raises(error, match=says):
        render_avatar(face, tmp_path / "a.png", 32)
    assert not [*tmp_path.iterdir()]


def test_a_motion_may_be_a_list_or_a_tensor_and_a_name_in_capitals(tmp_path):
    face = np.random.default_rng(0).random((3, 52)).astype(np.float32)
    plain = render_avatar(face, tmp_path / "a.png", 32).read_bytes()
    for same in (face.tolist(), torch.tensor(face)):
        assert render_avatar(same, tmp_path / "B.PNG", 32.0).read_bytes() == plain
