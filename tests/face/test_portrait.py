import io

import numpy as np
import pytest
from PIL import Image

from bowstring import Landmarks, Portrait, render_avatar
from bowstring.face.draw import drawn_face, strip, to_gif
from bowstring.face.portrait import CHIN, DROP
from bowstring.face.shapes import SHAPES, TABLE, VISEMES

SIDE = 128
UNIT = 0.28 * SIDE  # pixels between the eyes of the plain face
MOUTH = round(0.7 * SIDE)


def shapes(**values):
    out = np.zeros(len(SHAPES), np.float32)
    for name, value in values.items():
        for side in ("", "Left", "Right"):
            if name + side in SHAPES:
                out[SHAPES.index(name + side)] = value
    return out


def rows():
    """A picture whose brightness says its row."""
    return np.repeat(np.arange(SIDE, dtype=np.uint8)[:, None, None], SIDE, 1).repeat(3, 2)


@pytest.fixture(scope="module")
def noise():
    small = np.random.default_rng(3).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


LOOKS = [*TABLE, shapes(eyeBlink=1), shapes(browInnerUp=1, jawOpen=1), shapes(browDown=1, mouthFrown=1)]


def test_a_face_at_rest_is_the_picture(noise):
    for landmarks in (None, Landmarks((0.2, 0.5), (0.4, 0.3), (0.6, 0.7), 0.3)):
        np.testing.assert_array_equal(Portrait(noise, landmarks, SIDE).posed(shapes()), noise)


def test_a_turned_picture_is_posed_as_the_turned_frame(noise):
    turned = Landmarks((0.43, 0.64), (0.43, 0.36), (0.7, 0.5))  # what `rot90` makes of the usual places
    upright, lying = Portrait(noise, None, SIDE), Portrait(np.rot90(noise).copy(), turned, SIDE)
    for look in LOOKS:
        apart = np.rot90(upright.posed(look)).astype(int) - lying.posed(look)
        assert np.abs(apart).max() <= 2


def test_a_mirrored_picture_moves_with_the_other_side(noise):
    portrait, mirrored = Portrait(noise, None, SIDE), Portrait(noise[:, ::-1].copy(), None, SIDE)
    names = [name.replace("Left", "?").replace("Right", "Left").replace("?", "Right") for name in SHAPES]
    other = [SHAPES.index(name) for name in names]
    for name in ("eyeBlinkLeft", "browOuterUpRight", "mouthLeft", "browDownLeft"):
        look = np.zeros(len(SHAPES), np.float32)
        look[SHAPES.index(name)] = 0.7
        apart = portrait.posed(look)[:, ::-1].astype(int) - mirrored.posed(look[other])
        assert np.abs(apart).max() <= 2
        assert (portrait.posed(look) != noise).any()


