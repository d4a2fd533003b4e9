"""Pictures and masks come in as viewers show them, whatever they are, and go out with how they were made."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from bowstring.image.files import (
    as_mask,
    as_picture,
    read_picture,
    read_picture_metadata,
    save_picture,
    squared,
    squared_mask,
    to_jpeg,
    to_png,
)

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 9, 3), np.uint8)
BLOTS = RNG.random((6, 9)) < 0.4
TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, -1),
}


def png(picture, **how):
    file = io.BytesIO()
    picture.save(file, "PNG", **how)
    return file.getvalue()


@pytest.mark.parametrize("to", [to_png, to_jpeg])
def test_a_file_carries_how_it_was_made_and_is_the_same_every_time(to):
    made = {"prompt": "a fox, \u201csleepy\u201d", "seed": 3, "steps": 4}
    data = to(COLOURS, made)
    assert data == to(COLOURS, dict(reversed(made.items())))
    assert read_picture_metadata(data) == made and read_picture_metadata(png(Image.new("L", (2, 2)))) == {}


def test_the_ending_says_how_a_picture_is_written(tmp_path):
    for name, kind in (("a.png", "PNG"), ("b.JPG", "JPEG"), ("c.jpeg", "JPEG"), ("d.PNG", "PNG")):
        save_picture(tmp_path / name, COLOURS, {"seed": 1})
        with Image.open(tmp_path / name) as picture:
            assert picture.format == kind and picture.size == (9, 6)
        assert read_picture_metadata((tmp_path / name).read_bytes()) == {"seed": 1}
    with pytest.raises(ValueError, match=r"ends in '.gif'; expected .png, .jpg or .jpeg"):
        save_picture(tmp_path / "x.gif", COLOURS, {})
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_picture(tmp_path / "none" / "x.png", COLOURS, {})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_and_its_mask_stand_as_the_camera_was_held(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    held = np.ascontiguousarray(TURNS[orientation](COLOURS))
    Image.fromarray(held).save(tmp_path / "a.png", exif=exif)
    assert (read_picture(tmp_path / "a.png") == COLOURS).all()
    blots = np.ascontiguousarray(TURNS[orientation](BLOTS)).astype(np.uint8) * 255
    Image.fromarray(blots).save(tmp_path / "m.png", exif=exif)
    assert (as_mask(tmp_path / "m.png") == BLOTS).all()


def test_transparency_becomes_white_in_every_mode():
    clear = np.dstack([COLOURS, BLOTS.astype(np.uint8) * 255])
    expected = np.where(BLOTS[..., None], COLOURS, 255)
    for value in (
        clear,
        Image.fromarray(clear),
        png(Image.fromarray(clear)),
        clear / 255,
        torch.tensor(clear),
    ):
        assert (as_picture(value) == expected).all()
    grey = np.dstack([COLOURS[..., 0], BLOTS.astype(np.uint8) * 255])
    assert (as_picture(png(Image.fromarray(grey)))[..., 1] == np.where(BLOTS, COLOURS[..., 0], 255)).all()
    keyed = Image.fromarray(np.where(BLOTS, 9, 7).astype(np.uint8))
    assert (as_picture(png(keyed, transparency=7))[..., 0] == np.where(BLOTS, 9, 255)).all()


def test_sixteen_bits_become_eight_and_are_not_cut():
    ramp = np.linspace(0, 65535, 54).reshape(6, 9).astype(np.uint16)
    expected = (ramp / 257).round().astype(np.uint8)
    for value in (
        png(Image.fromarray(ramp)),
        Image.fromarray(ramp),
        ramp,
        Image.fromarray(ramp.astype(np.int32)),
    ):
        assert (as_picture(value)[..., 0] == expected).all()
    hidden = as_picture(png(Image.fromarray(ramp), transparency=int(ramp[0, 0])))
    assert hidden[0, 0].tolist() == [255] * 3 and hidden[0, 1].tolist() == [expected[0, 1]] * 3
    floats = Image.fromarray((ramp / 65535).astype(np.float32))
    assert abs(as_picture(floats)[..., 0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "I", "F", "RGBX"])
def test_pil_images_of_any_mode_are_taken(mode):
    flat = Image.new("RGB", (9, 6), "white").convert(mode)
    assert (as_picture(flat) == 255).all() and as_picture(flat).shape == (6, 9, 3)


@pytest.mark.parametrize(
    "value",
    [
        COLOURS / 255,
        (COLOURS / 255).astype(np.float32),
        COLOURS.astype(np.int64),
        COLOURS.astype(np.uint16) * 257,
        COLOURS.tolist(),
        COLOURS[None],
        to_png(COLOURS, {}),
        bytearray(to_png(COLOURS, {})),
        io.BytesIO(to_png(COLOURS, {})),
        torch.tensor(COLOURS),
        torch.tensor(COLOURS).permute(2, 0, 1),
        (torch.tensor(COLOURS).permute(2, 0, 1)[None] / 255).requires_grad_(),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}",
)
def test_arrays_of_any_type_are_the_picture_they_hold(value):
    picture = as_picture(value)
    assert picture.dtype == np.uint8 and picture.shape == (6, 9, 3) and (picture == COLOURS).all()


def test_colour_profiles_are_applied_and_broken_ones_passed_over():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        found = as_picture(png(Image.fromarray(COLOURS), icc_profile=profile))
        assert abs(found.astype(int) - COLOURS).max() <= 1


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (None, TypeError, "start is None; expected a path, a PIL image, or an array"),
        (3, TypeError, "start is 3"),
        ({"a": 1}, TypeError, "start is {'a': 1}"),
        ([[1, 2], [3]], ValueError, "rows differ in length"),
        (np.zeros((2, 2), complex), TypeError, "expected a path"),
        (np.zeros(5), ValueError, r"shape \(5,\); expected \(h, w\)"),
        (np.zeros((2, 8, 8, 3)), ValueError, "shape"),
        (np.zeros((0, 8, 3)), ValueError, "shape"),
        (np.zeros((8, 8, 7)), ValueError, "shape"),
        (np.zeros((1, 9000)), ValueError, "at most 8192"),
        (COLOURS.astype(float), ValueError, "floats from 0 to 1"),
        (COLOURS / 127.5 - 1, ValueError, "numbers from -"),
        (np.full((4, 4, 3), np.nan), ValueError, "from nan"),
        (np.full((4, 4, 3), 300), ValueError, "from 300 to 300; expected 0 to 255"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(value, error, says):
    with pytest.raises(error, match=says):
        as_picture(value, "start")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "expected PNG, JPEG"),
        (b"hello", "no picture that can be read"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "this is HEIC; save it as PNG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><svg/>", "SVG"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, data, says):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        read_picture(tmp_path / "x.png")


def test_missing_large_and_cut_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is no file"):
        read_picture(tmp_path)
    with pytest.raises(ValueError, match="9000 x 1"):
        as_picture(png(Image.new("L", (9000, 1))))
    whole = png(Image.effect_noise((64, 64), 50))
    with pytest.raises(ValueError, match="damaged"):
        as_picture(whole[:-200])


@pytest.mark.parametrize(
    "mask",
    [
        BLOTS,
        BLOTS.astype(float),
        BLOTS.astype(np.uint8),
        BLOTS.astype(np.uint8) * 255,
        BLOTS.astype(np.int64),
        BLOTS.astype(np.uint16) * 65535,
        BLOTS.tolist(),
        BLOTS.astype(int).tolist(),
        BLOTS[..., None],
        np.repeat(BLOTS[..., None], 3, 2),
        np.repeat(BLOTS[..., None], 3, 2).astype(np.uint8) * 255,
        torch.tensor(BLOTS),
        torch.tensor(BLOTS)[None, None].float(),
        torch.tensor(BLOTS).to(torch.bfloat16),
        Image.fromarray(BLOTS),
        Image.fromarray(BLOTS.astype(np.uint8)),
        Image.fromarray(BLOTS.astype(np.uint8) * 255),
        png(Image.fromarray(BLOTS.astype(np.uint8) * 255)),
        png(Image.fromarray(BLOTS.astype(np.uint8))),
        png(Image.fromarray(BLOTS.astype(np.uint16) * 65535)),
        png(Image.fromarray(np.dstack([np.full((6, 9), 255), BLOTS * 255]).astype(np.uint8))),
    ],
    ids=lambda m: f"{type(m).__name__} {getattr(m, 'dtype', '')} {getattr(m, 'shape', '')}",
)
def test_where_a_mask_is_one_or_bright_is_painted(mask):
    found = as_mask(mask)
    assert found.dtype == bool and (found == BLOTS).all()


def test_a_picture_is_fitted_into_a_white_square():
    wide = np.zeros((10, 20, 3), np.uint8)
    square = squared(wide, 40)
    assert square.shape == (40, 40, 3)
    assert (square[:10] == 255).all()
    assert (square[11:29] == 0).all()


@pytest.mark.parametrize("shape", [(300, 600), (600, 300), (512, 512), (100, 77), (80, 30)])
def test_a_mask_is_placed_exactly_like_its_picture(shape):
    """A picture that is black where the mask is true shows where squaring has put it."""
    h, w = shape
    mask = np.zeros(shape, bool)
    mask[h // 3 : 2 * h // 3, w // 4 : w // 2] = True
    shown = squared(np.where(mask[..., None], 0, 255).astype(np.uint8).repeat(3, 2), 512)[..., 0]
    placed = squared_mask(mask, 512, shape)
    assert (shown[placed] < 128).mean() > 0.97 and (shown[~placed] > 127).mean() > 0.995
    assert placed.any(1).sum() == pytest.approx((h * 2 // 3 - h // 3) * 512 / max(shape), abs=2)


def test_rows_of_a_wide_mask_lie_where_its_picture_has_them():
    mask = np.zeros((300, 600), bool)
    mask[100:200, 200:400] = True
    rows = squared_mask(mask, 512, (300, 600)).any(1).nonzero()[0]
    assert (rows[0], rows[-1], len(rows)) == (213, 298, 86)


def test_a_mask_may_be_smaller_than_its_picture_and_a_thin_one_is_not_lost():
    half = squared_mask(np.ones((150, 300), bool), 512, (300, 600))
    assert half.sum() == 256 * 512 and half[128:384].all()
    line = np.zeros((4096, 8192), bool)
    line[2048, :] = True
    assert squared_mask(line, 512, (4096, 8192)).any(1).sum() == 1
    assert squared_mask(np.eye(2, dtype=bool), 512, (600, 601)).any()  # a pixel of rounding


def test_masks_that_fit_no_picture_or_paint_nothing_are_refused():
    with pytest.raises(ValueError, match="the mask is 512 x 512 and its picture 600 x 300"):
        squared_mask(np.ones((512, 512), bool), 512, (300, 600))
    with pytest.raises(ValueError, match="nothing is to be painted"):
        squared_mask(np.zeros((4, 4), bool), 512, (4, 4))
