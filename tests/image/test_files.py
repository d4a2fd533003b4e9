import numpy as np
import pytest
from PIL import Image

from bowstring.image.files import read_picture, read_png_facts, squared, to_png


def test_a_png_carries_how_it_was_made_and_is_the_same_every_time():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    said = {"prompt": "a fox, “sleepy”", "seed": 3, "steps": 4}
    data = to_png(image, said)
    assert data == to_png(image, dict(reversed(said.items())))
    assert read_png_facts(data) == said


def test_pictures_are_read_whatever_their_mode(tmp_path):
    clear = np.zeros((3, 5, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    picture = read_picture(tmp_path / "clear.png")
    assert picture.shape == (3, 5, 3)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[1, 1].tolist() == [255, 255, 255]
    Image.fromarray(clear[..., 0]).save(tmp_path / "grey.png")
    assert read_picture(tmp_path / "grey.png")[0, 0].tolist() == [255, 255, 255]


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match="no picture that can be read"):
        read_picture(tmp_path / "text.png")
    Image.new("L", (9000, 1)).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match="9000 x 1"):
        read_picture(tmp_path / "wide.png")
    whole = tmp_path / "whole.png"
    Image.effect_noise((64, 64), 50).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(ValueError, match="cut"):
        read_picture(tmp_path / "cut.png")


def test_a_picture_is_fitted_into_a_white_square():
    wide = np.zeros((10, 20, 3), np.uint8)
    square = squared(wide, 40)
    assert square.shape == (40, 40, 3)
    assert (square[:10] == 255).all()
    assert (square[11:29] == 0).all()