def test_left_is_the_left_of_the_person(noise):
    for name, half in (("eyeBlinkLeft", slice(SIDE // 2, None)), ("eyeBlinkRight", slice(SIDE // 2))):
        look = np.zeros(len(SHAPES), np.float32)
        look[SHAPES.index(name)] = 1
        changed = (Portrait(noise, None, SIDE).posed(look) != noise).any(2)
        assert changed[:, half].sum() == changed.sum() > 0
        drawn = (drawn_face(look, SIDE) != drawn_face(shapes(), SIDE)).any(2)
        assert drawn[:, half].sum() == drawn.sum() > 0


def test_a_jaw_takes_the_chin_along_by_its_drop():
    for jaw in (0.2, 0.5, 1.0):
        frame = Portrait(rows(), None, SIDE).posed(shapes(jawOpen=jaw))[..., 0].astype(float)
        chin = round(MOUTH + (CHIN - 0.05) * UNIT)
        assert chin - frame[chin, SIDE // 2] == pytest.approx(DROP * jaw * UNIT, abs=1)
        np.testing.assert_array_equal(frame[: round(0.4 * SIDE)], rows()[: round(0.4 * SIDE), :, 0])


@pytest.mark.parametrize(
    ("name", "from_eyes", "from_mouth", "along", "sign"),
    [
        ("jawOpen", None, (0, 0.5), "rows", -1),
        ("mouthLowerDown", None, (0, 0.3), "rows", -1),
        ("mouthUpperUp", None, (0, -0.2), "rows", 1),
        ("mouthPucker", None, (-0.3, 0), "columns", -1),
        ("mouthFunnel", None, (-0.3, 0), "columns", -1),
        ("mouthStretch", None, (-0.3, 0), "columns", 1),
        ("mouthSmile", None, (-0.3, 0), "columns", 1),
        ("mouthSmile", None, (0.35, 0), "rows", 1),
        ("mouthFrown", None, (0.35, 0), "rows", -1),
        ("mouthLeft", None, (0, 0.1), "columns", -1),
        ("mouthRight", None, (0, 0.1), "columns", 1),
        ("browInnerUp", (0.5, -0.32), None, "rows", 1),
        ("browOuterUp", (-0.5, -0.32), None, "rows", 1),
        ("browDown", (0.5, -0.32), None, "rows", -1),
    ],
)
def test_every_shape_has_its_direction(name, from_eyes, from_mouth, along, sign):
    """A pixel shows what lay on one side of it: below it if the face went up there."""
    picture = rows() if along == "rows" else rows().transpose(1, 0, 2)
    middle, offset = (0.43, from_eyes) if from_eyes else (0.7, from_mouth)
    row, column = round(middle * SIDE + offset[1] * UNIT), round(SIDE / 2 + offset[0] * UNIT)
    frame = Portrait(picture, None, SIDE).posed(shapes(**{name: 1}))
    assert (int(frame[row, column, 0]) - int(picture[row, column, 0])) * sign >= 1


def test_shapes_beyond_their_range_count_as_its_ends(noise):
    portrait = Portrait(noise, None, SIDE)
    far = shapes(jawOpen=3, mouthPucker=9, eyeBlink=-2)
    np.testing.assert_array_equal(portrait.posed(far), portrait.posed(far.clip(0, 1)))


def test_nothing_folds_over():
    wide = shapes(jawOpen=1, mouthUpperUp=1, mouthLowerDown=1)
    for look in (shapes(jawOpen=1), wide, shapes(browInnerUp=1)):
        frame, negative = (Portrait(p, None, SIDE).posed(look).astype(int) for p in (rows(), 255 - rows()))
        bent = (abs(frame + negative - 255) <= 1).all(2)  # what lies between the lips is of neither
        assert bent.mean() > 0.9
        for column in range(SIDE):
            assert (np.diff(frame[bent[:, column], column, 0]) >= -1).all()


def test_an_open_mouth_is_dark_and_closed_lids_hide_the_eyes():
    skin = np.full((SIDE, SIDE, 3), 200, np.uint8)
    frame = Portrait(skin, None, SIDE).posed(shapes(jawOpen=1))
    assert frame[MOUTH + round(0.12 * UNIT), SIDE // 2].max() < 100
    assert (frame[: MOUTH - round(0.2 * UNIT)] == 200).all()
    eye = (
        slice(round(0.43 * SIDE) - 4, round(0.43 * SIDE) + 5),
        slice(round(0.64 * SIDE) - 6, round(0.64 * SIDE) + 7),
    )
    skin[eye] = 0
    portrait = Portrait(skin, None, SIDE)
    dark = [(portrait.posed(shapes(eyeBlink=blink))[eye] < 60).sum() for blink in (0, 0.5, 1)]
    assert dark[0] > 1.3 * dark[1] and dark[2] < 0.2 * dark[0]


def test_lips_that_press_stay_shut(noise):
    pressed = TABLE[VISEMES.index("PP")]
    open_wide = pressed + shapes(jawOpen=0.02)
    inside = lambda look: (Portrait(np.full_like(noise, 255), None, SIDE).posed(look) < 150).any(2).sum()
    assert inside(pressed) == 0 and inside(open_wide) < 0.1 * inside(shapes(jawOpen=0.5))


def test_portraits_keep_their_proportions_and_come_as_pictures_do(noise, tmp_path):
    wide = Image.fromarray(noise).resize((99, 50))
    assert Portrait(wide, None, 64).posed(shapes()).shape == (32, 64, 3)
    wide.save(tmp_path / "face.png")
    path = render_avatar(np.zeros((20, 52)), tmp_path / "a.png", 64, portrait=tmp_path / "face.png")
    with Image.open(path) as moments:
        assert moments.size == (8 * 64, 32)
    motion = np.zeros((20, 52), np.float32)
    motion[10:] = shapes(jawOpen=1)
    gif = Image.open(io.BytesIO(to_gif(motion, portrait=Portrait(wide, None, 64))))
    assert gif.size == (64, 32)
    first = np.asarray(gif.convert("RGB"), int)
    gif.seek(gif.n_frames - 1)
    assert (np.asarray(gif.convert("RGB"), int)[:8] == first[:8]).all()  # what is still has one palette
    still, talking = np.split(strip(motion, 2, portrait=Portrait(wide, None, 64)), 2, 1)
    assert (still != talking).any()


def test_landmarks_are_read_from_words():
    assert Landmarks.parse("0.36,0.43 0.64,0.43 0.5,0.7") == Landmarks()
    assert Landmarks.parse("0.1,0.2 0.3,0.2 0.2,0.4 0.25").mouth_width == 0.25
    for words in (
        "",
        "0.1,0.2 0.3,0.2",
        "a,b c,d e,f",
        "0.1,0.2 0.3,0.2 0.2",
        "0,0 1,0 1,1 1 1",
        "1 2 3 4",
        "0,0 1,0 0,1 1,1",
    ):
        with pytest.raises(ValueError, match="expected the places of left eye, right eye and mouth"):
            Landmarks.parse(words)


def test_a_place_that_no_face_has_is_refused(noise, tmp_path):
    with pytest.raises(ValueError, match=r"left_eye\[0\] is 140; expected a number from 0 to 1"):
        Landmarks((140, 0.2))
    with pytest.raises(TypeError, match=r"mouth is 0\.5; expected"):
        Landmarks(mouth=0.5)
    with pytest.raises(ValueError, match="mouth_width is nan"):
        Landmarks(mouth_width=float("nan"))
    with pytest.raises(ValueError, match=r"eyes are 2\.0 pixels apart in a picture of 64 x 64"):
        Portrait(noise, Landmarks((0.5, 0.5), (0.53125, 0.5)), 64)
    with pytest.raises(ValueError, match="the left eye of the upright face first"):
        Portrait(noise, Landmarks((0.64, 0.43), (0.36, 0.43)), 64)
    with pytest.raises(ValueError, match=r"mouth is 0\.11 distances of the eyes wide; expected 0\.4 to 2"):
        Portrait(noise, Landmarks(mouth_width=0.03), 64)
    with pytest.raises(ValueError, match="side is 4; expected a whole number from 16"):
        Portrait(noise, None, 4)
    with pytest.raises(TypeError, match="expected Landmarks, or places in words"):
        Portrait(noise, (0.3, 0.4), 64)
    with pytest.raises(ValueError, match="has landmarks already"):
        render_avatar(np.zeros((20, 52)), tmp_path / "a.png", portrait=Portrait(noise), landmarks=Landmarks())
    with pytest.raises(ValueError, match="landmarks are of a portrait, and there is none"):
        render_avatar(np.zeros((20, 52)), tmp_path / "a.png", landmarks=Landmarks())
    with pytest.raises(FileNotFoundError, match="there is no picture"):
        render_avatar(np.zeros((20, 52)), tmp_path / "a.png", portrait=tmp_path / "no.png")
    assert not (tmp_path / "a.png").exists()
